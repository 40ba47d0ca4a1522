package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestOverloadGoals(t *testing.T) {
	for name, c := range map[string]struct {
		o   *overload
		met [4]bool
	}{
		"sheds":         {&overload{Served: 50, Refused: 50, Shed: 9, PeakMB: 200, Recovery: 0.1}, [4]bool{true, true, true, true}},
		"lets wait":     {&overload{Served: 50, Refused: 40, Late: 10, PeakMB: 200, Recovery: 3}, [4]bool{false, true, false, false}},
		"grows":         {&overload{Served: 50, Refused: 50, Shed: 9, Hasty: 1, PeakMB: 900, Recovery: -1}, [4]bool{true, false, false, false}},
		"breaks":        {&overload{Served: 50, Other: 1, Shed: 9, PeakMB: 200, Recovery: 0.1}, [4]bool{false, true, true, true}},
		"never was run": {nil, [4]bool{}},
	} {
		for i, g := range overloadGoals(c.o) {
			if g.Met != c.met[i] {
				t.Errorf("%s: %s: %s, met %v (%s)", name, g.Name, g.figure(), g.Met, g.Note)
			}
		}
	}
}

func TestOutcomesAreTold(t *testing.T) {
	ends := []error{nil, status.Error(codes.ResourceExhausted, ""), status.Error(codes.DeadlineExceeded, ""), errors.New("odd"), nil}
	var o outcomes
	call := o.of(func(_ context.Context, n int) error { return ends[n] })
	for n := range ends {
		_ = call(t.Context(), n)
	}
	if o.served != 2 || o.refused != 1 || o.late != 1 || o.other != 1 || o.first != "odd" {
		t.Errorf("%d, %d, %d, %d, %q", o.served, o.refused, o.late, o.other, o.first)
	}
}

func TestRecoveryIsWhenCallsAreQuickAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		call := func(ctx context.Context, _ int) error {
			took := time.Millisecond
			if time.Since(began) < time.Second {
				took = 10 * time.Millisecond
			}
			pause(ctx, took)
			return nil
		}
		calm := window{latencies: []time.Duration{time.Millisecond, time.Millisecond}}
		if got := recovery(t.Context(), call, calm); got < 0.9 || got > 1.3 {
			t.Errorf("recovered after %.2f s, want 1 s", got)
		}
		never := func(ctx context.Context, _ int) error { pause(ctx, 10*time.Millisecond); return nil }
		if got := recovery(t.Context(), never, calm); got != -1 {
			t.Errorf("recovered after %.2f s from what never ends", got)
		}
	})
}

func TestCountersAreSummed(t *testing.T) {
	text := "# TYPE a counter\na{code=\"X\",arm=\"c\"} 2\na{code=\"Y\"} 4\na{code=\"X\"} 3e1\nab{code=\"X\"} 8\n"
	if got := counter(text, "a", `code="X"`); got != 32 {
		t.Errorf("%g, want 32", got)
	}
}
