package canary

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// byHand rolls back as an operator does.
func (h *house) byHand() error {
	_, err := h.Apply(context.Background(), "fraud", rollout.Event{Kind: rollout.EventRollback, Actor: "ci"}, nil)
	return err
}

func TestCloseWritesEverythingDownHoweverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		h.perform(30)
		after(42 * time.Second)
		h.stopRun()
		if err := h.byHand(); err != nil { // nobody is left to write it down but Close
			t.Fatal(err)
		}
		late, cancel := context.WithCancel(context.Background())
		cancel()
		if err := h.Close(late); err != nil {
			t.Fatal(err)
		}
		h.wants(rollout.ModeRolledBack, 0)
		if got := h.journal.last(); got != "rollback by ci: canary to rolled_back" {
			t.Errorf("audited %q", got)
		}
	})
}

func TestCloseSavesProgressHoweverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		h.perform(30)
		after(42 * time.Second)
		h.perform(1)
		h.stopRun()
		late, cancel := context.WithDeadline(context.Background(), time.Now())
		defer cancel()
		if err := h.Close(late); err != nil {
			t.Fatal(err)
		}
		if p := store.progress["fraud"]; p.Routed != 62 || p.Elapsed != 42*time.Second {
			t.Errorf("saved %+v", p)
		}
	})
}

func TestCloseEndsThoughTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		h.store.set(func(s *memory) { s.hang = make(chan struct{}) })
		h.trip()
		synctest.Wait()
		h.stopRun()
		if n := h.log.count("can't be stored"); n != 0 {
			t.Error("the end of Run was logged as a store that fails")
		}
		start := time.Now()
		late, cancel := context.WithCancel(context.Background())
		cancel()
		if err := h.Close(late); !errors.Is(err, rollout.ErrUnavailable) || !strings.Contains(err.Error(), "rollback of model fraud is not stored") {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); took > closeWithin {
			t.Errorf("took %s", took)
		}
		if h.journal.last() != "rollback by breaker: canary to rolled_back" {
			t.Error("the store kept the audit waiting for good")
		}
	})
}

func TestAfterCloseNothingIsAcceptedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		h.stopRun()
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := h.byHand(); !errors.Is(err, rollout.ErrUnavailable) {
			t.Errorf("a rollback: %v", err)
		}
		if _, err := h.do(rollout.Event{Kind: rollout.EventPause}); !errors.Is(err, rollout.ErrUnavailable) {
			t.Errorf("a pause: %v", err)
		}
		h.wants(rollout.ModeCanary, 500)
	})
}

func TestCloseWaitsForTheChangeUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		h.stopRun()
		hang := make(chan struct{})
		h.store.set(func(s *memory) { s.hang = hang })
		paused, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := h.do(rollout.Event{Kind: rollout.EventPause})
			paused <- err
		}()
		synctest.Wait()
		go func() { closed <- h.Close(context.Background()) }()
		synctest.Wait()
		select {
		case err := <-closed:
			t.Fatalf("Close did not wait: %v", err)
		default:
		}
		close(hang)
		if err := errors.Join(<-paused, <-closed); err != nil || !h.store.state("fraud").Paused {
			t.Errorf("%v", err)
		}
	})
}

func TestCloseKeepsARollbackOfAStateNotReadYet(t *testing.T) {
	for _, back := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := newMemory()
			inCanary(t, store).stopRun()
			store.set(func(s *memory) { s.down = true })
			h := newHouse(t, store, fraud())
			h.stopRun()
			if err := h.byHand(); err != nil {
				t.Fatal(err)
			}
			store.set(func(s *memory) { s.down = !back })
			err := h.Close(t.Context())
			if !back {
				if !errors.Is(err, rollout.ErrUnavailable) || !strings.Contains(err.Error(), "rollback of model fraud is not stored") {
					t.Errorf("the store is still down: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			h.wants(rollout.ModeRolledBack, 0)
		})
	}
}
