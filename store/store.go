// Package store keeps rollout states, so that a rollback outlives the process.
//
// What every store promises, and store/storetest checks:
//
//   - CompareAndSwap is atomic, and what it has acknowledged survives a crash.
//   - An error that is no StaleError and no ErrNotFound wraps ErrUnavailable: the state
//     is unknown now, which is not the same as absent. After one from CompareAndSwap or
//     SaveProgress the write may or may not have happened.
//   - Values handed out are the caller's own.
//   - All methods are safe for concurrent use. They return as soon as their context ends,
//     whatever the disk or the network does.
package store

import (
	"errors"
	"fmt"

	"github.com/understudy-serving/understudy/rollout"
)

// The errors of every store. They are those of package rollout, so that a store's user
// needs not know which store it has.
var (
	ErrStale       = rollout.ErrStale
	ErrNotFound    = rollout.ErrNotFound
	ErrUnavailable = rollout.ErrUnavailable

	// ErrCorrupt says that what is stored can't be understood. Errors that wrap it wrap
	// ErrUnavailable too, but waiting will not help.
	ErrCorrupt = errors.New("corrupt state file")
)

// StaleError is returned by CompareAndSwap where the stored revision is not the
// expected one; Current is the stored state, zero where there is none.
type StaleError = rollout.StaleError

// checkSwap refuses what no store may store.
func checkSwap(expected uint64, next rollout.State) error {
	switch {
	case next.Model == "":
		return errors.New("store: a state without a model name")
	case next.Revision <= expected:
		return fmt.Errorf("store: model %s: next revision %d: want more than the expected one, %d", next.Model, next.Revision, expected)
	}
	return nil
}
