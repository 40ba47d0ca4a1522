package main

import (
	"context"
	"math"
	"time"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/simulation"
)

// detections are the claims about how soon a regression is caught, in requests judged on
// both arms. An hour at 20 requests a second has 72,000.
func detections() []claim {
	return []claim{
		toDetect("errors 1% → 5%, at 10%", 1.2*1507, 0.05, 0),
		toDetect("errors 1% → 50%, at 10%", 1.2*83, 0.5, 0),
		toDetect("errors 1% → 2%, at 10%", 1.2*16_000, 0.02, 0),
		toDetect("errors 1% → 5%, at 10%, after a healthy hour", 1.2*7600, 0.05, 72_000),
		{group: "to detect", name: "p99 × 1.5, 10% allowed, at 10%", unit: requests, limit: 1.2 * 1900, measure: toDetectTail},
	}
}

// toDetect is about the error rate with relative margin 0.
func toDetect(name string, limit, errors, healthy float64) claim {
	return claim{group: "to detect", name: name, unit: requests, limit: limit, measure: func(ctx context.Context, s sample) figure {
		return s.median(ctx, s.pick(500, 2000), func(seed uint64) float64 { return detect(seed, errors, healthy) })
	}}
}

// detect returns the requests from the moment at which the challenger began to fail more; +Inf
// where it was rolled back before, too.
func detect(seed uint64, errors, healthy float64) float64 {
	l := newLedger(seed, 1000, errorRate(0, true))
	if healthy > 0 && !math.IsInf(l.until(failed, l.live, rates{0.01, 0.01}, long, healthy), 1) {
		return math.Inf(1)
	}
	return l.until(failed, l.live, rates{0.01, errors}, rps, 1e6)
}

// toDetectTail goes through the whole path: the champion's p99 is learned in shadow, on a grid
// of latencies, and then held against both arms.
func toDetectTail(ctx context.Context, s sample) figure {
	return s.median(ctx, s.pick(120, 500), func(seed uint64) float64 {
		setup := tail(seed, 1.5)
		setup.Traffic.RPS, setup.Plan[0].Bake = rps, 15*minute // else what is routed until it is judged counts for much
		setup.Traffic.From, setup.Horizon = setup.Plan[0].Bake, 3*time.Hour
		r := play(ctx, setup, seed)
		if r.Outcome != simulation.RolledBack {
			return math.Inf(1)
		}
		return float64(r.SinceRequests)
	})
}

// tailOf is a lognormal's p99 over its median at σ = ½.
const tailOf = 3.2

// tail is a rollout whose tail latency is judged, after a minute in shadow; the challenger's
// answers take times as long. Medians differ, lest they all lie alike on the grid. The
// spread is that of a lognormal with σ = ½: the test on one edge then takes 1,900 requests
// for p99 × 1.5 and 43,000 for × 1.2, the figures that the claim's limit is made of.
func tail(seed uint64, times float64) simulation.Setup {
	s := canaryOf(1000, rollout.Gate{Metric: rollout.TailLatency, Margin: 0.1, Relative: true, Horizon: horizon})
	s.Sample = rollout.FullWeight // else the step in shadow has no pairs, and no end
	median := ms * (20 + float64(seed%20))
	s.Plan = append(rollout.Plan{{Kind: rollout.StepShadow, Bake: minute, MinRequests: 1}}, s.Plan...)
	s.Traffic.Champion = simulation.Arm{Median: span(median), P99: span(tailOf * median)}
	s.Traffic.Challenger = simulation.Arm{Median: span(times * median), P99: span(times * tailOf * median)}
	return s
}
