package store

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/understudy-serving/understudy/rollout"
)

func TestAFullDiskIsUnavailableAndLosesNothing(t *testing.T) {
	f := NewFile(filepath.Join(t.TempDir(), "state.db"))
	f.opened.maxSize = 64 << 10
	defer f.Close()
	s := rollout.State{Model: "m", Revision: 1, Mode: rollout.ModeShadow}
	if err := f.CompareAndSwap(t.Context(), 0, s); err != nil {
		t.Fatal(err)
	}
	big := s
	big.Revision = 2
	big.Changes = []rollout.Change{{Reason: strings.Repeat("x", 1<<20), Mode: rollout.ModeShadow}}
	if err := f.CompareAndSwap(t.Context(), 1, big); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("%v, want ErrUnavailable", err)
	}
	if got, err := f.Load(t.Context(), "m"); err != nil || got.Revision != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	s.Revision = 2
	if err := f.CompareAndSwap(t.Context(), 1, s); err != nil {
		t.Errorf("a write that fits: %v", err)
	}
}

func TestAPanicInsideBreaksTheFileForGood(t *testing.T) {
	f := NewFile(filepath.Join(t.TempDir(), "state.db"))
	if _, err := f.Load(t.Context(), "m"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	_, err := visit(t.Context(), f, func(db *bolt.DB) (none struct{}, err error) {
		tx, err := db.Begin(true) // a lock that nobody will give back
		if err != nil {
			return none, err
		}
		_ = tx
		panic("page 7: unknown page type")
	})
	if !errors.Is(err, ErrCorrupt) || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "page 7") {
		t.Errorf("%v", err)
	}
	if _, err := f.Load(t.Context(), "m"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("afterwards: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// stall holds the file up until release, as a disk does that no longer answers.
func stall(t *testing.T, f *File) (release func()) {
	t.Helper()
	if _, err := f.Load(t.Context(), "m"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	began, held := make(chan struct{}), make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-began; leave() }()
	_, err := visit(ctx, f, func(*bolt.DB) (int, error) {
		close(began)
		<-held
		return 1, nil
	})
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Fatalf("left behind: %v", err)
	}
	return func() { close(held) }
}

func TestAVisitIsLeftWhenItsContextEnds(t *testing.T) {
	f := NewFile(filepath.Join(t.TempDir(), "state.db"))
	defer f.Close()
	release := stall(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	s := rollout.State{Model: "m", Revision: 1, Mode: rollout.ModeShadow}
	for name, err := range map[string]error{
		"CompareAndSwap": f.CompareAndSwap(ctx, 0, s),
		"SaveProgress":   f.SaveProgress(ctx, "m", rollout.Progress{}),
		"Watch":          f.Watch(ctx, func(rollout.State) {}),
	} {
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("%s: %v", name, err)
		}
	}
	release()
	if err := f.CompareAndSwap(t.Context(), 0, s); err != nil {
		t.Errorf("once the disk answers, as if nobody had been there: %v", err)
	}
}

func TestAWriteLeftBehindIsMadeBeforeTheNextVisit(t *testing.T) {
	f := NewFile(filepath.Join(t.TempDir(), "state.db"))
	defer f.Close()
	began, held := make(chan struct{}), make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-began; leave() }()
	next := rollout.State{Model: "m", Revision: 7, Mode: rollout.ModeShadow}
	value, _ := encode(next)
	err := f.update(ctx, func(tx *bolt.Tx) error {
		close(began)
		<-held
		return put(tx, statesBucket, "m", value)
	}, func() {})
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	time.AfterFunc(10*time.Millisecond, func() { close(held) })
	if got, err := f.Load(t.Context(), "m"); err != nil || got.Revision != 7 {
		t.Errorf("the visit behind it: %+v, %v", got, err)
	}
}

func TestAWatchThatDidNotWaitIsNotTold(t *testing.T) {
	var ws watchers
	w := newWatcher()
	ws.remove(w) // the Watch has left; now the visit that it left behind adds it
	if err := ws.add(w, []rollout.State{{Model: "m"}}); err != nil || len(ws.all) != 0 || len(w.queue) != 0 {
		t.Errorf("%v, %d watchers, told of %d states", err, len(ws.all), len(w.queue))
	}
}
