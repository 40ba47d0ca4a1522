package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// modelLimit is 2000 requests a second: a model takes 4 ms for each of 8 at a time. The models
// are the limit, and not the CPU, of which the load would have to take most: it runs beside.
const modelLimit = "4ms/8"

// overload is what became of a gateway with a mirror under twice what its models can take.
type overload struct {
	// Sustained is what 64 callers got out of it a second, Offered what came instead.
	Sustained float64 `json:"sustained_per_second"`
	Offered   float64 `json:"offered_per_second"`
	Seconds   float64 `json:"seconds"`
	// Served, Refused (RESOURCE_EXHAUSTED), Late (DEADLINE_EXCEEDED) and Other are calls.
	Served  int `json:"served"`
	Refused int `json:"refused"`
	Late    int `json:"late"`
	Other   int `json:"other"`
	// Shed is the copies that were shed, Hasty the calls that were refused before any was.
	Shed   float64 `json:"shed"`
	Hasty  float64 `json:"refused_before_shedding"`
	PeakMB float64 `json:"peak_mb"`
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

// runOverload loads a shadowing gateway in an open loop with twice its models' rate.
func (b *bench) runOverload(ctx context.Context) (*overload, error) {
	s := b.standing(shadowLimited)
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
	seen := watchShedding(ctx, s.admin)
	began := time.Now()
	_ = paced(ctx, []caller{counts.of(call)}, func(int) int { return 0 }, o.Offered, 0, b.overloadLength(), nothing)
	o.Shed, o.Hasty = seen()
	drained := time.Since(began.Add(b.overloadLength())) // until the last call had its end
	if o.Recovery = recovery(ctx, call, calm); o.Recovery >= 0 {
		o.Recovery += drained.Seconds()
	}
	o.PeakMB = float64(s.tree.peak()) / 1e6
	o.Served, o.Refused, o.Late, o.Other, o.Error = counts.served, counts.refused, counts.late, counts.other, counts.first
	return o, context.Cause(ctx)
}

// watchShedding reads a gateway's counters until the function that it returns is called, which says
// how many copies were shed, and how many calls were refused when none had been yet.
func watchShedding(ctx context.Context, admin string) func() (shed, hasty float64) {
	ctx, stop := context.WithCancel(ctx)
	var shed, hasty float64
	var done sync.WaitGroup
	look := func() {
		text, err := scrape(admin)
		if err != nil {
			return
		}
		if shed = counter(text, "understudy_mirror_skipped_total", `reason="shed"`); shed == 0 {
			hasty = counter(text, "understudy_requests_total", `code="RESOURCE_EXHAUSTED"`)
		}
	}
	done.Go(func() {
		for ctx.Err() == nil {
			look()
			pause(ctx, 10*time.Millisecond)
		}
	})
	return func() (float64, float64) {
		stop()
		done.Wait()
		look()
		return shed, hasty
	}
}

func scrape(admin string) (string, error) {
	answer, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

// counter sums the samples of a metric that have a label.
func counter(text, name, label string) (sum float64) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+"{"); ok && strings.Contains(rest, label) {
			_, value, _ := strings.Cut(rest, "} ")
			v, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			sum += v
		}
	}
	return sum
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
	first := goal{Name: "overload: calls refused before copies were shed", Limit: 0}
	over := goal{Name: "overload: back to normal after its end", Limit: 2, unit: " s"}
	if o == nil {
		return []goal{refused.without(unmeasured), memory.without(unmeasured), first.without(unmeasured), over.without(unmeasured)}
	}
	all := max(o.Served+o.Refused+o.Late+o.Other, 1)
	note := fmt.Sprintf("%.0f/s for %.0f s where %.0f/s go: %d served, %d refused, %d late, %d other", o.Offered, o.Seconds, o.Sustained, o.Served, o.Refused, o.Late, o.Other)
	refused = refused.judge(100*float64(o.Late+o.Other)/float64(all), note)
	memory = memory.judge(max(o.PeakMB-budgetMB(shadowLimited), 0), fmt.Sprintf("%.0f MB, with a budget of %.0f", o.PeakMB, budgetMB(shadowLimited)))
	if o.Shed > 0 {
		first = first.judge(o.Hasty, fmt.Sprintf("%.0f copies shed in all", o.Shed))
	} else {
		first = first.without("no copy was shed")
	}
	if o.Recovery < 0 {
		return []goal{refused, memory, first, over.without("not within 10 s")}
	}
	return []goal{refused, memory, first, over.judge(o.Recovery, "")}
}

// overloadMB is what the calls that wait may take beside what the gateway has anyway.
const overloadMB = 80 + 100
