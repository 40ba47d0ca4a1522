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

// tenModels are all in canary in the store that is returned.
func tenModels(t *testing.T) (*memory, []Settings) {
	t.Helper()
	store := newMemory()
	var all []Settings
	for i := range 10 {
		s := fraud()
		s.Model = fmt.Sprintf("fraud%d", i)
		all = append(all, s)
	}
	h := newHouse(t, store, all...)
	for _, s := range all {
		revision := uint64(1)
		if _, err := h.Apply(t.Context(), s.Model, toCanary(500), &revision); err != nil {
			t.Fatal(err)
		}
	}
	h.stopRun()
	return store, all
}

func TestASlowStoreDelaysNoStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, all := tenModels(t)
		stall := make(chan struct{})
		store.set(func(s *memory) { s.stall = stall })
		start := time.Now()
		h := newHouse(t, store, all...)
		if took := time.Since(start); took > 250*time.Millisecond {
			t.Errorf("the start took %s", took)
		}
		if len(h.published) != len(all) {
			t.Errorf("%d publications of %d models", len(h.published), len(all))
		}
		for _, l := range h.published {
			if l.State.Mode != rollout.ModeChampion || l.State.Champion != v1 || l.Breaker != nil {
				t.Errorf("%s is played %s, want its champion alone", l.State.Model, l.State.Mode)
			}
		}
		for _, v := range h.List() {
			if len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "the champion serves alone until it can be: ") ||
				!strings.Contains(v.Warnings[0], "slow") || strings.Contains(v.Warnings[0], "another change") {
				t.Errorf("%s: warnings %q", v.Model, v.Warnings)
			}
		}
		store.set(func(s *memory) { s.stall = nil })
		close(stall)
		synctest.Wait() // no time passes: Run has been waiting for the store since it began
		for _, v := range h.List() {
			if v.Mode != rollout.ModeCanary || len(v.Warnings) != 0 {
				t.Errorf("%s: %s, warnings %q", v.Model, v.Mode, v.Warnings)
			}
		}
	})
}

func TestAStoreThatHangsIsLoggedWithItsReasonOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.stall = make(chan struct{})
		h := newHouse(t, store, fraud())
		if n := h.log.count("can't be reached"); n != 0 {
			t.Errorf("%d lines before the store had its time", n)
		}
		after(time.Minute)
		if n := h.log.count("can't be reached; its challenger waits: see to the store"); n != 1 {
			t.Errorf("the log was told %d times", n)
		}
	})
}

func TestAHealthyStartBeginsWithWhatIsStored(t *testing.T) {
	store, all := tenModels(t)
	h := newHouse(t, store, all...)
	for _, l := range h.published {
		if l.State.Mode != rollout.ModeCanary {
			t.Errorf("%s was first played %s", l.State.Model, l.State.Mode)
		}
	}
}

// TestProgressThatComesLateIsNotLost: a step that has baked for hours does not begin anew
// because the store was slow at the start.
func TestProgressThatComesLateIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := inCanary(t, store)
		h.perform(30)
		after(42 * time.Second)
		h.stopRun()
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		crawl := make(chan struct{})
		store.set(func(s *memory) { s.crawl = crawl })
		h = newHouse(t, store, fraud())
		close(crawl)
		synctest.Wait()
		if p := h.view().Progress; p.Elapsed != 42*time.Second || p.Routed != 60 {
			t.Errorf("progress %+v", p)
		}
	})
}

func TestAReloadDoesNotWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := inCanary(t, newMemory())
		hang := make(chan struct{})
		h.store.set(func(s *memory) { s.hang = hang })
		another, second := fraud(), fraud()
		another.Challenger.Version = "3"
		second.Model = "second"
		start := time.Now()
		if err := h.Configure(t.Context(), []Settings{another, second}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 250*time.Millisecond {
			t.Errorf("the reload took %s", took)
		}
		if v := h.view(); v.Mode != rollout.ModeCanary || v.Challenger != v2 || !strings.HasPrefix(v.Warnings[0], "the config file's change waits") {
			t.Errorf("%s of %s, warnings %q", v.Mode, v.Challenger, v.Warnings)
		}
		if v, err := h.Get("second"); err != nil || v.Mode != rollout.ModeChampion || strings.Contains(v.Warnings[0], "another change is under way") {
			t.Errorf("%s, warnings %q, %v", v.Mode, v.Warnings, err)
		}
		h.store.set(func(s *memory) { s.hang = nil })
		close(hang)
		synctest.Wait()
		h.stopRun()
		if s := h.store.state("fraud"); s.Mode != rollout.ModeShadow || s.Challenger.Version != "3" || h.view().Revision != s.Revision {
			t.Errorf("stored %s of %s, seen revision %d", s.Mode, s.Challenger, h.view().Revision)
		}
	})
}

// TestAWriteOfTheFilesThatWasStoredAfterAllIsAudited: the answer got lost, the change not.
func TestAWriteOfTheFilesThatWasStoredAfterAllIsAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.lies = true
		h := newHouse(t, store, fraud())
		store.set(func(s *memory) { s.lies = false })
		after(2 * time.Second)
		h.wants(rollout.ModeShadow, 0)
		if n := h.journal.count("start by config"); n != 1 || len(h.journal.entries) != 1 {
			t.Errorf("audited %q", h.journal.entries)
		}
	})
}

func TestAnAdvanceThatWasStoredAfterAllIsAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.rehearse(100)
		h.store.set(func(s *memory) { s.lies = true; clear(s.watchers) })
		after(63 * time.Second)
		h.wants(rollout.ModeCanary, 500)
		if n := h.journal.count("advance"); n != 1 {
			t.Errorf("audited %q", h.journal.entries)
		}
	})
}

func TestWhileTheStoreIsDownRefusedChangesLeaveOneEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), fraud())
		h.store.set(func(s *memory) { s.down = true })
		for range 10 {
			if _, err := h.do(rollout.Event{Kind: rollout.EventPause}); !errors.Is(err, rollout.ErrUnavailable) || !strings.Contains(err.Error(), "not made") {
				t.Errorf("%v", err)
			}
			after(time.Second)
		}
		if n := h.journal.count("pause"); n != 1 {
			t.Errorf("%d pauses audited, none made", n)
		}
	})
}

func TestAFileThatMakesTheRolledBackChallengerChampion(t *testing.T) {
	for _, named := range []rollout.Spec{{}, v2} {
		synctest.Test(t, func(t *testing.T) {
			h := inCanary(t, newMemory())
			h.trip()
			synctest.Wait()
			s := fraud()
			s.Champion, s.Challenger = v2, named
			if err := h.Configure(t.Context(), []Settings{s}); err != nil {
				t.Fatal(err)
			}
			h.wants(rollout.ModeRolledBack, 0)
			if l := h.live().State; l.Answering() != v1 {
				t.Fatalf("%s answers", l.Answering())
			}
			const says = "the file's champion is the challenger that was rolled back: fraud:1 at dns:///fraud-v1:8081 keeps serving; set champion back"
			if w := h.view().Warnings; len(w) != 1 || !strings.HasPrefix(w[0], says) || h.log.count(says) != 1 {
				t.Errorf("warnings %q, logged %d times", w, h.log.count(says))
			}
			_, err := h.do(rollout.Event{Kind: rollout.EventRetry})
			if !errors.Is(err, rollout.ErrNotAllowed) || !strings.Contains(err.Error(), "set champion back to fraud:1") {
				t.Errorf("retry: %v", err)
			}
			h.stopRun()
			h = newHouse(t, h.store, s) // nor does a restart bring it back
			h.wants(rollout.ModeRolledBack, 0)
			if err := h.Configure(t.Context(), []Settings{fraud()}); err != nil {
				t.Fatal(err)
			}
			if w := h.view().Warnings; len(w) != 0 {
				t.Errorf("warnings %q once the file is right", w)
			}
			h.must(rollout.Event{Kind: rollout.EventRetry})
			h.wants(rollout.ModeShadow, 0)
		})
	}
}
