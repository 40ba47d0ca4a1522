package demo

import (
	"fmt"

	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/demo/modelserver"
	"github.com/understudy-serving/understudy/proto/inference"
)

// The acts' models, as clients name them. Act 3 has two.
const (
	act1Model  = "cancer-risk"
	act2Model  = "biopsy-triage"
	act3aModel = "second-opinion"
	act3bModel = "screening-recall"
)

// What clients send beside a patient's measurements.
const (
	userKey     = "user_id"
	clinicKey   = "clinic"
	wrongClinic = "harbour"
	wrongCohort = clinicKey + "=" + wrongClinic
)

// clinics returns where users are patients, each at the same one every time. wrongClinic
// is one of them.
func clinics() []string { return []string{"north", "east", "south", "west", wrongClinic} }

// arms are the two model servers of one model.
type arms struct {
	model                string
	champion, challenger *modelserver.Server
}

// The names that the servers give their models. They differ from the public name, as
// they do where every version has a deployment of its own.
func championName(model string) string   { return model + "-logistic" }
func challengerName(model string) string { return model + "-trees" }

// mistake is what a model's challenger gets wrong in preparing a row: nothing in acts 1
// and 2, in act 3 the order of the columns; of one model for one clinic alone, as by a
// script that puts right what that clinic has mended since.
func mistake(model string) func(*inference.ModelInferRequest, []float32) {
	switch model {
	case act3aModel:
		return func(_ *inference.ModelInferRequest, row []float32) { models.Exchange(row) }
	case act3bModel:
		return func(r *inference.ModelInferRequest, row []float32) {
			if r.GetParameters()[clinicKey].GetStringParam() == wrongClinic {
				models.Exchange(row)
			}
		}
	}
	return nil
}

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
	challenger, err := modelserver.New(modelserver.Options{Name: challengerName(model), Version: challengerVersion, Model: trees, Prepare: mistake(model)})
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

// targets are the addresses for the config file.
func (a *arms) targets() targets {
	return targets{Model: a.model, Champion: a.champion.Addr(), Challenger: a.challenger.Addr()}
}
