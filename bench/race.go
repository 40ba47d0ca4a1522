package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// twinsApart is how far the p99s of two healthy gateways may be apart in a race that
	// is to count.
	twinsApart = 1.03
	// mostRate is requests a second, of all gateways together, and raceShare how much of
	// what a gateway can take that is at most: latency is to be that of the gateways, not
	// that of a queue before them.
	mostRate  = 4000
	raceShare = 0.4
	// raceLeast is the fewest requests of a gateway.
	raceLeast = 20_000
)

// runner is one gateway in a race.
type runner struct {
	Arm      string  `json:"arm"`
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	// Ratio is its p99 to that of both healthy gateways together.
	Ratio float64 `json:"ratio"`
}

// race is gateways that share one stream of requests, each going to one at random.
type race struct {
	// Rate is requests a second of all together.
	Rate    float64  `json:"rate"`
	Runners []runner `json:"runners"`
	// Twins is the larger to the smaller p99 of the two healthy ones.
	Twins float64 `json:"twins"`
	Runs  int     `json:"runs"`
}

func (r *race) decided() bool {
	return r != nil && r.Twins > 0 && r.Twins <= twinsApart &&
		!slices.ContainsFunc(r.Runners, func(r runner) bool { return r.Requests < raceLeast || r.Failed > 0 })
}

func (r *race) find(arm string) (runner, bool) {
	if r == nil {
		return runner{}, false
	}
	i := slices.IndexFunc(r.Runners, func(x runner) bool { return x.Arm == arm })
	if i < 0 {
		return runner{}, false
	}
	return r.Runners[i], true
}

// raceLength is how long a race takes at a rate, and how many may be run until one counts.
func (f flags) raceLength(rate float64, gateways int) (length time.Duration, runs int) {
	requests, runs := 1.05*raceLeast, 1
	if !f.quick {
		requests, runs = 3*raceLeast, 3
	}
	return time.Duration(requests * float64(gateways) / rate * float64(time.Second)), runs
}

// runRace races the champion alone, twice, against it with a challenger in trouble. It
// is run again while the twins disagree, and the last one stands.
func (b *bench) runRace(ctx context.Context) (*race, error) {
	var calls []caller
	names := []string{champion, twin, shadowSlow, shadowHung, shadowDead}
	for _, name := range names {
		s := b.standing(name)
		if s == nil {
			return nil, nil
		}
		calls = append(calls, s.client.sending(b.ofSize(smallSize)))
	}
	nothing := marks{func() {}, func() {}}
	full := closed(ctx, calls[0], 16, 200*time.Millisecond, time.Second, nothing)
	rate := min(mostRate, max(raceShare*float64(len(full.latencies)), 200))
	length, runs := b.raceLength(rate, len(calls))
	for run := 1; ; run++ {
		b.t.say("race %d of %d at most: champion with slow, hung and dead challenger beside two without, %.0f requests a second, %s", run, runs, rate, length.Round(time.Second))
		seen := paced(ctx, calls, func(int) int { return rand.IntN(len(calls)) }, rate, 2*time.Second, length, nothing)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		r := judgeRace(names, seen)
		r.Runs, r.Rate = run, rate
		b.t.say("race: %s", r)
		if r.decided() || run == runs {
			return r, nil
		}
	}
}

// judgeRace takes the first two for the healthy ones.
func judgeRace(names []string, seen []window) *race {
	r := &race{}
	p99 := func(all []time.Duration) float64 { return micros(quantile(all, 0.99)) }
	for i := range seen {
		slices.Sort(seen[i].latencies)
	}
	healthy := p99(slices.Sorted(slices.Values(slices.Concat(seen[0].latencies, seen[1].latencies))))
	for i, w := range seen {
		x := runner{Arm: names[i], Requests: len(w.latencies) + w.failed, Failed: w.failed, P50: micros(quantile(w.latencies, 0.5)), P99: p99(w.latencies)}
		if healthy > 0 {
			x.Ratio = x.P99 / healthy
		}
		r.Runners = append(r.Runners, x)
	}
	if a, b := r.Runners[0].P99, r.Runners[1].P99; min(a, b) > 0 {
		r.Twins = max(a, b) / min(a, b)
	}
	return r
}

func (r *race) String() string {
	text := fmt.Sprintf("two healthy gateways %.3fx apart", r.Twins)
	for _, x := range r.Runners[2:] {
		text += fmt.Sprintf("; %s %.2fx", x.Arm, x.Ratio)
	}
	if !r.decided() {
		text += ": undecided"
	}
	return text
}
