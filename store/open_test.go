package store

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

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
	if err := f.do(t.Context(), func(*bolt.DB) error { return nil }); err != nil {
		t.Fatal(err)
	}
	err := f.do(t.Context(), func(db *bolt.DB) error {
		tx, err := db.Begin(true) // a lock that nobody will give back
		if err != nil {
			return err
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
