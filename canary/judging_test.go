package canary

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// judged is the usual model with gates.
func judged(gates ...rollout.Gate) Settings {
	s := fraud()
	s.Rules = rollout.Rules{Alpha: 0.01, Gates: gates, Segments: []string{"parameter:region"}, MaxCohorts: 4}
	return s
}

func disagreementGate() rollout.Gate {
	return rollout.Gate{Metric: rollout.Disagreement, Limit: 0.05, Horizon: time.Second, Share: 1, MinRequests: 10,
		InShadow: true, InCanary: true, OnFail: rollout.RollBack}
}

// crowd is requests without keys, some of which go wrong.
type crowd struct {
	pairs, disagreeing   int // in shadow
	pairsBad             int // of them the challenger fails
	champion, challenger int // in canary
	championBad          int
	challengerBad        int
	mirrored             bool // the champion's requests in canary
	region               string
}

var crowds int // ids are new in each crowd

// play lets a crowd through the house, as the gateway and the mirror would.
func (h *house) play(c crowd) {
	crowds++
	l := h.live()
	one := func(i int, arm rollout.Arm) rollout.Outcome {
		r := rollout.Routing{Key: fmt.Sprint(crowds, " ", arm, i), Arm: arm, Weight: l.State.Weight, Entered: l.State.Entered,
			Segments: [rollout.MaxSegmentSources]string{c.region}}
		return rollout.Outcome{Arm: arm, Weight: r.Weight, Entered: r.Entered, Stamp: l.Evidence.Route(r), Age: time.Millisecond, Latency: time.Millisecond}
	}
	for i := range c.pairs {
		o := one(i, rollout.Champion)
		l.Evidence.Observe(o)
		if i < c.pairsBad {
			l.Evidence.Observe(broken(copied(o, nil)))
			continue
		}
		l.Evidence.Observe(copied(o, &rollout.Comparison{Agree: i >= c.pairsBad+c.disagreeing}))
	}
	for _, side := range []struct {
		arm    rollout.Arm
		n, bad int
	}{{rollout.Champion, c.champion, c.championBad}, {rollout.Challenger, c.challenger, c.challengerBad}} {
		for i := range side.n {
			o := one(1_000_000+i, side.arm)
			if i < side.bad {
				o = broken(o)
			}
			l.Evidence.Observe(o)
			if c.mirrored && side.arm == rollout.Champion && i >= side.bad {
				l.Evidence.Observe(copied(o, &rollout.Comparison{Agree: i >= side.bad+c.disagreeing}))
			}
		}
	}
}

func TestAStepEndsWhenItsGatesPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), judged(errorGate(0.05), disagreementGate()))
		h.play(crowd{pairs: 100})
		after(2 * time.Minute)
		h.wants(rollout.ModeShadow, 0)
		if w := h.view().WaitingFor; !strings.Contains(w, "gate error-rate: of 100 pairs") || !strings.Contains(w, "not enough evidence") {
			t.Errorf("waits for %q", w)
		}
		h.play(crowd{pairs: 200})
		after(10 * time.Second)
		h.wants(rollout.ModeCanary, 500)
		h.play(crowd{champion: 950, challenger: 50, pairs: 10})
		after(2 * time.Minute)
		h.wants(rollout.ModeCanary, 500)
		j := h.view().Figures.Judgement
		if r := j.Gates[0]; r.Verdict != rollout.Inconclusive || r.Missing < 100 || len(j.Shadow) != 2 || j.Shadow[0].Verdict != rollout.Pass {
			t.Errorf("%+v\nshadow: %+v", r, j.Shadow)
		}
		h.play(crowd{champion: 3800, challenger: 200, pairs: 300})
		after(10 * time.Second)
		h.wants(rollout.ModeCanary, 5000)
	})
}

func TestAFailedGateRollsBack(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*house)
		crowd  crowd
		gate   string
	}{
		"in shadow, by failures":      {nil, crowd{pairs: 200, pairsBad: 60}, "gate error-rate: of 200 pairs 60 failed on the challenger alone"},
		"in shadow, by disagreement":  {nil, crowd{pairs: 200, disagreeing: 60}, "gate disagreement: 60 of 200 pairs disagree (30%)"},
		"in shadow, for one cohort":   {nil, crowd{pairs: 60, disagreeing: 20, region: "eu"}, "gate disagreement (region=eu): 20 of 60"},
		"in canary":                   {toStage(rollout.ModeCanary), crowd{champion: 500, challenger: 500, challengerBad: 100}, "gate error-rate: 100 of the challenger's 500 requests failed"},
		"in canary, while paused":     {toStage(rollout.ModeCanary, rollout.EventPause), crowd{champion: 500, challenger: 500, challengerBad: 100}, "gate error-rate"},
		"in canary, pairs disagree":   {toStage(rollout.ModeCanary), crowd{pairs: 200, disagreeing: 60, challenger: 200}, "gate disagreement: 60 of 200"},
		"beside the plan, by SetMode": {toStage(rollout.ModeCanary), crowd{champion: 500, challenger: 500, challengerBad: 90}, "gate error-rate"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, newMemory(), judged(errorGate(0.05), disagreementGate()))
				if c.crowd.region != "" {
					h.play(crowd{pairs: 3000, region: "us"}) // all requests together are within the limit
				}
				if c.before != nil {
					c.before(h)
				}
				h.play(c.crowd)
				after(time.Second + 4*time.Second - time.Millisecond)
				after(300 * time.Millisecond)
				h.wants(rollout.ModeRolledBack, 0)
				if got := h.view().Changes[0]; got.Actor != GateActor || !strings.HasPrefix(got.Reason, c.gate) {
					t.Errorf("by %s: %s; want %s…", got.Actor, got.Reason, c.gate)
				}
				after(time.Second)
				if j := h.view().Figures.Judgement; len(j.Gates) == 0 {
					t.Error("the judgement is gone with the rollback")
				}
				if h.journal.count("rollback by gate") != 1 {
					t.Errorf("audited %v", h.journal.entries)
				}
			})
		})
	}
}

// toStage brings the rollout into canary, half and half, by hand.
func toStage(mode rollout.Mode, then ...rollout.EventKind) func(*house) {
	return func(h *house) {
		h.must(rollout.Event{Kind: rollout.EventSetMode, Mode: mode, Weight: 5000})
		for _, kind := range then {
			_, _ = h.do(rollout.Event{Kind: kind}) // SetMode has paused it already
		}
	}
}

// A restart must not spend alpha anew: evidence of before it counts.
func TestEvidenceOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := newHouse(t, store, judged(errorGate(0.05)))
		h.play(crowd{pairs: 100, pairsBad: 12})
		after(11 * time.Second)
		before := h.view().Figures.Judgement.Gates[0]
		h.stopRun()
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		h = newHouse(t, store, judged(errorGate(0.05)))
		after(2 * time.Second)
		again := h.view().Figures.Judgement.Gates[0]
		if again.Counts != before.Counts || again.LogFail < 0.9*before.LogFail || again.LogFail <= 0 {
			t.Errorf("before %+v\nafter %+v", before, again)
		}
		h.play(crowd{pairs: 60, pairsBad: 20})
		after(6 * time.Second)
		h.wants(rollout.ModeRolledBack, 0)
	})
}

// Without the evidence of before nothing may go on as if there had been none.
func TestUnreadableEvidenceHoldsTheChallengerBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := newHouse(t, store, judged(errorGate(0.05)))
		h.play(crowd{pairs: 20})
		after(11 * time.Second)
		h.stopRun()
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		store.set(func(s *memory) { s.blind = true })
		h = newHouse(t, store, judged(errorGate(0.05)))
		if mode := h.live().State.Mode; mode != rollout.ModeChampion {
			t.Errorf("plays %s without its evidence", mode)
		}
		store.set(func(s *memory) { s.blind = false })
		after(2 * time.Second)
		h.wants(rollout.ModeShadow, 0)
		if n := h.view().Figures.Judgement.Gates[0].Counts.Pairs; n != 20 {
			t.Errorf("%d pairs, want the 20 of before", n)
		}
	})
}

func TestAStepThatTakesTooLong(t *testing.T) {
	for reaction, want := range map[rollout.Reaction]rollout.Mode{rollout.Hold: rollout.ModeShadow, rollout.RollBack: rollout.ModeRolledBack} {
		synctest.Test(t, func(t *testing.T) {
			s := judged(errorGate(0.05))
			s.Plan = append(rollout.Plan{{Kind: rollout.StepShadow, MinRequests: 1, MaxDuration: time.Hour, OnMaxDuration: reaction}}, s.Plan[1:]...)
			h := newHouse(t, newMemory(), s)
			h.play(crowd{pairs: 50})
			after(time.Hour - 5*time.Second)
			h.wants(rollout.ModeShadow, 0)
			after(10 * time.Second)
			h.wants(want, 0)
			if reaction == rollout.RollBack {
				if got := h.view().Changes[0]; got.Actor != GatewayActor || !strings.Contains(got.Reason, "maxDuration of 1h; it waited for: gate error-rate") {
					t.Errorf("by %s: %s", got.Actor, got.Reason)
				}
				return
			}
			h.play(crowd{pairs: 1000}) // a pass that comes too late is an operator's to use
			after(time.Minute)
			h.wants(rollout.ModeShadow, 0)
			if w := h.view().WaitingFor; !strings.Contains(w, "maxDuration 1h is over") {
				t.Errorf("waits for %q", w)
			}
		})
	}
}

// Keys that do not fall as the weight says void every verdict.
func TestABrokenSplitVoidsAllVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), judged(errorGate(0.05)))
		h.must(toCanary(5000))
		h.play(crowd{champion: 900, challenger: 600, challengerBad: 300})
		after(time.Minute)
		h.wants(rollout.ModeCanary, 5000)
		v := h.view()
		if j := v.Figures.Judgement; !j.Split.Void || j.Gates[0].Verdict != rollout.Inconclusive {
			t.Errorf("%+v", j)
		}
		if len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "split is broken") || h.log.count("split is broken") != 1 {
			t.Errorf("warnings %q, logged %d times", v.Warnings, h.log.count("split is broken"))
		}
		h.must(rollout.Event{Kind: rollout.EventResume})
		h.play(crowd{champion: 5000, challenger: 5000})
		after(10 * time.Minute)
		h.wants(rollout.ModeCanary, 5000) // for good
	})
}

// A dry run is judged and shown, and that is all; a gate that only holds rolls nothing back.
func TestGatesWithoutForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dry, hold := errorGate(0.05), disagreementGate()
		dry.DryRun, dry.Share, hold.OnFail = true, 0, rollout.Hold
		h := newHouse(t, newMemory(), judged(dry, hold))
		h.play(crowd{pairs: 500, pairsBad: 200, disagreeing: 100})
		after(5 * time.Minute)
		h.wants(rollout.ModeShadow, 0)
		j := h.view().Figures.Judgement
		if j.Gates[0].Verdict != rollout.Fail || j.Gates[1].Verdict != rollout.Fail {
			t.Errorf("%+v", j.Gates)
		}
		if w := h.view().WaitingFor; !strings.Contains(w, "gate disagreement") || strings.Contains(w, "error-rate") {
			t.Errorf("waits for %q", w)
		}
	})
}

func TestRetryBeginsWithNewEvidenceAndTheFilesRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := newHouse(t, store, judged(errorGate(0.05)))
		h.play(crowd{pairs: 200, pairsBad: 60})
		after(6 * time.Second)
		h.wants(rollout.ModeRolledBack, 0)
		if err := h.Configure(t.Context(), []Settings{judged(errorGate(0.5))}); err != nil {
			t.Fatal(err)
		}
		if m := h.view().Rules.Gates[0].Margin; m != 0.05 {
			t.Errorf("the rules changed within the rollout: margin %v", m)
		}
		h.must(rollout.Event{Kind: rollout.EventRetry})
		h.play(crowd{pairs: 200, pairsBad: 60})
		after(10 * time.Second)
		h.wants(rollout.ModeShadow, 0)
		if r := h.view().Figures.Judgement.Gates[0]; r.Gate.Margin != 0.5 || r.Counts.Pairs != 200 {
			t.Errorf("%+v", r)
		}
	})
}
