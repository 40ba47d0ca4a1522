package gate

import (
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// A step may judge by points what the rules judge by the champion's rate. The bets that
// win there must keep their wealth from one second to the next.
func TestAStepWithAnotherKindOfMargin(t *testing.T) {
	relative := rollout.Gate{Metric: rollout.ErrorRate, Margin: 0.1, Relative: true, InCanary: true, OnFail: rollout.RollBack, Share: 1}
	absolute := relative
	absolute.Margin, absolute.Relative = 0.005, false
	evidence := func(base rollout.Gate, override ...rollout.Gate) float64 {
		s := rollout.State{Mode: rollout.ModeCanary, Weight: 1000, Entered: 1,
			Rules: rollout.Rules{Alpha: 0.01, Gates: []rollout.Gate{base}}, Plan: rollout.Plan{{Gates: override}}}
		var c Checkpoint
		for range 600 {
			var delta Counts
			delta.Step(1, Step{Mode: s.Mode, Weight: s.Weight}).Cell(Series{}).Add(Cell{ChampionLive: 9, ChallengerLive: 1, ChallengerBad: 1})
			c.Absorb(s, delta, time.Second)
		}
		return c.Series[Series{}].logE()
	}
	if by, over := evidence(absolute), evidence(relative, absolute); by != over || by < 1000 {
		t.Errorf("ln E %v where the step overrides, %v where the rules say the same", over, by)
	}
}
