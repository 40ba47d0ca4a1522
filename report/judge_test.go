package report

import (
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// A challenger that breaks in canary fails, however healthy it was in shadow.
func TestHealthInShadowHidesNothing(t *testing.T) {
	p := newPlayed(life{})
	for _, s := range []struct {
		mode   rollout.Mode
		weight rollout.Weight
		cell   gate.Cell
	}{
		{rollout.ModeShadow, 0, gate.Cell{Pairs: 5000}},
		{rollout.ModeCanary, 2000, gate.Cell{ChampionLive: 201, ChallengerLive: 46, ChallengerBad: 22}},
	} {
		p.Counts.Step(stepOf(s.mode, s.weight), gate.Step{Index: -1, Mode: s.mode, Weight: s.weight}).Cell(gate.Series{}).Add(s.cell)
	}
	steps := p.judge(rollout.Rules{Alpha: 0.01, Gates: []rollout.Gate{{Metric: rollout.ErrorRate, Margin: 0.1, Horizon: time.Second, Share: 1.0 / 3,
		MinRequests: 100, InShadow: true, InCanary: true, OnFail: rollout.RollBack}}})
	if len(steps) != 2 || steps[0].Gates[0].Verdict != rollout.Pass || steps[1].Gates[0].Verdict != rollout.Fail {
		t.Errorf("%+v", steps)
	}
}

// The champion's second answers are in no record: its failures are not to be taken for them.
func TestWhatIsInNoRecordIsNotJudged(t *testing.T) {
	s := &seenRecord{record: &record{mode: rollout.ModeShadow}, challengerFailed: true}
	for _, m := range []rollout.Metric{rollout.ExcessDisagreement, rollout.TailLatency, rollout.ReportedOutcome} {
		g := rollout.Gate{Metric: m, Horizon: time.Hour, InShadow: true, InCanary: true}
		if ballot(&g, s) != nil {
			t.Errorf("%s has a vote", m)
		}
		if v := verdict(rollout.GateReport{Gate: g}); !strings.HasPrefix(v.Why, "is judged live only: ") {
			t.Errorf("%s: %q", m, v.Why)
		}
	}
	if g := (rollout.Gate{Metric: rollout.ErrorRate, Horizon: time.Hour, InShadow: true}); ballot(&g, s) == nil {
		t.Error("error-rate has none")
	}
}
