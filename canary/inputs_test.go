package canary

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// watching is the usual model with an input that is watched.
func watching(hold bool) Settings {
	s := fraud()
	s.Rules = rollout.Rules{Alpha: 0.01, Inputs: []rollout.WatchedInput{{Name: "amount", Features: 1, Hold: hold}}}
	return s
}

// see shows n requests of an arm, each with a key of its own and an amount from…99.
func (h *house) see(arm rollout.Arm, n int, from int) {
	crowds++
	l := h.live()
	for i := range n {
		l.Evidence.See(rollout.Sighting{Key: fmt.Sprint(crowds, " ", i), Keyed: true, Mode: l.State.Mode, Entered: l.State.Entered, Arm: arm,
			Values: []float64{float64(from + i%(100-from))}})
	}
}

func TestUnlikeInputsHoldAStep(t *testing.T) {
	for _, hold := range []bool{true, false} {
		t.Run(fmt.Sprint("hold ", hold), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, newMemory(), watching(hold))
				h.rehearse(100)
				h.see(rollout.Champion, 300, 0)
				after(2 * time.Minute)
				h.wants(rollout.ModeCanary, 500)
				h.see(rollout.Champion, 500, 0)
				h.see(rollout.Challenger, 200, 60)
				after(2 * time.Second)
				v := h.view()
				if len(v.Warnings) != 1 || !strings.HasPrefix(v.Warnings[0], "the arms get different inputs, key by key") || !strings.Contains(v.Warnings[0], "amount[0] PSI") {
					t.Errorf("warnings %q", v.Warnings)
				}
				h.perform(100)
				after(2 * time.Minute)
				if !hold {
					h.wants(rollout.ModeCanary, 5000)
					return
				}
				h.wants(rollout.ModeCanary, 500)
				if w := h.view().WaitingFor; !strings.HasPrefix(w, "the same inputs on both arms: amount[0] PSI") {
					t.Errorf("waits for %q", w)
				}
				if n := h.log.count("the arms get different inputs"); n != 1 {
					t.Errorf("the log says it %d times", n)
				}
				got := gathered(t, h)
				if psi := got[`understudy_input_shift_psi{against="champion_by_key",input="amount[0]",model="fraud"}`]; psi < 0.25 {
					t.Errorf("PSI %v in the metrics", psi)
				}
				// What was lost comes back: the arms' inputs become alike.
				h.see(rollout.Challenger, 3000, 0)
				h.see(rollout.Champion, 3000, 0)
				after(2 * time.Second)
				h.wants(rollout.ModeCanary, 5000)
			})
		})
	}
}

// No data never promotes: a step that must have alike inputs waits until there are enough.
func TestAHoldingInputWantsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), watching(true))
		h.rehearse(100)
		h.see(rollout.Champion, 300, 0)
		after(2 * time.Minute)
		h.perform(100)
		h.see(rollout.Champion, 500, 0)
		h.see(rollout.Challenger, 99, 0)
		after(2 * time.Minute)
		h.wants(rollout.ModeCanary, 500)
		if w := h.view().WaitingFor; w != "the same inputs on both arms: amount[0]: not enough to say, 99 of the challenger's and 500 of the champion's" {
			t.Errorf("waits for %q", w)
		}
		h.see(rollout.Challenger, 100, 0)
		after(2 * time.Second)
		h.wants(rollout.ModeCanary, 5000)
	})
}

// Inputs of before a restart count, on a base that is the same.
func TestInputsOutliveTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := newHouse(t, store, watching(false))
		h.rehearse(100)
		h.see(rollout.Champion, 400, 0)
		after(2 * time.Minute)
		h.see(rollout.Champion, 300, 50)
		h.see(rollout.Challenger, 100, 50)
		after(11 * time.Second)
		before := h.view().Figures.Judgement.Inputs
		h.stopRun()
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		h = newHouse(t, store, watching(false))
		after(2 * time.Second)
		again := h.view().Figures.Judgement.Inputs
		if len(before) != 3 || fmt.Sprint(again) != fmt.Sprint(before) {
			t.Errorf("before %+v\nafter %+v", before, again)
		}
		if s := before[2]; !s.Shifted || s.Of != 400 || s.To != 400 {
			t.Errorf("against shadow: %+v", s)
		}
		h.must(rollout.Event{Kind: rollout.EventRollback})
		after(2 * time.Second)
		if v := h.view(); len(v.Warnings) > 0 || len(v.Figures.Judgement.Inputs) != 3 || !v.Figures.Judgement.Inputs[2].Shifted {
			t.Errorf("rolled back: %q, %+v", v.Warnings, v.Figures.Judgement.Inputs)
		}
	})
}
