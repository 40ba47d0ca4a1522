package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// overload is what became of a gateway with a mirror under twice what it can take.
type overload struct {
	// Sustained is what 64 callers got out of it a second, Offered what came instead.
	Sustained float64 `json:"sustained_per_second"`
	Offered   float64 `json:"offered_per_second"`
	Seconds   float64 `json:"seconds"`
	// Served, Refused (RESOURCE_EXHAUSTED), Late (DEADLINE_EXCEEDED) and Other are calls.
	Served  int     `json:"served"`
	Refused int     `json:"refused"`
	Late    int     `json:"late"`
	Other   int     `json:"other"`
	PeakMB  float64 `json:"peak_mb"`
	// Recovery is after how many seconds 1 caller's calls were quick again: within three
	// times the median before; -1 if not within 10.
	Recovery float64 `json:"recovery_seconds"`
	Error    string  `json:"error,omitempty"`
}

// overloadLength is how long the load lasts.
func (f flags) overloadLength() time.Duration {
	if f.quick {
		return 10 * time.Second
	}
	return 60 * time.Second
}

// runOverload loads the shadowing gateway in an open loop with twice its rate.
func (b *bench) runOverload(ctx context.Context) (*overload, error) {
	s := b.standing(shadowing)
	if s == nil {
		return nil, nil
	}
	call := s.client.sending(b.ofSize(smallSize))
	nothing := marks{func() {}, func() {}}
	calm := closed(ctx, call, 1, 100*time.Millisecond, time.Second, nothing)
	full := closed(ctx, call, 64, 500*time.Millisecond, 2*time.Second, nothing)
	o := &overload{Sustained: float64(len(full.latencies)) / full.took.Seconds(), Seconds: b.overloadLength().Seconds()}
	o.Offered = 2 * o.Sustained
	b.t.say("overload: %.0f requests a second, twice what it takes, for %s", o.Offered, b.overloadLength())
	s.tree.forget()
	counts := &outcomes{}
	_ = paced(ctx, []caller{counts.of(call)}, func(int) int { return 0 }, o.Offered, 0, b.overloadLength(), nothing)
	o.Recovery = recovery(ctx, call, calm)
	o.PeakMB = float64(s.tree.peak()) / 1e6
	o.Served, o.Refused, o.Late, o.Other, o.Error = counts.served, counts.refused, counts.late, counts.other, counts.first
	return o, context.Cause(ctx)
}

// recovery waits until one caller's calls are as quick as they were, near enough.
func recovery(ctx context.Context, call caller, calm window) float64 {
	slices.Sort(calm.latencies)
	limit := 3 * quantile(calm.latencies, 0.5)
	for began := time.Now(); time.Since(began) < 10*time.Second && ctx.Err() == nil; {
		w := closed(ctx, call, 1, 0, 100*time.Millisecond, marks{func() {}, func() {}})
		slices.Sort(w.latencies)
		if w.failed == 0 && len(w.latencies) > 0 && quantile(w.latencies, 0.5) <= limit {
			return time.Since(began).Seconds()
		}
	}
	return -1
}

// outcomes counts how calls ended.
type outcomes struct {
	mu                           sync.Mutex
	served, refused, late, other int
	first                        string // error that is none of these
}

// of is a caller whose calls are counted.
func (o *outcomes) of(call caller) caller {
	return func(ctx context.Context, n int) error {
		err := call(ctx, n)
		o.mu.Lock()
		defer o.mu.Unlock()
		switch code := status.Code(err); {
		case err == nil:
			o.served++
		case code == codes.ResourceExhausted:
			o.refused++
		case code == codes.DeadlineExceeded:
			o.late++
		default:
			o.other++
			if o.first == "" {
				o.first = strings.ToValidUTF8(err.Error(), "")
			}
		}
		return err
	}
}

// overloadGoals say that an overload is refused, not waited out, and soon over.
func overloadGoals(o *overload) []goal {
	refused := goal{Name: "overload: calls that are neither served nor refused, of all", Limit: 0, unit: "%"}
	memory := goal{Name: "overload: resident memory beyond the byte budgets", Limit: overloadMB, unit: " MB"}
	over := goal{Name: "overload: back to normal after its end", Limit: 2, unit: " s"}
	if o == nil {
		return []goal{refused.without(unmeasured), memory.without(unmeasured), over.without(unmeasured)}
	}
	all := max(o.Served+o.Refused+o.Late+o.Other, 1)
	note := fmt.Sprintf("%.0f/s for %.0f s where %.0f/s go: %d served, %d refused, %d late, %d other", o.Offered, o.Seconds, o.Sustained, o.Served, o.Refused, o.Late, o.Other)
	refused = refused.judge(100*float64(o.Late+o.Other)/float64(all), note)
	memory = memory.judge(max(o.PeakMB-budgetMB(shadowing), 0), fmt.Sprintf("%.0f MB, with a budget of %.0f", o.PeakMB, budgetMB(shadowing)))
	if o.Recovery < 0 {
		return []goal{refused, memory, over.without("not within 10 s")}
	}
	return []goal{refused, memory, over.judge(o.Recovery, "")}
}

// overloadMB is what the calls that wait may take beside what the gateway has anyway.
const overloadMB = 80 + 100
