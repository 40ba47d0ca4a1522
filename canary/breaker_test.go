package canary

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

var (
	fine      = rollout.Outcome{Arm: rollout.Challenger}
	failing   = rollout.Outcome{Arm: rollout.Challenger, Code: rollout.Unavailable, Blame: rollout.OnChallenger}
	callers   = rollout.Outcome{Arm: rollout.Challenger, Code: rollout.Canceled, Blame: rollout.OnCaller}
	undecided = rollout.Outcome{Arm: rollout.Challenger, Code: rollout.InvalidArgument, Blame: rollout.Undecided}
)

func usual() BreakerOptions {
	return BreakerOptions{ConsecutiveFailures: 10, FailureRatio: 0.5, MinRequests: 20, Window: 10 * time.Second, OpenFor: 10 * time.Second}
}

// call makes one call that ends as o says, and tells whether it was admitted.
func call(b *Breaker, o rollout.Outcome) bool {
	done, ok := b.Allow()
	if ok {
		done(o)
	}
	return ok
}

func calls(t *testing.T, b *Breaker, n int, o rollout.Outcome) {
	t.Helper()
	for i := range n {
		if !call(b, o) {
			t.Fatalf("call %d of %d was refused, the breaker is %s", i+1, n, b.State())
		}
	}
}

func wantState(t *testing.T, b *Breaker, want string) {
	t.Helper()
	if got := b.State(); got != want {
		t.Fatalf("the breaker is %s, want %s", got, want)
	}
}

func TestConsecutiveFailuresTrip(t *testing.T) {
	b := NewBreaker(usual())
	calls(t, b, 9, failing)
	calls(t, b, 1, fine)
	calls(t, b, 9, failing)
	wantState(t, b, BreakerClosed)
	calls(t, b, 1, failing)
	wantState(t, b, BreakerOpen)
	if call(b, fine) {
		t.Error("a call passed the open breaker")
	}
}

func TestConsecutiveFailuresTripHoweverSlowlyTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(usual())
		for range 10 {
			calls(t, b, 1, failing)
			time.Sleep(7 * time.Second)
		}
		wantState(t, b, BreakerOpen)
	})
}

func TestWhatIsNotTheChallengersFaultDoesNotCount(t *testing.T) {
	b := NewBreaker(usual())
	for range 100 {
		calls(t, b, 1, callers)
		calls(t, b, 1, undecided)
	}
	wantState(t, b, BreakerClosed)
	// Nor does it end a run of failures, or fill the ratio's minimum.
	for range 9 {
		calls(t, b, 1, failing)
		calls(t, b, 5, callers)
	}
	wantState(t, b, BreakerClosed)
	calls(t, b, 1, failing)
	wantState(t, b, BreakerOpen)
}

func TestFailureRatioTripsAtItsMinimum(t *testing.T) {
	b := NewBreaker(usual())
	b.SetLive(true)
	for range 9 {
		calls(t, b, 1, fine)
		calls(t, b, 1, failing)
	}
	calls(t, b, 1, fine)
	wantState(t, b, BreakerClosed) // 9 of 19
	calls(t, b, 1, failing)        // 10 of 20
	wantState(t, b, BreakerOpen)
	trip, ok := b.Tripped()
	if want := "10 of 20 calls in 10s failed, the last UNAVAILABLE"; !ok || trip.Reason != want {
		t.Errorf("reason %q, want %q", trip.Reason, want)
	}
}

func TestCallsInFlightDoNotDiluteTheRatio(t *testing.T) {
	o := usual()
	o.ConsecutiveFailures = 0
	b := NewBreaker(o)
	for range 1000 {
		if _, ok := b.Allow(); !ok {
			t.Fatal("refused")
		}
	}
	calls(t, b, 20, failing)
	wantState(t, b, BreakerOpen)
}

func TestTheWindowForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := usual()
		o.ConsecutiveFailures = 0
		b := NewBreaker(o)
		calls(t, b, 19, failing)
		time.Sleep(11 * time.Second)
		calls(t, b, 19, failing)
		wantState(t, b, BreakerClosed)
		calls(t, b, 1, failing)
		wantState(t, b, BreakerOpen)
	})
}

func TestAChallengerThatHangsForLongerThanTheWindowTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := usual()
		o.Window = time.Second
		o.ConsecutiveFailures = 0
		b := NewBreaker(o)
		b.SetLive(true)
		var pending []func(rollout.Outcome)
		for range 20 {
			done, _ := b.Allow()
			pending = append(pending, done)
		}
		time.Sleep(2 * time.Second)
		for _, done := range pending {
			done(failing)
		}
		if !b.Latched() {
			t.Error("20 calls that hung for longer than the window did not trip the breaker")
		}
	})
}

func TestInShadowOneProbeAnOpenForTestsTheWater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(usual())
		calls(t, b, 10, failing)
		for range 3 {
			time.Sleep(9 * time.Second)
			if call(b, fine) {
				t.Fatal("a call passed before openFor was over")
			}
			time.Sleep(2 * time.Second)
			probe, ok := b.Allow()
			if !ok {
				t.Fatal("no probe after openFor")
			}
			wantState(t, b, BreakerHalfOpen)
			for range 5 {
				if call(b, fine) {
					t.Fatal("a second call passed beside the probe")
				}
			}
			probe(failing)
			wantState(t, b, BreakerOpen)
		}
		time.Sleep(11 * time.Second)
		calls(t, b, 1, fine)
		wantState(t, b, BreakerClosed)
		calls(t, b, 9, failing) // the run starts anew
		wantState(t, b, BreakerClosed)
		if b.Latched() {
			t.Error("a trip in shadow latched the breaker")
		}
	})
}

func TestAProbeThatTheCallerGaveUpIsFollowedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(usual())
		calls(t, b, 10, failing)
		time.Sleep(11 * time.Second)
		calls(t, b, 1, callers)
		wantState(t, b, BreakerHalfOpen)
		calls(t, b, 1, fine)
		wantState(t, b, BreakerClosed)
	})
}

func TestASlowProbeStillDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := usual()
		o.Window = time.Second
		b := NewBreaker(o)
		calls(t, b, 10, failing)
		time.Sleep(11 * time.Second)
		probe, _ := b.Allow()
		time.Sleep(5 * time.Second)
		probe(fine)
		wantState(t, b, BreakerClosed)
	})
}

func TestAProbeThatNeverReportsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(usual())
		calls(t, b, 10, failing)
		time.Sleep(11 * time.Second)
		lost, ok := b.Allow()
		if !ok {
			t.Fatal("no probe")
		}
		time.Sleep(probeLimit + time.Second)
		if call(b, fine) {
			t.Fatal("a call passed beside the lost probe")
		}
		wantState(t, b, BreakerOpen)
		time.Sleep(11 * time.Second)
		lost(failing) // late, and after all
		calls(t, b, 1, fine)
		wantState(t, b, BreakerClosed)
	})
}

func TestALiveTripLatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trips atomic.Int32
		o := usual()
		o.OnTrip = func() { trips.Add(1) }
		b := NewBreaker(o)
		b.SetLive(true)
		inFlight, _ := b.Allow()
		before := time.Now()
		calls(t, b, 10, failing)
		trip, ok := b.Tripped()
		if !ok || !b.Latched() || trip.At.Before(before) || trip.Reason != "10 consecutive failures, the last UNAVAILABLE" {
			t.Fatalf("tripped %v, %+v", ok, trip)
		}
		inFlight(fine)
		time.Sleep(time.Hour)
		b.SetLive(false)
		b.SetLive(true)
		if call(b, fine) || b.State() != BreakerOpen {
			t.Error("the latched breaker opened again")
		}
		if trips.Load() != 1 {
			t.Errorf("%d signals for one trip", trips.Load())
		}
	})
}

func TestGoingLiveWithABreakerThatIsNotClosedIsATrip(t *testing.T) {
	var trips atomic.Int32
	o := usual()
	o.OnTrip = func() { trips.Add(1) }
	b := NewBreaker(o)
	calls(t, b, 10, failing)
	if b.Latched() {
		t.Fatal("latched in shadow")
	}
	b.SetLive(true)
	if !b.Latched() || trips.Load() != 1 {
		t.Errorf("latched %v, %d signals", b.Latched(), trips.Load())
	}
}

func TestDoneTwiceCountsOnce(t *testing.T) {
	b := NewBreaker(usual())
	for range 9 {
		done, _ := b.Allow()
		done(failing)
		done(failing)
		done(fine)
	}
	wantState(t, b, BreakerClosed)
	calls(t, b, 1, failing)
	wantState(t, b, BreakerOpen)
}

func TestACallFromBeforeTheTripIsNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(usual())
		old, _ := b.Allow()
		older, _ := b.Allow()
		calls(t, b, 10, failing)
		old(fine)
		wantState(t, b, BreakerOpen)
		time.Sleep(11 * time.Second)
		probe, _ := b.Allow()
		older(fine) // neither closes the breaker nor takes the probe's place
		wantState(t, b, BreakerHalfOpen)
		probe(fine)
		wantState(t, b, BreakerClosed)
	})
}

func TestARetiredBreakerAdmitsNothingAndHasNotTripped(t *testing.T) {
	b := NewBreaker(usual())
	b.Retire()
	if call(b, fine) || b.Latched() || b.State() != BreakerClosed {
		t.Errorf("admitted, latched %v, state %s", b.Latched(), b.State())
	}
}

func TestAMalformedAnswerIsNamedInTheReason(t *testing.T) {
	b := NewBreaker(usual())
	b.SetLive(true)
	calls(t, b, 10, rollout.Outcome{Code: rollout.OK, Blame: rollout.OnChallenger})
	if trip, _ := b.Tripped(); !strings.HasSuffix(trip.Reason, "the last a malformed answer") {
		t.Errorf("reason %q", trip.Reason)
	}
}

func TestABreakerWithoutThresholdsNeverTrips(t *testing.T) {
	b := NewBreaker(BreakerOptions{})
	calls(t, b, 1000, failing)
	wantState(t, b, BreakerClosed)
}
