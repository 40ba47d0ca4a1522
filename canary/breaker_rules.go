package canary

import (
	"errors"
	"fmt"

	"github.com/sony/gobreaker/v2"

	"github.com/understudy-serving/understudy/rollout"
)

// errExcluded stands for an outcome that counts neither way.
var errExcluded = errors.New("excluded")

// failure is an outcome that counts against the challenger, by its code.
type failure rollout.Code

// Error names the code; a malformed answer comes with code OK.
func (f failure) Error() string {
	if rollout.Code(f) == rollout.OK {
		return "a malformed answer"
	}
	return rollout.Code(f).String()
}

// verdict is the outcome as circuit takes it: nil, a failure, or errExcluded.
func verdict(o rollout.Outcome) error {
	switch o.Blame {
	case rollout.Nobody:
		return nil
	case rollout.OnChallenger:
		return failure(o.Code)
	}
	return errExcluded
}

// isSuccessful keeps the run of failures, for circuit's own leaves out those that are
// older than its window: a challenger with little traffic must trip too. It runs once
// for every counted outcome, under circuit's lock.
func (b *Breaker) isSuccessful(err error) bool {
	if err == nil {
		b.consecutive = 0
		return true
	}
	b.consecutive++
	b.cause = err.Error()
	return false
}

// readyToTrip runs under circuit's lock behind isSuccessful. Requests in flight are in
// counts.Requests and would dilute the ratio, so it goes by what has ended.
func (b *Breaker) readyToTrip(counts gobreaker.Counts) bool {
	if n := b.o.ConsecutiveFailures; n > 0 && int(b.consecutive) >= n {
		b.cause = fmt.Sprintf("%d consecutive failures, the last %s", b.consecutive, b.cause)
		return true
	}
	ended := int(counts.TotalSuccesses + counts.TotalFailures)
	if b.o.FailureRatio <= 0 || ended < max(b.o.MinRequests, 1) {
		return false
	}
	if float64(counts.TotalFailures) < b.o.FailureRatio*float64(ended) {
		return false
	}
	b.cause = fmt.Sprintf("%d of %d calls in %s failed, the last %s", counts.TotalFailures, ended, b.o.Window, b.cause)
	return true
}

// onStateChange runs under circuit's lock: atomics only.
func (b *Breaker) onStateChange(_ string, _, to gobreaker.State) {
	b.life.Add(1)
	b.state.Store(int32(to))
	if to == gobreaker.StateOpen && b.live.Load() {
		b.latch(b.cause)
	}
}
