package canary

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

func TestARestartGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		h.perform(30)
		after(42 * time.Second)
		h.stopRun()
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // does not count

		h = newHouse(t, store, fraud())
		h.wants(rollout.ModeCanary, 500)
		want := rollout.Progress{Entered: h.view().Entered, Elapsed: 42 * time.Second, Routed: 60, Answered: 30}
		if got := h.view().Progress; got != want {
			t.Fatalf("progress %+v, want %+v", got, want)
		}
		h.perform(20)
		after(17 * time.Second)
		h.wants(rollout.ModeCanary, 500)
		after(2 * time.Second)
		h.wants(rollout.ModeCanary, 5000)
		h.trip()
		synctest.Wait()
		h.wants(rollout.ModeRolledBack, 0)
	})
}

func TestAKilledProcessLosesSecondsOfProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		h.perform(30)
		after(43 * time.Second)
		h.stopRun() // and no Close
		if got := newHouse(t, store, fraud()).view().Progress; got.Elapsed < 37*time.Second || got.Routed != 60 {
			t.Errorf("progress %+v", got)
		}
	})
}

func TestProgressOfAnotherStepIsVoid(t *testing.T) {
	store := newMemory()
	inCanary(t, store)
	store.progress["fraud"] = rollout.Progress{Entered: 1, Elapsed: time.Hour, Routed: 1e6, Answered: 1e6}
	if got := newHouse(t, store, fraud()).view().Progress; got.Elapsed > time.Minute || got.Routed != 0 {
		t.Errorf("progress %+v", got)
	}
}

func TestARestartStaysRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		h.trip()
		synctest.Wait()
		h.stopRun()
		without := fraud()
		without.Challenger = rollout.Spec{}
		for _, s := range []Settings{fraud(), without, fraud()} {
			h = newHouse(t, store, s)
			h.wants(rollout.ModeRolledBack, 0)
			after(24 * time.Hour)
			h.wants(rollout.ModeRolledBack, 0)
			h.stopRun()
		}
		another := fraud()
		another.Challenger.Version = "3"
		newHouse(t, store, another).wants(rollout.ModeShadow, 0)
	})
}

func TestWithoutAStoreTheChampionServesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		h.stopRun()
		store.set(func(s *memory) { s.down = true })
		h = newHouse(t, store, fraud())
		l := h.live()
		if l.State.Mode != rollout.ModeChampion || l.State.Champion != v1 || l.State.HasChallenger() || l.Breaker != nil || l.Evidence == nil {
			t.Fatalf("played %+v without a store", l.State)
		}
		after(time.Minute)
		v := h.view()
		if len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "the champion serves alone") || !strings.Contains(v.Warnings[0], "the store is down") {
			t.Errorf("warnings %q", v.Warnings)
		}
		if _, err := h.do(toCanary(100)); !errors.Is(err, rollout.ErrUnavailable) {
			t.Errorf("a change of an unknown state: %v", err)
		}
		store.set(func(s *memory) { s.down = false })
		after(2 * time.Second)
		h.wants(rollout.ModeCanary, 500)
		if w := h.view().Warnings; len(w) != 0 {
			t.Errorf("warnings %q", w)
		}
	})
}

func TestARollbackBeforeTheStateIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		h.stopRun()
		store.set(func(s *memory) { s.down = true })
		h = newHouse(t, store, fraud())
		v, err := h.Apply(t.Context(), "fraud", rollout.Event{Kind: rollout.EventRollback, Actor: "ci"}, nil)
		if err != nil || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "the rollback asked for") {
			t.Errorf("%v, warnings %q", err, v.Warnings)
		}
		store.set(func(s *memory) { s.down = false })
		after(2 * time.Second)
		h.wants(rollout.ModeRolledBack, 0)
		for _, l := range h.published {
			if l.State.Mode == rollout.ModeCanary {
				t.Error("the challenger was on stage in between")
			}
		}
	})
}

func TestAReloadWithoutAStoreKeepsWhatIsPlayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		h.store.set(func(s *memory) { s.down = true })
		another := fraud()
		another.Challenger.Version = "3"
		if err := h.Configure(t.Context(), []Settings{another}); err != nil {
			t.Fatal(err)
		}
		if l := h.live(); l.State.Mode != rollout.ModeCanary || l.State.Challenger != v2 {
			t.Fatalf("played %s of %s", l.State.Mode, l.State.Challenger)
		}
		if w := h.view().Warnings; len(w) != 1 || !strings.HasPrefix(w[0], "the config file's change waits") {
			t.Errorf("warnings %q", w)
		}
		old := h.live().Breaker
		h.store.set(func(s *memory) { s.down = false })
		after(2 * time.Second)
		h.wants(rollout.ModeShadow, 0)
		if call(old, fine) {
			t.Error("the old challenger's breaker still admits calls")
		}
		if l := h.live(); l.State.Challenger.Version != "3" {
			t.Errorf("played %s", l.State.Challenger)
		}
	})
}

func TestAReloadPublishesWhatDidNotChangeToo(t *testing.T) {
	h := newHouse(t, newMemory(), fraud())
	before, revision := len(h.published), h.view().Revision
	if err := h.Configure(t.Context(), []Settings{fraud()}); err != nil {
		t.Fatal(err)
	}
	if len(h.published) != before+1 || h.view().Revision != revision {
		t.Errorf("%d publications, revision %d to %d", len(h.published)-before, revision, h.view().Revision)
	}
}

func TestAModelThatTheFileDropsIsWithdrawnAndRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		h.store.set(func(s *memory) { s.down = true })
		h.trip()
		synctest.Wait()
		if err := h.Configure(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Get("fraud"); !errors.Is(err, rollout.ErrUnknownModel) || len(h.List()) != 0 {
			t.Errorf("%v, %d models", err, len(h.List()))
		}
		if _, err := h.Apply(t.Context(), "fraud", rollout.Event{Kind: rollout.EventRollback}, nil); !errors.Is(err, rollout.ErrUnknownModel) {
			t.Errorf("a change of a withdrawn model: %v", err)
		}
		h.store.set(func(s *memory) { s.down = false })
		after(2 * time.Second)
		if got := h.store.state("fraud").Mode; got != rollout.ModeRolledBack {
			t.Errorf("stored %s: the rollback of the withdrawn model is lost", got)
		}
		if err := h.Configure(t.Context(), []Settings{fraud()}); err != nil {
			t.Fatal(err)
		}
		h.wants(rollout.ModeRolledBack, 0)
	})
}

func TestATripDuringAReloadIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		release := make(chan struct{})
		h.store.set(func(s *memory) { s.hang = release })
		moved := fraud()
		moved.Champion.Version = "1b" // starts the rollout anew, in shadow
		reloaded := make(chan error, 1)
		go func() { reloaded <- h.Configure(t.Context(), []Settings{moved}) }()
		synctest.Wait()
		h.trip()
		synctest.Wait()
		if l := h.live().State; l.Mode != rollout.ModeRolledBack {
			t.Fatalf("played %s during the reload", l.Mode)
		}
		h.store.set(func(s *memory) { s.hang = nil })
		close(release)
		if err := <-reloaded; err != nil {
			t.Fatal(err)
		}
		after(3 * time.Second)
		if l, s := h.live().State, h.store.state("fraud"); l.Revision != s.Revision || l.Mode == rollout.ModeCanary {
			t.Errorf("played revision %d %s, stored %d %s", l.Revision, l.Mode, s.Revision, s.Mode)
		}
	})
}

func TestInvalidSettingsChangeNothing(t *testing.T) {
	h := newHouse(t, newMemory(), fraud())
	nameless, noChampion, badPlan := fraud(), fraud(), fraud()
	nameless.Model = ""
	noChampion.Champion = rollout.Spec{}
	badPlan.Plan = rollout.Plan{{Kind: rollout.StepSetWeight, Weight: 100}}
	for says, all := range map[string][]Settings{
		"without a name": {nameless}, "named twice": {fraud(), fraud()}, "no champion": {noChampion}, "plan: step 0": {badPlan},
	} {
		if err := h.Configure(t.Context(), all); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	h.wants(rollout.ModeShadow, 0)
}

func TestViewsAreTheCallersOwn(t *testing.T) {
	h := newHouse(t, newMemory(), fraud())
	v := h.view()
	v.Plan[0].MinRequests, v.Changes[0].Actor = 1, "spoilt"
	if again := h.view(); again.Plan[0].MinRequests != 100 || again.Changes[0].Actor == "spoilt" {
		t.Error("a caller's change reached the conductor")
	}
}

// gathered returns every sample as name{label="value",...}; a histogram's is its count.
func gathered(t *testing.T, h *house) map[string]float64 {
	t.Helper()
	families, err := h.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue() +
				float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		wants := func(want map[string]float64) {
			t.Helper()
			got := gathered(t, h)
			for name, v := range want {
				if g, there := got[name]; !there || g != v {
					t.Errorf("%s: %v (there: %v), want %v", name, g, there, v)
				}
			}
		}
		wants(map[string]float64{
			`understudy_rollout_mode{mode="canary",model="fraud"}`:      1,
			`understudy_rollout_mode{mode="shadow",model="fraud"}`:      0,
			`understudy_rollout_weight_ratio{model="fraud"}`:            0.05,
			`understudy_rollout_revision{model="fraud"}`:                3,
			`understudy_breaker_state{model="fraud",state="closed"}`:    1,
			`understudy_breaker_state{model="fraud",state="half_open"}`: 0,
			`understudy_promotion_unfinished{model="fraud"}`:            0,
			`understudy_rollout_unstored{model="fraud"}`:                0,
		})
		h.store.set(func(s *memory) { s.down = true })
		h.trip()
		synctest.Wait()
		wants(map[string]float64{
			`understudy_rollout_mode{mode="rolled_back",model="fraud"}`:     1,
			`understudy_rollout_weight_ratio{model="fraud"}`:                0,
			`understudy_breaker_state{model="fraud",state="open"}`:          1,
			`understudy_rollbacks_total{model="fraud",trigger="breaker"}`:   1,
			`understudy_rollback_seconds{}`:                                 1,
			`understudy_store_failures_total{operation="compare_and_swap"}`: 1,
			`understudy_rollout_unstored{model="fraud"}`:                    1,
		})
		if err := h.Configure(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, there := gathered(t, h)[`understudy_rollout_revision{model="fraud"}`]; there {
			t.Error("a withdrawn model is still measured")
		}
	})
}
