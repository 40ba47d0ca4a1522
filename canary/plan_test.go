package canary

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// The tests here follow a rollout along its plan.

func TestARolloutPlaysItsPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.wants(rollout.ModeShadow, 0)
		h.rehearse(100)
		after(59 * time.Second)
		h.wants(rollout.ModeShadow, 0)
		after(2 * time.Second)
		h.wants(rollout.ModeCanary, 500)
		if p := h.view().Progress; p.Routed != 0 || p.Pairs != 0 || p.Elapsed > 2*time.Second {
			t.Errorf("the new step began with %+v", p)
		}
		h.perform(50)
		after(61 * time.Second)
		h.wants(rollout.ModeCanary, 5000)
		h.perform(50)
		after(61 * time.Second)
		h.wants(rollout.ModePromoted, rollout.FullWeight)
		if got, want := h.journal.last(), "advance by gateway: canary to promoted"; got != want {
			t.Errorf("audited %q, want %q", got, want)
		}
		if reason := h.view().Changes[0].Reason; reason != "baked 1m with 100 requests, 50 answered by the challenger" {
			t.Errorf("reason %q", reason)
		}
	})
}

func TestNoDataNeverPromotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.rehearse(99)
		after(24 * time.Hour)
		h.wants(rollout.ModeShadow, 0)
		if got, want := h.view().WaitingFor, "99 of 100 paired predictions"; got != want {
			t.Errorf("waiting for %q, want %q", got, want)
		}
		h.rehearse(1)
		after(time.Second)
		h.wants(rollout.ModeCanary, 500)
		// Requests alone are no evidence about a challenger that answered none of them.
		l := h.live()
		for range 1000 {
			l.Evidence.Observe(rollout.Outcome{Arm: rollout.Champion, Entered: l.State.Entered})
			l.Evidence.Observe(rollout.Outcome{Arm: rollout.Challenger, Diverted: rollout.Cap, Entered: l.State.Entered})
		}
		after(24 * time.Hour)
		h.wants(rollout.ModeCanary, 500)
	})
}

func TestEvidenceOfAnotherStepDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		shadow := h.live()
		h.rehearse(100)
		after(2 * time.Minute)
		h.wants(rollout.ModeCanary, 500)
		for range 200 { // copies that were on their way
			shadow.Evidence.Observe(rollout.Outcome{Arm: rollout.Champion, Entered: shadow.State.Entered})
		}
		if p := h.view().Progress; p.Routed != 0 {
			t.Errorf("%d routed at the step", p.Routed)
		}
	})
}

func TestPauseHoldsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.rehearse(100)
		after(30 * time.Second)
		h.must(rollout.Event{Kind: rollout.EventPause, Reason: "lunch"})
		after(time.Hour)
		v := h.view()
		if v.Mode != rollout.ModeShadow || v.Progress.Elapsed != 30*time.Second || v.WaitingFor != "paused by ci: lunch" {
			t.Errorf("%s, %s, waiting for %q", v.Mode, v.Progress.Elapsed, v.WaitingFor)
		}
		if v.Progress.Pairs != 100 || v.Remaining != 30*time.Second {
			t.Errorf("%+v, %s remaining", v.Progress, v.Remaining)
		}
		h.must(rollout.Event{Kind: rollout.EventResume})
		after(29 * time.Second)
		h.wants(rollout.ModeShadow, 0)
		after(2 * time.Second)
		h.wants(rollout.ModeCanary, 500)
	})
}

func TestTheWallClockDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.rehearse(100)
		after(30 * time.Second)
		for _, jump := range []time.Duration{time.Hour, -time.Hour, 0} {
			h.wall = jump
			after(5 * time.Second)
			h.wants(rollout.ModeShadow, 0)
		}
		if got := h.view().Progress.Elapsed; got != 45*time.Second {
			t.Errorf("elapsed %s, want 45s", got)
		}
	})
}

func TestAManualPauseWaitsForResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fraud()
		s.Plan = rollout.Plan{plan[0], plan[1], {Kind: rollout.StepPause, Manual: true}}
		h := newHouse(t, newMemory(), s)
		h.rehearse(100)
		after(time.Minute + time.Second)
		h.perform(1000)
		after(time.Hour)
		h.wants(rollout.ModeCanary, 500)
		if got := h.view().WaitingFor; got != "resume: this step waits for an operator" {
			t.Errorf("waiting for %q", got)
		}
		h.must(rollout.Event{Kind: rollout.EventResume})
		h.wants(rollout.ModePromoted, rollout.FullWeight)
	})
}

func TestAnOpenBreakerHoldsTheShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.rehearse(100)
		after(50 * time.Second)
		h.trip()
		after(20 * time.Second)
		h.wants(rollout.ModeShadow, 0) // not rolled back either
		v := h.view()
		if v.Breaker != BreakerOpen || v.WaitingFor != "breaker open: challenger not answering probes" {
			t.Errorf("breaker %s, waiting for %q", v.Breaker, v.WaitingFor)
		}
		for _, e := range []rollout.Event{toCanary(500), {Kind: rollout.EventPromote}, {Kind: rollout.EventPromote, Full: true}} {
			if _, err := h.do(e); !errors.Is(err, rollout.ErrNotAllowed) || !strings.Contains(err.Error(), "wait in shadow") {
				t.Errorf("%s with an open breaker: %v", e.Kind, err)
			}
		}
		h.must(rollout.Event{Kind: rollout.EventPause}) // what exposes nobody is allowed
		h.must(rollout.Event{Kind: rollout.EventResume})
		if !call(h.live().Breaker, fine) {
			t.Fatal("no probe")
		}
		after(time.Second)
		h.wants(rollout.ModeCanary, 500)
	})
}

func TestAStepHoldsWhileTheStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.rehearse(100)
		h.store.set(func(s *memory) { s.down, s.swaps = true, 0 })
		after(10 * time.Minute)
		if n := h.journal.count("advance"); n != 0 || h.store.swaps != 1 {
			t.Errorf("%d advances audited, %d written: want none, and one try that waits for the store", n, h.store.swaps)
		}
		v := h.view()
		if v.Mode != rollout.ModeShadow || h.live().State.Mode != rollout.ModeShadow {
			t.Fatalf("advanced to %s without a store", v.Mode)
		}
		if len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "the rollout holds") || !strings.Contains(v.Warnings[0], "the store is down") {
			t.Errorf("warnings %q", v.Warnings)
		}
		h.store.set(func(s *memory) { s.down = false })
		after(2 * time.Second)
		h.wants(rollout.ModeCanary, 500)
		if w := h.view().Warnings; len(w) != 0 {
			t.Errorf("warnings %q after the store came back", w)
		}
		if got := h.journal.last(); got != "advance by gateway: shadow to canary" || h.journal.count("advance") != 1 {
			t.Errorf("audited %q", got)
		}
	})
}

func TestAFullDiskIsNotWrittenToEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.rehearse(100)
		h.store.set(func(s *memory) { s.full, s.swaps = true, 0 })
		after(11 * time.Minute)
		if n := h.store.swaps; n < 10 || n > 30 {
			t.Errorf("%d tries in ten minutes", n)
		}
		if n := h.log.count("the rollout holds"); n != 1 || h.journal.count("advance") != 0 {
			t.Errorf("the log was told %d times, %d advances audited", n, h.journal.count("advance"))
		}
		h.store.set(func(s *memory) { s.full = false })
		after(longestWait + time.Second)
		h.wants(rollout.ModeCanary, 500)
	})
}

func TestATroubleThatIsNoLongerDueIsNoWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.rehearse(100)
		h.store.set(func(s *memory) { s.full = true })
		after(2 * time.Minute)
		h.trip() // the breaker opens: the step is no longer over
		after(2 * time.Second)
		if w := h.view().Warnings; len(w) != 0 {
			t.Errorf("warnings %q", w)
		}
	})
}

func TestAStepHoldsWhileTheAuditFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.rehearse(100)
		synctest.Wait() // the start's own entry is written
		h.journal.set(true)
		after(2 * time.Minute)
		h.perform(100)
		after(10 * time.Minute) // one step is the most that is taken unseen
		h.wants(rollout.ModeCanary, 500)
		if w := h.view().Warnings; len(w) != 1 || !strings.HasPrefix(w[0], "advance not in the audit log yet, and the plan holds") {
			t.Errorf("warnings %q", w)
		}
		if n := h.log.count("can't be written to the audit log"); n != 1 {
			t.Errorf("the log was told %d times of one outage", n)
		}
		h.journal.set(false)
		after(2 * time.Second)
		h.wants(rollout.ModeCanary, 5000)
		if n := h.journal.count("advance"); n != 2 {
			t.Errorf("%d advances audited, want 2", n)
		}
	})
}

func TestAPromotionIsUnfinishedUntilTheFileSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.must(rollout.Event{Kind: rollout.EventPromote, Full: true})
		h.wants(rollout.ModePromoted, rollout.FullWeight)
		want := "promotion unfinished: set champion to fraud:2 at dns:///fraud-v2:8081 in the file"
		if w := h.view().Warnings; len(w) != 1 || w[0] != want {
			t.Errorf("warnings %q", w)
		}
		s := fraud()
		s.Champion, s.Challenger = v2, rollout.Spec{}
		if err := h.Configure(t.Context(), []Settings{s}); err != nil {
			t.Fatal(err)
		}
		h.wants(rollout.ModeChampion, 0)
		if v := h.view(); len(v.Warnings) != 0 || v.Champion != v2 || v.Breaker != "" {
			t.Errorf("warnings %q, champion %s, breaker %q", v.Warnings, v.Champion, v.Breaker)
		}
	})
}

func TestJudgeNamesWhatIsMissing(t *testing.T) {
	canary := rollout.State{Mode: rollout.ModeCanary, Weight: 500, Step: 2, Plan: plan}
	shadow := rollout.State{Mode: rollout.ModeShadow, Plan: rollout.Plan{{Kind: rollout.StepShadow, Bake: 90 * time.Minute, MinRequests: 10_000}}}
	for _, c := range []struct {
		name    string
		state   rollout.State
		p       rollout.Progress
		breaker string
		want    string
	}{
		{"both", shadow, rollout.Progress{Elapsed: 78 * time.Minute, Pairs: 3200}, BreakerClosed, "bake 12m left; 3,200 of 10,000 paired predictions"},
		{"time", shadow, rollout.Progress{Elapsed: 30 * time.Minute, Pairs: 10_000}, BreakerClosed, "bake 1h left"},
		{"nothing", shadow, rollout.Progress{Elapsed: 90 * time.Minute, Pairs: 10_000}, BreakerClosed, ""},
		{"requests", canary, rollout.Progress{Elapsed: time.Hour, Routed: 99, Answered: 9}, BreakerClosed, "99 of 100 requests"},
		{"answers", canary, rollout.Progress{Elapsed: time.Hour, Routed: 100}, BreakerClosed, "the challenger has answered no request yet"},
		{"breaker", shadow, rollout.Progress{Elapsed: 90 * time.Minute, Pairs: 10_000}, BreakerHalfOpen, "breaker half open: challenger not answering probes"},
		{"no plan", rollout.State{Mode: rollout.ModeShadow}, rollout.Progress{}, BreakerClosed, "an operator: the plan has no steps"},
		{"rolled back", rollout.State{Mode: rollout.ModeRolledBack, Plan: plan}, rollout.Progress{}, BreakerOpen, ""},
	} {
		j := readiness(c.state, c.p, c.breaker, rollout.Judgement{})
		if j.waiting != c.want {
			t.Errorf("%s: %q, want %q", c.name, j.waiting, c.want)
		}
		if ready := c.want == "" && c.state.Recorded(); j.ready != ready {
			t.Errorf("%s: ready %v", c.name, j.ready)
		}
	}
}

func TestBriefly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 350 * time.Millisecond: "350ms", 12 * time.Second: "12s", time.Minute: "1m", 10 * time.Minute: "10m",
		time.Hour: "1h", 65*time.Minute + 400*time.Millisecond: "1h5m", 3605 * time.Second: "1h0m5s", 100 * time.Hour: "100h",
	} {
		if got := gate.Span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := gate.Number(1234567); got != "1,234,567" {
		t.Errorf("grouped: %s", got)
	}
}
