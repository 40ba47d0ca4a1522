package rollout

import (
	"errors"
	"fmt"
)

// The errors that operators' calls meet, ErrNotAllowed aside. They are wrapped, so
// compare with errors.Is.
var (
	// ErrUnknownModel says that no model of that name is configured.
	ErrUnknownModel = errors.New("unknown model")
	// ErrStale says that the rollout changed since the caller looked; errors.As with
	// *StaleError tells how it stands now.
	ErrStale = errors.New("stale revision")
	// ErrUnavailable says that the state can't be read or stored now; trying again may help.
	ErrUnavailable = errors.New("state unavailable")
	// ErrNotFound says that nothing is stored of a model.
	ErrNotFound = errors.New("nothing stored")
)

// StaleError is an ErrStale with the state that the caller has missed.
type StaleError struct {
	Model string
	// Expected is the revision that the caller saw last; 0 means none.
	Expected uint64
	Current  State
}

// Error names both revisions.
func (e *StaleError) Error() string {
	return fmt.Sprintf("%v: model %s is at revision %d, not %d; look at it again and decide anew",
		ErrStale, e.Model, e.Current.Revision, e.Expected)
}

// Is makes errors.Is(err, ErrStale) true.
func (e *StaleError) Is(target error) bool { return target == ErrStale }
