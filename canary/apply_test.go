package canary

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

func TestOneOfManyWithTheSameRevisionWins(t *testing.T) {
	h := newHouse(t, newMemory(), fraud())
	for range 20 {
		revision := h.view().Revision
		var won, stale atomic.Int32
		var racers sync.WaitGroup
		for range 16 {
			racers.Go(func() {
				_, err := h.Apply(t.Context(), "fraud", toCanary(100), &revision)
				var missed *rollout.StaleError
				switch {
				case err == nil:
					won.Add(1)
				case errors.As(err, &missed) && missed.Current.Revision > revision:
					stale.Add(1)
				default:
					t.Errorf("%v", err)
				}
			})
		}
		racers.Wait()
		if won.Load() != 1 || stale.Load() != 15 {
			t.Fatalf("%d won, %d were stale", won.Load(), stale.Load())
		}
		if got := h.view().Revision; got != revision+1 {
			t.Fatalf("revision %d after %d", got, revision)
		}
	}
}

// TestPublishedRevisionsOnlyRise: whatever happens at once, the routes never go back.
func TestPublishedRevisionsOnlyRise(t *testing.T) {
	h := newHouse(t, newMemory(), fraud())
	var racers sync.WaitGroup
	for _, e := range []rollout.Event{toCanary(100), {Kind: rollout.EventPause}, {Kind: rollout.EventResume},
		{Kind: rollout.EventSetMode, Mode: rollout.ModeShadow}, {Kind: rollout.EventRollback}, {Kind: rollout.EventRetry}} {
		racers.Go(func() {
			for range 200 {
				_, _ = h.do(e)
			}
		})
	}
	racers.Wait()
	h.stopRun()
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var last rollout.State
	for _, l := range h.published {
		if l.State.Revision < last.Revision {
			t.Fatalf("revision %d was published after %d", l.State.Revision, last.Revision)
		}
		if l.State.Rollout < last.Rollout || (last.Mode == rollout.ModeRolledBack && l.State.Mode != last.Mode && l.State.Rollout == last.Rollout) {
			t.Fatalf("rollout %d went from %s to %s", l.State.Rollout, last.Mode, l.State.Mode)
		}
		last = l.State
	}
	if stored := h.store.state("fraud"); stored.Revision != last.Revision || stored.Mode != last.Mode {
		t.Errorf("stored revision %d %s, played %d %s", stored.Revision, stored.Mode, last.Revision, last.Mode)
	}
}

func TestAPlannedChangeNeedsAuditAndStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		before := h.view().Revision
		h.journal.set(true)
		if _, err := h.do(toCanary(100)); !errors.Is(err, rollout.ErrUnavailable) || !strings.Contains(err.Error(), "audit") {
			t.Errorf("without an audit: %v", err)
		}
		h.journal.set(false)
		h.store.set(func(s *memory) { s.down = true })
		if _, err := h.do(toCanary(100)); !errors.Is(err, rollout.ErrUnavailable) || !strings.Contains(err.Error(), "not made") {
			t.Errorf("without a store: %v", err)
		}
		h.store.set(func(s *memory) { s.down, s.hang = false, make(chan struct{}) })
		if _, err := h.do(toCanary(100)); !errors.Is(err, rollout.ErrUnavailable) {
			t.Errorf("with a store that hangs: %v", err)
		}
		if v, l := h.view(), h.live().State; v.Revision != before || l.Mode != rollout.ModeShadow {
			t.Errorf("revision %d, played %s: want nothing changed", v.Revision, l.Mode)
		}
	})
}

func TestACallerWhoLeavesDoesNotCutTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		release := make(chan struct{})
		h.store.set(func(s *memory) { s.hang = release })
		revision := h.view().Revision
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := h.Apply(ctx, "fraud", toCanary(100), &revision)
			ended <- err
		}()
		synctest.Wait()
		cancel()
		if _, err := h.Apply(ctx, "fraud", toCanary(200), &revision); !errors.Is(err, rollout.ErrUnavailable) {
			t.Errorf("waiting behind it with an ended context: %v", err)
		}
		close(release)
		if err := <-ended; err != nil {
			t.Errorf("%v", err)
		}
		h.wants(rollout.ModeCanary, 100)
	})
}

func TestWhatApplyRefuses(t *testing.T) {
	h := newHouse(t, newMemory(), fraud())
	revision := h.view().Revision
	for _, c := range []struct {
		name     string
		model    string
		event    rollout.Event
		expected *uint64
		want     error
		says     string
	}{
		{"an unknown model", "frod", rollout.Event{Kind: rollout.EventPause}, &revision, rollout.ErrUnknownModel, "there are: fraud"},
		{"no revision", "fraud", rollout.Event{Kind: rollout.EventPause}, nil, rollout.ErrStale, "at revision 1, not 0"},
		{"the gateway's event", "fraud", rollout.Event{Kind: rollout.EventAdvance}, &revision, rollout.ErrNotAllowed, "gateway's own"},
		{"the file's event", "fraud", rollout.Event{Kind: rollout.EventStart}, &revision, rollout.ErrNotAllowed, "gateway's own"},
		{"a retry in shadow", "fraud", rollout.Event{Kind: rollout.EventRetry}, &revision, rollout.ErrNotAllowed, "allowed: set_mode"},
		{"a mode that can't be set", "fraud", rollout.Event{Kind: rollout.EventSetMode, Mode: rollout.ModePromoted}, &revision, rollout.ErrNotAllowed, "can't be set"},
	} {
		if _, err := h.Apply(t.Context(), c.model, c.event, c.expected); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if got := h.view().Revision; got != revision {
		t.Errorf("revision %d after refusals, was %d", got, revision)
	}
}

func TestRetryTakesTheFilesPlanAndAllNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		old := h.live()
		h.perform(100)
		h.trip()
		synctest.Wait()
		s := fraud()
		s.Plan = rollout.Plan{{Kind: rollout.StepShadow, Bake: time.Hour, MinRequests: 1}}
		if err := h.Configure(t.Context(), []Settings{s}); err != nil {
			t.Fatal(err)
		}
		h.wants(rollout.ModeRolledBack, 0)
		v := h.must(rollout.Event{Kind: rollout.EventRetry})
		h.wants(rollout.ModeShadow, 0)
		l := h.live()
		if len(v.Plan) != 1 || v.Figures.Champion.Requests != 0 || v.Breaker != BreakerClosed {
			t.Errorf("plan %v, figures %+v, breaker %s", v.Plan, v.Figures, v.Breaker)
		}
		if l.Breaker == old.Breaker || l.Evidence == old.Evidence || !call(l.Breaker, fine) || call(old.Breaker, fine) {
			t.Error("breaker and evidence are not new")
		}
	})
}

func TestRetryNeedsTheChallengerInTheFile(t *testing.T) {
	h := newHouse(t, newMemory(), fraud())
	if _, err := h.Apply(t.Context(), "fraud", rollout.Event{Kind: rollout.EventRollback}, nil); err != nil {
		t.Fatal(err)
	}
	s := fraud()
	s.Challenger = rollout.Spec{}
	if err := h.Configure(t.Context(), []Settings{s}); err != nil {
		t.Fatal(err)
	}
	h.pay(t.Context(), h.find("fraud"))
	if _, err := h.do(rollout.Event{Kind: rollout.EventRetry}); !errors.Is(err, rollout.ErrNotAllowed) || !strings.Contains(err.Error(), "names no challenger") {
		t.Errorf("%v", err)
	}
}

func TestAnotherReplicasChangesArePlayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := newHouse(t, store, fraud())
		first := h.live()
		store.elsewhere(t, "fraud", toCanary(100))
		synctest.Wait()
		h.wants(rollout.ModeCanary, 100)
		if l := h.live(); l.Breaker != first.Breaker || l.Evidence != first.Evidence {
			t.Error("a step of the same rollout got a new breaker or evidence")
		}
		h.trip() // live by another's doing is live all the same
		synctest.Wait()
		h.wants(rollout.ModeRolledBack, 0)
		store.elsewhere(t, "fraud", rollout.Event{Kind: rollout.EventRetry, Plan: plan})
		synctest.Wait()
		h.wants(rollout.ModeShadow, 0)
		if l := h.live(); l.Breaker == first.Breaker || l.Breaker.Latched() {
			t.Error("another's retry did not bring a new breaker")
		}
	})
}

func TestALostWatchIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.down = true
		h := newHouse(t, store, fraud())
		after(time.Minute)
		store.set(func(s *memory) { s.down = false })
		after(3 * time.Second)
		store.elsewhere(t, "fraud", toCanary(100))
		synctest.Wait()
		h.wants(rollout.ModeCanary, 100)
	})
}

func TestSubscribersAreToldAndTicksCoalesce(t *testing.T) {
	h := newHouse(t, newMemory(), fraud())
	changed, cancel := h.Subscribe()
	h.must(toCanary(100))
	h.must(toCanary(200))
	<-changed
	select {
	case <-changed:
		t.Error("two ticks for changes that nobody had looked at")
	default:
	}
	cancel()
	h.must(toCanary(300))
	select {
	case <-changed:
		t.Error("a tick after cancel")
	default:
	}
}
