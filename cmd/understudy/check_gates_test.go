package main

import (
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

func TestGatesInWords(t *testing.T) {
	g := rollout.Gate{Metric: rollout.ErrorRate, Margin: 0.000001, Horizon: 5 * time.Second, MinRequests: 12_000,
		Share: 1, InShadow: true, OnFail: rollout.RollBack}
	for _, c := range []struct{ got, want string }{
		{gateInWords(g), "error-rate: at most 0.0001pp more failures than the champion; in shadow, 5s after routing, over at least 12,000 pairs; a fail rolls back; 100% of alpha"},
		{overrideInWords(g, rollout.ModeShadow), "error-rate: at most 0.0001pp more failures than the champion; 5s after routing, over at least 12,000 pairs; a fail rolls back; 100% of alpha"},
		{overrideInWords(g, rollout.ModeCanary), "error-rate: not judged"},
		{segmentsInWords(rollout.Rules{Segments: []string{"parameter:region"}, MaxCohorts: 1}), "parameter:region: the first value of each has the gates for itself, the rest together"},
		{inputsInWords(rollout.WatchedInput{Name: "row", Features: 16}), "row: the first 16 elements, challenger against champion and canary against shadow; arms that differ warn"},
		{inputsInWords(rollout.WatchedInput{Name: "age", Features: 1, Hold: true}), "age: the first element, challenger against champion and canary against shadow; arms that differ hold the step"},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}
