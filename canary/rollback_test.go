package canary

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// inCanary is a house whose challenger answers 5 % of the traffic.
func inCanary(t *testing.T, store *memory) *house {
	t.Helper()
	h := newHouse(t, store, fraud())
	h.must(toCanary(500))
	h.must(rollout.Event{Kind: rollout.EventResume})
	h.wants(rollout.ModeCanary, 500)
	return h
}

func TestATripInCanaryIsTheRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		h.trip()
		synctest.Wait() // no time passes: nobody waits for a tick
		h.wants(rollout.ModeRolledBack, 0)
		v := h.view()
		if c := v.Changes[0]; c.Actor != BreakerActor || c.Reason != "10 consecutive failures, the last UNAVAILABLE" {
			t.Errorf("the history says %+v", c)
		}
		if got, want := h.journal.last(), "rollback by breaker: canary to rolled_back"; got != want {
			t.Errorf("audited %q, want %q", got, want)
		}
		if len(v.Warnings) != 0 || v.WaitingFor != "" {
			t.Errorf("warnings %q, waiting for %q", v.Warnings, v.WaitingFor)
		}
		after(24 * time.Hour)
		h.wants(rollout.ModeRolledBack, 0)
		if call(h.live().Breaker, fine) {
			t.Error("a call passed the breaker of a rolled-back rollout")
		}
	})
}

func TestARollbackWaitsForNeitherStoreNorAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		synctest.Wait() // the start's own entry is written
		h.store.set(func(s *memory) { s.down = true })
		h.journal.set(true)
		h.trip()
		synctest.Wait()
		if l := h.live().State; l.Mode != rollout.ModeRolledBack {
			t.Fatalf("played %s while the store is down", l.Mode)
		}
		after(time.Hour)
		if w := h.view().Warnings; len(w) != 2 || !strings.HasPrefix(w[0], "rollback not stored yet") || !strings.HasPrefix(w[1], "rollback not in the audit log yet") {
			t.Errorf("warnings %q", w)
		}
		if n := h.log.count("can't be written to the audit log"); n != 1 {
			t.Errorf("the log was told %d times of one outage", n)
		}
		if err := h.Close(t.Context()); !errors.Is(err, rollout.ErrUnavailable) || !strings.Contains(err.Error(), "fraud") {
			t.Errorf("Close: %v, want the rollback that a restart would forget", err)
		}
		h.store.set(func(s *memory) { s.down = false })
		after(2 * time.Second)
		h.wants(rollout.ModeRolledBack, 0)
		if w := h.view().Warnings; len(w) != 1 || !strings.HasPrefix(w[0], "rollback not in the audit log yet") {
			t.Errorf("warnings %q", w)
		}
		h.journal.set(false)
		after(2 * time.Second)
		if w := h.view().Warnings; len(w) != 0 || h.journal.last() != "rollback by breaker: canary to rolled_back" {
			t.Errorf("warnings %q, audited %q", w, h.journal.last())
		}
	})
}

// TestARollbackOnItsWayIsNoWarning: what takes milliseconds frightens nobody; what hangs
// is told, whether or not a first try has failed.
func TestARollbackOnItsWayIsNoWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		synctest.Wait() // the start's own entry is written
		hang := make(chan struct{})
		h.store.set(func(s *memory) { s.hang = hang })
		v, err := h.Apply(t.Context(), "fraud", rollout.Event{Kind: rollout.EventRollback, Actor: "ci"}, nil)
		if err != nil || len(v.Warnings) != 0 {
			t.Errorf("%v, warnings %q", err, v.Warnings)
		}
		after(2 * time.Second)
		if w := h.view().Warnings; len(w) != 2 || w[0] != "rollback not stored yet, a restart would forget it: under way" {
			t.Errorf("warnings %q", w)
		}
		h.store.set(func(s *memory) { s.hang = nil })
		close(hang)
		after(time.Second)
		h.wants(rollout.ModeRolledBack, 0)
		if w := h.view().Warnings; len(w) != 0 || h.journal.count("rollback") != 1 {
			t.Errorf("warnings %q, %d entries", w, h.journal.count("rollback"))
		}
	})
}

func TestATripDuringAHangingPromotionWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		release := make(chan struct{})
		h.store.set(func(s *memory) { s.hang = release })
		promoted := make(chan error, 1)
		go func() {
			_, err := h.do(rollout.Event{Kind: rollout.EventPromote, Full: true})
			promoted <- err
		}()
		synctest.Wait()
		h.trip()
		synctest.Wait()
		if l := h.live().State; l.Mode != rollout.ModeRolledBack {
			t.Fatalf("played %s: the rollback waited for the promotion", l.Mode)
		}
		h.store.set(func(s *memory) { s.hang = nil })
		close(release)
		synctest.Wait()
		after(2 * time.Second)
		if err := <-promoted; !errors.Is(err, rollout.ErrStale) {
			t.Errorf("the promotion ended with %v, want ErrStale", err)
		}
		h.wants(rollout.ModeRolledBack, 0)
		if stored := h.store.state("fraud").Revision; stored != h.view().Revision {
			t.Errorf("stored revision %d, played %d", stored, h.view().Revision)
		}
	})
}

func TestARollbackByHandNeedsNoRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		h.store.set(func(s *memory) { s.down = true })
		v, err := h.Apply(t.Context(), "fraud", rollout.Event{Kind: rollout.EventRollback, Actor: "ci", Reason: "no"}, nil)
		if err != nil || v.Mode != rollout.ModeRolledBack || h.live().State.Mode != rollout.ModeRolledBack {
			t.Errorf("%v: %s", err, v.Mode)
		}
		if call(h.live().Breaker, fine) || h.live().Breaker.Latched() {
			t.Error("after a rollback by hand the breaker admits calls, or says that it tripped")
		}
		if _, err := h.Apply(t.Context(), "fraud", rollout.Event{Kind: rollout.EventRollback}, nil); !errors.Is(err, rollout.ErrNotAllowed) {
			t.Errorf("rolled back twice: %v", err)
		}
		h.store.set(func(s *memory) { s.down = false })
		if _, err := h.do(rollout.Event{Kind: rollout.EventRetry}); !errors.Is(err, rollout.ErrUnavailable) {
			t.Errorf("retry before the rollback is stored: %v", err)
		}
		after(2 * time.Second)
		h.wants(rollout.ModeRolledBack, 0)
	})
}

func TestARollbackBeatsAnotherReplicasPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		store.set(func(s *memory) { s.down = true })
		h.trip()
		synctest.Wait()
		store.elsewhere(t, "fraud", rollout.Event{Kind: rollout.EventPause})
		promoted := store.elsewhere(t, "fraud", rollout.Event{Kind: rollout.EventPromote, Full: true})
		synctest.Wait()
		if l := h.live().State; l.Mode != rollout.ModeRolledBack {
			t.Fatalf("the promotion took the rollback back: played %s", l.Mode)
		}
		store.set(func(s *memory) { s.down = false })
		after(2 * time.Second)
		h.wants(rollout.ModeRolledBack, 0)
		if got := store.state("fraud"); got.Revision != promoted.Revision+1 || got.Changes[1].Kind != rollout.EventPromote {
			t.Errorf("stored %+v, want the rollback on top of the promotion", got.Changes)
		}
	})
}

func TestARollbackIsVoidBehindAnothersRollbackOrRetry(t *testing.T) {
	for _, retried := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := newMemory()
			h := inCanary(t, store)
			store.set(func(s *memory) { s.down = true })
			h.trip()
			synctest.Wait()
			want := store.elsewhere(t, "fraud", rollout.Event{Kind: rollout.EventRollback, Actor: "other"})
			if retried {
				want = store.elsewhere(t, "fraud", rollout.Event{Kind: rollout.EventRetry, Actor: "other", Plan: plan})
			}
			store.set(func(s *memory) { s.down = false })
			after(2 * time.Second)
			if got := store.state("fraud").Revision; got != want.Revision {
				t.Errorf("retried %v: revision %d was stored over %d", retried, got, want.Revision)
			}
			h.wants(want.Mode, want.Weight)
			if retried && h.live().Breaker.Latched() {
				t.Error("the retried rollout got the old breaker")
			}
		})
	}
}

func TestAFailedWriteThatWasStoredIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		store.set(func(s *memory) { s.lies = true; clear(s.watchers) })
		if _, err := h.do(rollout.Event{Kind: rollout.EventPause}); !errors.Is(err, rollout.ErrUnavailable) {
			t.Fatalf("%v", err)
		}
		after(2 * time.Second)
		if v := h.view(); !v.Paused || !h.live().State.Paused {
			t.Error("the pause that was stored is not played")
		}
		h.trip() // stored, and said to have failed, as well
		after(3 * time.Second)
		store.set(func(s *memory) { s.lies = false })
		after(3 * time.Second)
		h.wants(rollout.ModeRolledBack, 0)
		if got, seen := store.state("fraud").Revision, h.view().Revision; got != seen {
			t.Errorf("stored revision %d, seen %d", got, seen)
		}
	})
}

func TestATripStandsWhateverTheModeBecame(t *testing.T) {
	for _, e := range []rollout.Event{
		{Kind: rollout.EventSetMode, Mode: rollout.ModeShadow}, {Kind: rollout.EventSetMode, Mode: rollout.ModeChampion},
		{Kind: rollout.EventPause},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := inCanary(t, newMemory())
			h.stopRun() // so that the trip is seen late
			h.trip()
			// Pause is refused while the rollback is on its way; leaving canary is not.
			_, _ = h.do(e)
			h.answerTrip(h.find("fraud"))
			h.pay(t.Context(), h.find("fraud"))
			h.wants(rollout.ModeRolledBack, 0)
		})
	}
}

func TestATripInShadowIsNoRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		h.must(rollout.Event{Kind: rollout.EventSetMode, Mode: rollout.ModeShadow})
		h.trip()
		after(time.Minute)
		h.wants(rollout.ModeShadow, 0)
		if !call(h.live().Breaker, fine) {
			t.Error("no probe after a trip in shadow")
		}
	})
}

func TestAStoreSetBackIsWrittenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		store.set(func(s *memory) { clear(s.states) })
		h.trip()
		synctest.Wait()
		h.wants(rollout.ModeRolledBack, 0)
	})
}

// TestARollbackRacingPromotionsAlwaysEndsRolledBack runs the race for real.
func TestARollbackRacingPromotionsAlwaysEndsRolledBack(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 150 {
		store := newMemory()
		h := inCanary(t, store)
		var racers sync.WaitGroup
		for range 4 {
			racers.Go(func() {
				for range 3 {
					if v, err := h.Get("fraud"); err == nil {
						_, _ = h.Apply(t.Context(), "fraud", rollout.Event{Kind: rollout.EventPromote, Full: v.Revision%2 == 0}, &v.Revision)
					}
				}
			})
		}
		byHand, pause := random.IntN(2) == 0, random.IntN(200)
		racers.Go(func() {
			for range pause {
				_ = h.List()
			}
			if byHand {
				_, _ = h.Apply(t.Context(), "fraud", rollout.Event{Kind: rollout.EventRollback, Actor: "ci"}, nil)
			} else {
				h.trip()
			}
		})
		racers.Wait()
		h.stopRun()
		if !byHand && !h.live().Breaker.Latched() {
			continue // promoted before the breaker could trip: no longer live
		}
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.wants(rollout.ModeRolledBack, 0)
	}
}

// TestTheRollbackIsFast measures from the trip to the routes, with a store that hangs.
func TestTheRollbackIsFast(t *testing.T) {
	var took []time.Duration
	for range 21 {
		h := inCanary(t, newMemory())
		hang := make(chan struct{})
		h.store.set(func(s *memory) { s.hang = hang })
		changed, cancel := h.Subscribe()
		h.trip()
		<-changed
		trip, _ := h.live().Breaker.Tripped()
		took = append(took, time.Since(trip.At))
		if l := h.live().State; l.Mode != rollout.ModeRolledBack {
			t.Fatalf("played %s", l.Mode)
		}
		cancel()
		close(hang)
		h.stopRun()
	}
	slices.Sort(took)
	t.Logf("median %s, longest %s", took[10], took[20])
	if took[10] > 10*time.Millisecond {
		t.Errorf("the median is %s, want at most 10ms", took[10])
	}
}
