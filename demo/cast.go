package demo

import (
	"fmt"

	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/demo/modelserver"
)

// The two acts' models, as clients name them.
const (
	act1Model = "cancer-risk"
	act2Model = "biopsy-triage"
)

// arms are the two model servers of one act.
type arms struct {
	model                string
	champion, challenger *modelserver.Server
}

// The names that the servers give their models. They differ from the public name, as
// they do where every version has a deployment of its own.
func championName(model string) string   { return model + "-logistic" }
func challengerName(model string) string { return model + "-trees" }

// startArms brings up a logistic regression as champion and the trees as challenger.
func startArms(model string) (*arms, error) {
	logistic, err := models.NewLogistic()
	if err != nil {
		return nil, err
	}
	trees, err := models.NewTrees()
	if err != nil {
		return nil, err
	}
	champion, err := modelserver.New(modelserver.Options{Name: championName(model), Version: championVersion, Model: logistic})
	if err != nil {
		return nil, fmt.Errorf("champion of %s: %w", model, err)
	}
	challenger, err := modelserver.New(modelserver.Options{Name: challengerName(model), Version: challengerVersion, Model: trees})
	if err != nil {
		champion.Close()
		return nil, fmt.Errorf("challenger of %s: %w", model, err)
	}
	return &arms{model: model, champion: champion, challenger: challenger}, nil
}

func (a *arms) close() {
	a.champion.Close()
	a.challenger.Close()
}
