package canary

import (
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/understudy-serving/understudy/rollout"
)

// BreakerOptions says when a Breaker trips and how it tests the water.
type BreakerOptions struct {
	// ConsecutiveFailures trips it, however long they take to come; 0 means never.
	ConsecutiveFailures int
	// FailureRatio, over 0 to 1, trips it once MinRequests calls have ended within
	// Window; 0 means never. Calls that are nobody's fault to count are left out.
	FailureRatio float64
	MinRequests  int
	// Window is the rolling window of FailureRatio, in tenths; 10 s where not positive.
	Window time.Duration
	// OpenFor is the time from a trip in shadow to a probe, and from a failed probe to
	// the next; 10 s where not positive.
	OpenFor time.Duration
	// OnTrip is called when a trip latches the breaker, once. It runs with the breaker's
	// lock held: it must not block, nor call the breaker. Nil is fine.
	OnTrip func()
}

// The names of Breaker.State.
const (
	BreakerClosed   = "closed"
	BreakerOpen     = "open"
	BreakerHalfOpen = "half_open"
)

const (
	windowBuckets  = 10
	defaultWindow  = 10 * time.Second
	defaultOpenFor = 10 * time.Second
	// probeLimit is when a probe that has not reported is given up. Callers always
	// report, so this bounds the harm of one that does not.
	probeLimit = 30 * time.Second
)

// Breaker stands between the gateway and the challenger of one rollout, for its live
// and mirrored calls together. It counts an Outcome's Blame only: Nobody is a success,
// OnChallenger a failure, anything else is as if the call had not been made.
//
// While live (see SetLive) a trip latches it for good: the trip is the rollback. While
// not live it lets one probe through every OpenFor, and closes when one succeeds.
type Breaker struct {
	o       BreakerOptions
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]

	// shut refuses everything; it is set by a latching trip and by Retire.
	shut  atomic.Bool
	live  atomic.Bool
	state atomic.Int32 // a gobreaker.State
	// life counts changes of state: a call belongs to the life that admitted it.
	life  atomic.Uint64
	trip  atomic.Pointer[Trip]
	probe atomic.Pointer[admission]

	// Written under circuit's lock, in its callbacks; read there and after a trip.
	consecutive uint32
	cause       string
}

// Trip is the end of a live challenger.
type Trip struct {
	// At has a monotonic reading.
	At time.Time
	// Reason names the counts, such as "10 consecutive failures, the last UNAVAILABLE".
	Reason string
}

// NewBreaker returns a closed breaker that is not live.
func NewBreaker(o BreakerOptions) *Breaker {
	if o.Window <= 0 {
		o.Window = defaultWindow
	}
	if o.OpenFor <= 0 {
		o.OpenFor = defaultOpenFor
	}
	b := &Breaker{o: o}
	b.circuit = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   1,
		Interval:      o.Window,
		BucketPeriod:  max(o.Window/windowBuckets, time.Millisecond),
		Timeout:       o.OpenFor,
		ReadyToTrip:   b.readyToTrip,
		OnStateChange: b.onStateChange,
		IsSuccessful:  b.isSuccessful,
		IsExcluded:    func(err error) bool { return err == errExcluded },
	})
	return b
}

// Allow admits a call or refuses it. done takes how an admitted call ended and must be
// called; more than once does no harm, nor does it after a trip.
func (b *Breaker) Allow() (done func(rollout.Outcome), ok bool) {
	if b.shut.Load() {
		return nil, false
	}
	a := admission{breaker: b, life: b.life.Load(), at: time.Now()}
	report, err := b.circuit.Allow()
	if err != nil {
		b.giveUpProbe(a.at)
		return nil, false
	}
	a.report = report
	if gobreaker.State(b.state.Load()) == gobreaker.StateHalfOpen {
		a.isProbe = true
		b.probe.Store(&a)
	}
	return a.done, true
}

// SetLive tells the breaker whether the challenger answers clients. Going live with a
// breaker that is not closed is a trip.
func (b *Breaker) SetLive(live bool) {
	b.live.Store(live)
	// A trip that saw live unset has stored its state before: one of the two sees the other.
	if live && gobreaker.State(b.state.Load()) != gobreaker.StateClosed {
		b.latch("the breaker was not closed when the challenger went live")
	}
}

// Retire shuts the breaker for good without a trip.
func (b *Breaker) Retire() { b.shut.Store(true) }

// State returns BreakerClosed, BreakerOpen or BreakerHalfOpen. It takes no lock.
// An open breaker stays BreakerOpen until a call asks to be its probe.
func (b *Breaker) State() string {
	switch gobreaker.State(b.state.Load()) {
	case gobreaker.StateClosed:
		if b.Latched() {
			return BreakerOpen
		}
		return BreakerClosed
	case gobreaker.StateHalfOpen:
		return BreakerHalfOpen
	}
	return BreakerOpen
}

// Latched tells whether the breaker has tripped while live.
func (b *Breaker) Latched() bool { return b.trip.Load() != nil }

// Tripped returns the trip that latched the breaker; ok is false where none has.
func (b *Breaker) Tripped() (t Trip, ok bool) {
	if p := b.trip.Load(); p != nil {
		return *p, true
	}
	return Trip{}, false
}

// latch makes the trip final. It may run under circuit's lock.
func (b *Breaker) latch(reason string) {
	b.shut.Store(true)
	if b.trip.CompareAndSwap(nil, &Trip{At: time.Now(), Reason: reason}) && b.o.OnTrip != nil {
		b.o.OnTrip()
	}
}

// giveUpProbe counts a probe that has been out for too long as failed, lest the
// breaker waits for it for ever.
func (b *Breaker) giveUpProbe(now time.Time) {
	if p := b.probe.Load(); p != nil && now.Sub(p.at) > max(probeLimit, b.o.OpenFor) {
		p.done(rollout.Outcome{Code: rollout.DeadlineExceeded, Blame: rollout.OnChallenger})
	}
}

// admission is one admitted call.
type admission struct {
	breaker  *Breaker
	life     uint64
	at       time.Time
	isProbe  bool
	report   func(error)
	reported atomic.Bool
}

func (a *admission) done(o rollout.Outcome) {
	if a.reported.Swap(true) {
		return
	}
	b := a.breaker
	b.probe.CompareAndSwap(a, nil)
	err := verdict(o)
	late := time.Since(a.at) >= b.o.Window-b.o.Window/windowBuckets
	if late && !a.isProbe && err != errExcluded {
		b.reportLate(a.life, err)
		// What circuit still holds of the call is a place among its requests.
		err = errExcluded
	}
	a.report(err)
}

// reportLate counts a call that took about as long as the window: circuit counts a call
// where it began and would forget it. A challenger that hangs is seen all the same.
func (b *Breaker) reportLate(life uint64, err error) {
	if b.life.Load() != life || gobreaker.State(b.state.Load()) != gobreaker.StateClosed {
		return
	}
	report, refused := b.circuit.Allow()
	if refused != nil {
		return
	}
	if b.life.Load() != life {
		err = errExcluded
	}
	report(err)
}
