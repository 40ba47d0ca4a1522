package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// single is a server that serves one call at a time in a millisecond, but stalls once.
func single(stallAt int, stall time.Duration) caller {
	place := make(chan struct{}, 1)
	return func(_ context.Context, n int) error {
		place <- struct{}{}
		defer func() { <-place }()
		time.Sleep(time.Millisecond)
		if n == stallAt {
			time.Sleep(stall)
		}
		return nil
	}
}

func sortedShare(w window, over time.Duration) float64 {
	n := 0
	for _, l := range w.latencies {
		if l > over {
			n++
		}
	}
	return float64(n) / float64(len(w.latencies))
}

// The same server with the same stall: a closed loop hardly sees it, for nobody asks
// meanwhile; the open one counts everybody who would have.
func TestAnOpenLoopCountsWhoWaitedBehindAStall(t *testing.T) {
	none := marks{func() {}, func() {}}
	synctest.Test(t, func(t *testing.T) {
		w := closed(t.Context(), single(1000, time.Second), 1, 0, 4*time.Second, none)
		if share := sortedShare(w, 100*time.Millisecond); share > 0.001 {
			t.Errorf("closed loop: %.3f of the calls took over 100 ms, want the one that stalled", share)
		}
		w = paced(t.Context(), []caller{single(100, time.Second)}, func(int) int { return 0 }, 200, 0, 4*time.Second, none)[0]
		if share := sortedShare(w, 100*time.Millisecond); share < 0.2 || share > 0.35 {
			t.Errorf("open loop: %.3f of the calls waited over 100 ms, want about a quarter: 1 s of 4", share)
		}
	})
}

// A generator that is late itself does not make a service look quick.
func TestLatencyCountsFromTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(n int) int {
			if n == 10 {
				time.Sleep(time.Second) // on the pacer's own time
			}
			return 0
		}
		quick := func(context.Context, int) error { return nil }
		w := paced(t.Context(), []caller{quick}, late, 100, 0, 4*time.Second, marks{func() {}, func() {}})[0]
		if share := sortedShare(w, 100*time.Millisecond); share < 0.15 {
			t.Errorf("%.3f of the calls count as late, want about a quarter", share)
		}
		if len(w.latencies) < 340 || len(w.latencies) > 460 {
			t.Errorf("%d calls in 4 s at 100/s: what was late was left out", len(w.latencies))
		}
	})
}

func TestScheduleKeepsItsRate(t *testing.T) {
	begin := time.Now()
	s := newSchedule(begin, 1000)
	var at time.Time
	for range 100_000 {
		at = s.next()
	}
	if took := at.Sub(begin).Seconds(); math.Abs(took-100) > 2 {
		t.Errorf("100,000 calls at 1000/s are due within %.1f s", took)
	}
}

// What ends before or after the window is not counted, and the marks stand at its ends.
func TestClosedCountsItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		mark := func() { at = append(at, time.Since(began)) }
		call := func(ctx context.Context, _ int) error { pause(ctx, 10*time.Millisecond); return nil }
		w := closed(t.Context(), call, 3, 105*time.Millisecond, time.Second, marks{mark, mark})
		if len(w.latencies) != 300 || w.took != time.Second {
			t.Errorf("%d calls in %s, want 300 in 1s", len(w.latencies), w.took)
		}
		if want := []time.Duration{105 * time.Millisecond, 1105 * time.Millisecond}; !slices.Equal(at, want) {
			t.Errorf("marks at %v, want %v", at, want)
		}
	})
}

func TestFailuresHaveNoLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		call := func(_ context.Context, n int) error {
			time.Sleep(10 * time.Millisecond)
			if n%2 == 0 {
				return broken
			}
			return nil
		}
		w := closed(t.Context(), call, 2, 5*time.Millisecond, time.Second, marks{func() {}, func() {}})
		s := w.sample(time.Second)
		if len(w.latencies) != 100 || w.failed != 100 || s.Error != "broken" {
			t.Errorf("%d answered, %d failed, error %q", len(w.latencies), w.failed, s.Error)
		}
		if s.CPU != 5000 || s.PerSecond != 100 || s.P50 != 10_000 {
			t.Errorf("sample %+v: 1 s of CPU for 200 calls is 5 ms each", s)
		}
	})
}

func TestPacedSpreadsOverItsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call := func(context.Context, int) error { return nil }
		seen := paced(t.Context(), []caller{call, call}, func(n int) int { return n % 2 }, 1000, time.Second, time.Second, marks{func() {}, func() {}})
		a, b := len(seen[0].latencies), len(seen[1].latencies)
		if a < 400 || b < 400 || a > 600 || b > 600 {
			t.Errorf("%d and %d calls, want about 500 each: those of the first second do not count", a, b)
		}
	})
}
