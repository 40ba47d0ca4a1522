package app

import (
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/rollout"
)

// setPolicies tells the sink what of the payloads it may record.
func (a *App) setPolicies(cfg *config.Config) {
	if a.sink == nil {
		return
	}
	policies := map[string]rollout.RecordPolicy{}
	for _, m := range cfg.Models {
		policies[m.Name] = m.Record
	}
	a.sink.SetPolicies(policies)
}
