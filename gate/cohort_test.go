package gate

import (
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// A cohort that fails with fewer requests than a pass takes is judged: it holds, and
// people are shown the verdict that ended the rollout.
func TestASmallCohortThatFailsApplies(t *testing.T) {
	for _, reaction := range []rollout.Reaction{rollout.RollBack, rollout.Hold} {
		g := rollout.Gate{Metric: rollout.Disagreement, Limit: 0.1, Share: 1, MinRequests: 100, InShadow: true, OnFail: reaction, Horizon: time.Second}
		s := rollout.State{Model: "m", Mode: rollout.ModeShadow, Entered: 1, Plan: []rollout.Step{{Kind: rollout.StepShadow}},
			Rules: rollout.Rules{Alpha: 0.01, Gates: []rollout.Gate{g}, Segments: []string{"parameter:region"}, MaxCohorts: 8}}
		var delta Counts
		at := delta.Step(1, Step{Mode: rollout.ModeShadow})
		at.Cell(Series{}).Add(Cell{Pairs: 400, ChallengerOnly: 25})
		at.Cell(Series{Segment: "region=eu"}).Add(Cell{Pairs: 30, ChallengerOnly: 20})
		at.Cell(Series{Segment: "region=us"}).Add(Cell{Pairs: 30, ChallengerOnly: 1})
		var c Checkpoint
		c.Absorb(s, delta, time.Second)
		j := c.Judge(s, true)
		all, eu, us := j.Gates[0], j.Gates[1], j.Gates[2]
		if eu.Segment != "region=eu" || eu.Verdict != rollout.Fail || !eu.Applies || eu.Low > eu.High {
			t.Errorf("%s: the small cohort that fails: %+v", reaction, eu)
		}
		if us.Applies || us.Verdict != rollout.Inconclusive || all.Verdict == rollout.Fail {
			t.Errorf("%s: all requests %s, a small cohort that does well %+v", reaction, all.Verdict, us)
		}
		if _, rollsBack := j.Decisive(); rollsBack != (reaction == rollout.RollBack) {
			t.Errorf("%s: rolls back %v", reaction, rollsBack)
		}
		if held := j.Holding(); len(held) == 0 || held[len(held)-1].Segment != "region=eu" {
			t.Errorf("%s: the step is held by %+v", reaction, held)
		}
	}
}
