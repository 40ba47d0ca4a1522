package main

import (
	"context"
	"math"
	"strconv"

	"github.com/understudy-serving/understudy/rollout"
)

// long is how far apart looks are where nothing happens.
const long = 1e9

// harmless are the claims that a challenger which is no worse than its margin, be it by a
// hair, is hardly ever rolled back. They are looked at after every bad request.
func harmless() []claim {
	same := func(p float64) rates { return rates{p, p} }
	return []claim{
		neverBack("relative, both arms 1%", 1000, errorRate(0, true), same(0.01), 20_000),
		neverBack("relative 10%, used up", 1000, errorRate(0.1, true), rates{0.01, 0.011}, 20_000),
		neverBack("relative 100%, used up, at 50%", 5000, errorRate(1, true), rates{0.02, 0.04}, 10_000),
		neverBack("absolute 2pp, used up", 2500, errorRate(0.02, false), rates{0.01, 0.03}, 10_000),
		neverBack("absolute 0.5pp, used up, at 5%", 500, errorRate(0.005, false), rates{0.001, 0.006}, 40_000),
		neverBack("slow-rate 2pp, used up", 1000, rollout.Gate{Metric: rollout.SlowRate, Margin: 0.02}, rates{0.01, 0.03}, 15_000),
		neverBackPaired("paired in shadow, absolute 0.5pp, used up", errorRate(0.005, false), rates{0.005, 0.010}),
		neverBackPaired("paired in shadow, relative 50%, used up", errorRate(0.5, true), rates{0.008, 0.012}),
		{group: "false rollback", name: "disagreement, exactly at its limit of 2%", limit: alpha, measure: disagreement},
		{group: "false rollback", name: "score shift, exactly at its max, one pair in 50 differs by all of the range", limit: alpha,
			measure: shift(failed, func(l *ledger) float64 {
				if l.random.Float64() < 0.02 {
					return 1
				}
				return 0
			})},
		{group: "false rollback", name: "score shift, exactly at its max, normal differences", limit: alpha,
			measure: shift(failed, func(l *ledger) float64 { return 0.02 + 0.1*l.random.NormFloat64() })},
		{group: "false rollback", name: "base rate drifts while the weight rises, relative", limit: alpha, measure: drifting(errorRate(0, true), 0)},
		{group: "false rollback", name: "base rate drifts while the weight rises, absolute, used up", limit: alpha, measure: drifting(errorRate(0.01, false), 0.01)},
		{group: "false rollback", name: "3 gates in 4 cohorts on one budget, all used up", limit: alpha, measure: crowd},
	}
}

// neverBack is the claim about one live gate at one weight.
func neverBack(name string, w rollout.Weight, g rollout.Gate, r rates, length float64) claim {
	return claim{group: "false rollback", name: name, limit: alpha, measure: func(ctx context.Context, s sample) figure {
		return s.share(ctx, s.rollouts(), func(seed uint64) bool {
			l := newLedger(seed, w, g)
			return !math.IsInf(l.until(failed, l.live, r, long, length/s.times()), 1)
		})
	}}
}

func neverBackPaired(name string, g rollout.Gate, alone rates) claim {
	return claim{group: "false rollback", name: name, limit: alpha, measure: func(ctx context.Context, s sample) figure {
		return s.share(ctx, s.rollouts(), func(seed uint64) bool {
			l := newLedger(seed, 0, g)
			return !math.IsInf(l.until(failed, l.pairs, alone, long, 15_000/s.times()), 1)
		})
	}}
}

func disagreement(ctx context.Context, s sample) figure {
	return s.share(ctx, s.rollouts(), func(seed uint64) bool {
		l := newLedger(seed, 0, rollout.Gate{Metric: rollout.Disagreement, Limit: 0.02})
		return !math.IsInf(l.until(failed, l.pairs, rates{0, 0.02}, long, 10_000/s.times()), 1)
	})
}

// shift looks at every fifth pair, as the product does at 25 requests a second.
func shift(wanted func(rollout.Judgement) bool, draw func(*ledger) float64) func(context.Context, sample) figure {
	g := rollout.Gate{Metric: rollout.ScoreShift, Output: "score", Limit: 0.02, Range: 1}
	return func(ctx context.Context, s sample) figure {
		return s.share(ctx, s.rollouts(), func(seed uint64) bool {
			l := newLedger(seed, 0, g)
			for range s.pick(100, 400) {
				c := l.cell(0, "")
				for range 5 {
					c.Shift.Observe(draw(l), g.Range)
				}
				if wanted(l.look(5)) {
					return true
				}
			}
			return false
		})
	}
}

// drifting lets the base rate rise from 1 % to 10 % and fall again while the weight goes up: who
// pools counts over steps mistakes that for a difference of the arms (Simpson's paradox).
func drifting(g rollout.Gate, more float64) func(context.Context, sample) figure {
	return func(ctx context.Context, s sample) figure {
		return s.share(ctx, s.rollouts(), func(seed uint64) bool {
			l := newLedger(seed, 500, g)
			for i, base := range []float64{0.01, 0.03, 0.1, 0.05, 0.02} {
				if i > 0 {
					l.enter([]rollout.Weight{500, 1000, 2500, 5000, 7500}[i])
				}
				if !math.IsInf(l.until(failed, l.live, rates{base, base + more}, long, 60/base/s.times()), 1) {
					return true
				}
			}
			return false
		})
	}
}

// crowd judges an error rate, a slow rate and disagreement, each for all requests and for
// four cohorts. Requests come in buckets of 40.
func crowd(ctx context.Context, s sample) figure {
	gates := []rollout.Gate{errorRate(0.02, false), {Metric: rollout.SlowRate, Margin: 1, Relative: true}, {Metric: rollout.Disagreement, Limit: 0.05}}
	bad := []rates{{0.02, 0.04}, {0.03, 0.06}, {0, 0.05}}
	return s.share(ctx, s.rollouts(), func(seed uint64) bool {
		l := newLedger(seed, 5000, gates...)
		l.state.Rules.Segments = []string{"parameter:region"}
		for range s.pick(15, 75) {
			for range 40 {
				l.crowded(bad)
			}
			if failed(l.look(40)) {
				return true
			}
		}
		return false
	})
}

// crowded counts one request for each gate, for all and for its cohort.
func (l *ledger) crowded(bad []rates) {
	cohort := "region=" + strconv.Itoa(l.random.IntN(4))
	challenger := l.random.Float64() < 0.5
	for g, r := range bad {
		p := r.champion
		if challenger || r.champion == 0 {
			p = r.challenger
		}
		isBad := int64(0)
		if l.random.Float64() < p {
			isBad = 1
		}
		for _, segment := range []string{"", cohort} {
			c := l.cell(g, segment)
			switch {
			case r.champion == 0:
				c.Pairs, c.ChallengerOnly = c.Pairs+1, c.ChallengerOnly+isBad
			case challenger:
				c.ChallengerLive, c.ChallengerBad = c.ChallengerLive+1, c.ChallengerBad+isBad
			default:
				c.ChampionLive, c.ChampionBad = c.ChampionLive+1, c.ChampionBad+isBad
			}
		}
	}
}
