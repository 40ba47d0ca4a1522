package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/simulation"
)

// falsePasses are the claims that a challenger at its margin hardly ever passes a step.
func falsePasses() []claim {
	at := func(name string, w rollout.Weight, g rollout.Gate, r rates, each, length float64) claim {
		return claim{group: "false pass", name: name, limit: alpha, measure: func(ctx context.Context, s sample) figure {
			return s.share(ctx, s.rollouts(), func(seed uint64) bool {
				l := newLedger(seed, w, g)
				feed := l.live
				if w == 0 {
					feed = l.pairs
				}
				return !math.IsInf(l.until(passed, feed, r, each, length/s.times()), 1)
			})
		}}
	}
	return []claim{
		at("relative 50%, used up", 2500, errorRate(0.5, true), rates{0.02, 0.03}, long, 15_000),
		at("absolute 1pp, used up", 2500, errorRate(0.01, false), rates{0.01, 0.02}, 100, 15_000),
		at("absolute 2pp, used up, at 5%", 500, errorRate(0.02, false), rates{0.001, 0.021}, 200, 40_000),
		at("paired in shadow, absolute 0.5pp, used up", 0, errorRate(0.005, false), rates{0.005, 0.010}, 50, 15_000),
		at("disagreement, exactly at its limit of 2%", 0, rollout.Gate{Metric: rollout.Disagreement, Limit: 0.02}, rates{0, 0.02}, 20, 10_000),
		{group: "false pass", name: "absolute 2pp, used up, 1,000 users who come back 15 times", limit: alpha, measure: func(ctx context.Context, s sample) figure {
			setup := returning(1000, 0.01, 0.03, errorRate(0.02, false))
			setup.Plan[1].Bake = time.Second
			return s.share(ctx, s.pick(500, 1000), func(seed uint64) bool {
				return play(ctx, setup, seed).Outcome == simulation.Promoted
			})
		}},
		{group: "false pass", name: "score shift, exactly at its max, all pairs but one in 50 differ by twice the max", limit: alpha,
			measure: shift(passed, func(l *ledger) float64 {
				if l.random.Float64() < 0.02 {
					return -0.96
				}
				return 0.04
			})},
	}
}

// passCost is what a pass of an equal challenger takes at a margin.
type passCost struct{ base, margin float64 }

var passCosts = []struct {
	passCost
	// thousand requests by the statistics' table, at 5, 25 and 50 %.
	thousand [3]float64
}{
	{passCost{0.001, 0.005}, [3]float64{41, 8, 4}},
	{passCost{0.001, 0.02}, [3]float64{7, 1.5, 0.7}},
	{passCost{0.01, 0.005}, [3]float64{127, 29, 19}},
	{passCost{0.01, 0.01}, [3]float64{39, 8.4, 5.2}},
	{passCost{0.01, 0.02}, [3]float64{13, 2.7, 1.5}},
}

var passWeights = [3]rollout.Weight{500, 2500, 5000}

// passes are the claims about how long an equal challenger waits for its pass.
func passes() (all []claim) {
	for _, p := range passCosts {
		for i, w := range passWeights {
			all = append(all, claim{group: "to pass", unit: requests, limit: 1.2 * 1000 * p.thousand[i],
				name: fmt.Sprintf("errors %v%%, %vpp more allowed, at %s", 100*p.base, 100*p.margin, w), measure: toPass(p.passCost, w)})
		}
	}
	return append(all,
		claim{group: "to pass", unit: requests, limit: 5000, name: "paired in shadow, 0.5pp more allowed, each arm alone fails 0.1%",
			measure: pairedPass(rates{0.001, 0.001})},
		claim{group: "to pass", unit: requests, limit: 5000, name: "paired in shadow, 0.5pp more allowed, each arm alone fails 0.2%",
			measure: pairedPass(rates{0.002, 0.002})})
}

func toPass(p passCost, w rollout.Weight) func(context.Context, sample) figure {
	return func(ctx context.Context, s sample) figure {
		return s.median(ctx, s.pick(50, 500), func(seed uint64) float64 {
			l := newLedger(seed, w, errorRate(p.margin, false))
			return l.until(passed, l.live, rates{p.base, p.base}, 50, 2e6)
		})
	}
}

func pairedPass(alone rates) func(context.Context, sample) figure {
	return func(ctx context.Context, s sample) figure {
		return s.median(ctx, s.pick(50, 500), func(seed uint64) float64 {
			l := newLedger(seed, 0, errorRate(0.005, false))
			return l.until(passed, l.pairs, alone, 20, 1e6)
		})
	}
}
