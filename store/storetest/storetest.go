// Package storetest is the suite that every rollout store must pass.
package storetest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/store"
)

// Store is what the suite tests.
type Store interface {
	Load(ctx context.Context, model string) (rollout.State, error)
	CompareAndSwap(ctx context.Context, expected uint64, next rollout.State) error
	SaveProgress(ctx context.Context, model string, p rollout.Progress) error
	LoadProgress(ctx context.Context, model string) (rollout.Progress, error)
	SaveEvidence(ctx context.Context, model string, expected uint64, next rollout.StoredEvidence) error
	LoadEvidence(ctx context.Context, model string) (rollout.StoredEvidence, error)
	Watch(ctx context.Context, changed func(rollout.State)) error
	Close() error
}

// patience bounds every wait; it is met only by a store that fails.
const patience = 10 * time.Second

// Run tests stores that open makes: each call a new and empty one. The suite closes them.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Store)
	}{
		{"AnEmptyStore", emptyStore},
		{"WhatIsStoredComesBack", roundTrip},
		{"AnyModelName", anyModelName},
		{"AStaleSwapChangesNothing", staleSwap},
		{"ASwapMustRaiseTheRevision", revisionMustRise},
		{"OneOfManyConcurrentSwapsWins", concurrentSwaps},
		{"ProgressStandsBesideTheState", progress},
		{"EvidenceIsSwappedByItsOwnVersion", evidence},
		{"ValuesAreTheCallersOwn", ownValues},
		{"WatchTellsWhatIsThereAndEveryChange", watch},
		{"WatchersDoNotHoldEachOtherUp", slowWatcher},
		{"AChangeMayBeMadeFromAWatch", changeInWatch},
		{"AnEndedContextIsRespected", endedContext},
		{"AClosedStoreIsUnavailable", closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			c.test(t, s)
		})
	}
}

func state(model string, revision uint64) rollout.State {
	return rollout.State{
		Model: model, Revision: revision, Rollout: 1, Entered: revision, Mode: rollout.ModeCanary, Weight: 525,
		Step: 2, Paused: true, Override: true,
		Plan:       rollout.Plan{{Kind: rollout.StepShadow, Bake: time.Hour, MinRequests: 10}, {Kind: rollout.StepPause, Manual: true}},
		Champion:   rollout.Spec{Target: "dns:///v1:8081", Model: "m", Version: "1"},
		Challenger: rollout.Spec{Target: "dns:///v2:8081", Model: "m"},
		Changes: []rollout.Change{{Time: time.Date(2026, 11, 23, 6, 0, 0, 123456789, time.UTC), Revision: revision,
			Kind: rollout.EventSetMode, Actor: "ci", Reason: "a \"quoted\" reason, über\n", Mode: rollout.ModeCanary, Weight: 525}},
	}
}

func mustSwap(t *testing.T, s Store, expected uint64, next rollout.State) {
	t.Helper()
	if err := s.CompareAndSwap(t.Context(), expected, next); err != nil {
		t.Fatalf("swap to revision %d: %v", next.Revision, err)
	}
}

func emptyStore(t *testing.T, s Store) {
	if _, err := s.Load(t.Context(), "m"); !errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Load: %v, want ErrNotFound", err)
	}
	if _, err := s.LoadProgress(t.Context(), "m"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("LoadProgress: %v, want ErrNotFound", err)
	}
}

func roundTrip(t *testing.T, s Store) {
	want := state("m", 1)
	mustSwap(t, s, 0, want)
	got, err := s.Load(t.Context(), "m")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Load: %v\n got %+v\nwant %+v", err, got, want)
	}
	other := state("a", 7)
	mustSwap(t, s, 0, other) // a first revision need not be 1
	next := state("m", 5)    // nor the next one the next number
	mustSwap(t, s, 1, next)
	for _, want := range []rollout.State{other, next} {
		if got, err := s.Load(t.Context(), want.Model); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Load %s: %v\n got %+v\nwant %+v", want.Model, err, got, want)
		}
	}
}

func anyModelName(t *testing.T, s Store) {
	names := []string{"a", "a/b", "a/b/c", "ü 模型", "..", "%2F", "a\x00b", "states"}
	for _, name := range names {
		mustSwap(t, s, 0, state(name, 1))
	}
	for _, name := range names {
		if got, err := s.Load(t.Context(), name); err != nil || got.Model != name {
			t.Errorf("%q: %q, %v", name, got.Model, err)
		}
	}
	if err := s.CompareAndSwap(t.Context(), 0, state("", 1)); err == nil {
		t.Error("a state without a model name was stored")
	}
}

func staleSwap(t *testing.T, s Store) {
	mustSwap(t, s, 0, state("m", 3))
	for _, expected := range []uint64{0, 2, 4} {
		err := s.CompareAndSwap(t.Context(), expected, state("m", 9))
		var stale *store.StaleError
		if !errors.Is(err, store.ErrStale) || !errors.As(err, &stale) {
			t.Fatalf("expecting %d: %v, want a StaleError", expected, err)
		}
		if stale.Expected != expected || !reflect.DeepEqual(stale.Current, state("m", 3)) {
			t.Errorf("expecting %d: %+v", expected, stale)
		}
	}
	var stale *store.StaleError
	if err := s.CompareAndSwap(t.Context(), 4, state("absent", 5)); !errors.As(err, &stale) || stale.Current.Revision != 0 {
		t.Errorf("of an absent model: %v, want a StaleError without a state", err)
	}
	if got, _ := s.Load(t.Context(), "m"); got.Revision != 3 {
		t.Errorf("revision %d after stale swaps, want 3", got.Revision)
	}
}

func revisionMustRise(t *testing.T, s Store) {
	mustSwap(t, s, 0, state("m", 3))
	for _, revision := range []uint64{0, 2, 3} {
		if err := s.CompareAndSwap(t.Context(), 3, state("m", revision)); err == nil {
			t.Errorf("revision %d over 3 was stored", revision)
		}
	}
}

func concurrentSwaps(t *testing.T, s Store) {
	const writers, rounds = 8, 5
	for round := range uint64(rounds) {
		errs := make(chan error, writers)
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				next := state("m", round+1)
				next.Step = w
				errs <- s.CompareAndSwap(context.Background(), round, next)
			})
		}
		all.Wait()
		won := 0
		for range writers {
			switch err := <-errs; {
			case err == nil:
				won++
			case !errors.Is(err, store.ErrStale):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d swaps won", round, won)
		}
	}
}

func progress(t *testing.T, s Store) {
	mustSwap(t, s, 0, state("m", 1))
	want := rollout.Progress{Entered: 1, Elapsed: 90 * time.Second, Routed: 1 << 40, Answered: 2, Pairs: 3}
	for _, p := range []rollout.Progress{{Entered: 1}, want} {
		if err := s.SaveProgress(t.Context(), "m", p); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.LoadProgress(t.Context(), "m"); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got, err := s.Load(t.Context(), "m"); err != nil || got.Revision != 1 {
		t.Errorf("progress moved the state: revision %d, %v", got.Revision, err)
	}
	if _, err := s.LoadProgress(t.Context(), "other"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another model's progress: %v", err)
	}
}

func evidence(t *testing.T, s Store) {
	mustSwap(t, s, 0, state("m", 1))
	if _, err := s.LoadEvidence(t.Context(), "m"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("before any: %v, want ErrNotFound", err)
	}
	first := rollout.StoredEvidence{Rollout: 1, Version: 1, Checkpoint: []byte(`{"a":1}`)}
	second := rollout.StoredEvidence{Rollout: 1, Version: 2, Checkpoint: []byte(`{"a":2}`)}
	for expected, next := range []rollout.StoredEvidence{first, second} {
		if err := s.SaveEvidence(t.Context(), "m", uint64(expected), next); err != nil {
			t.Fatal(err)
		}
	}
	late := rollout.StoredEvidence{Rollout: 1, Version: 3}
	if err := s.SaveEvidence(t.Context(), "m", 1, late); !errors.Is(err, store.ErrStale) {
		t.Errorf("in place of a version that is gone: %v, want ErrStale", err)
	}
	if err := s.SaveEvidence(t.Context(), "m", 2, second); err == nil {
		t.Error("a version that does not rise was stored")
	}
	if got, err := s.LoadEvidence(t.Context(), "m"); err != nil || !reflect.DeepEqual(got, second) {
		t.Errorf("%+v, %v, want %+v", got, err, second)
	}
	if got, err := s.Load(t.Context(), "m"); err != nil || got.Revision != 1 {
		t.Errorf("evidence moved the state: revision %d, %v", got.Revision, err)
	}
}

func ownValues(t *testing.T, s Store) {
	put := state("m", 1)
	mustSwap(t, s, 0, put)
	put.Plan[0].Bake, put.Changes[0].Actor = 0, "spoilt"
	got, err := s.Load(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	got.Plan[0].Bake, got.Changes[0].Actor = 0, "spoilt"
	if again, _ := s.Load(t.Context(), "m"); !reflect.DeepEqual(again, state("m", 1)) {
		t.Errorf("a caller's change reached the store: %+v", again)
	}
}

func endedContext(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.CompareAndSwap(ctx, 0, state("m", 1)); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("CompareAndSwap: %v, want ErrUnavailable and the context's error", err)
	}
	if err := s.SaveProgress(ctx, "m", rollout.Progress{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("SaveProgress: %v", err)
	}
	if _, err := s.Load(t.Context(), "m"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after a swap with an ended context: %v", err)
	}
}

func closed(t *testing.T, s Store) {
	mustSwap(t, s, 0, state("m", 1))
	ended := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		ended <- s.Watch(context.Background(), func(rollout.State) { close(started) })
	}()
	<-started
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("the watch ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("Close did not end the watch")
	}
	_, loadErr := s.Load(t.Context(), "m")
	_, progressErr := s.LoadProgress(t.Context(), "m")
	for name, err := range map[string]error{
		"Load": loadErr, "LoadProgress": progressErr,
		"CompareAndSwap": s.CompareAndSwap(t.Context(), 1, state("m", 2)),
		"SaveProgress":   s.SaveProgress(t.Context(), "m", rollout.Progress{}),
		"SaveEvidence":   s.SaveEvidence(t.Context(), "m", 0, rollout.StoredEvidence{Version: 1}),
		"Watch":          s.Watch(t.Context(), func(rollout.State) {}),
	} {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
