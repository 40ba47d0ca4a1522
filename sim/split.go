package main

import (
	"context"
	"math"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// splits are the claims about the split itself.
func splits() []claim {
	return []claim{
		{group: "split", name: "a right one is found broken, looked at after each key", limit: 0.001, measure: rightSplit},
		{group: "split", name: "a right one is found broken, few users send most", limit: 0.001, measure: heavyUsers},
		{group: "split", name: "keys to find 50/50 where 60/40 is meant", unit: requests, limit: 1000, measure: wrongSplit},
		{group: "split", name: "5% of the challenger's results are lost: found within 10,000 requests", least: true, limit: 0.9, measure: lostResults},
	}
}

// keys looks after each new key, at weight w, of which a share falls on the challenger, and
// returns how many it took to find the split broken.
func keys(seed uint64, w rollout.Weight, share float64, most int) float64 {
	l := newLedger(seed, w)
	for n := range most {
		arm := rollout.Champion
		if l.random.Float64() < share {
			arm = rollout.Challenger
		}
		var f gate.Fall
		f.Count(arm)
		l.delta.Keys = map[rollout.Weight]gate.Fall{w: f}
		if l.look(1).Split.Void {
			return float64(n + 1)
		}
	}
	return math.Inf(1)
}

func rightSplit(ctx context.Context, s sample) figure {
	return s.share(ctx, s.pick(12_000, 20_000), func(seed uint64) bool {
		return !math.IsInf(keys(seed, 1000, 0.1, s.pick(500, 1000)), 1)
	})
}

func wrongSplit(ctx context.Context, s sample) figure {
	return s.median(ctx, s.pick(100, 500), func(seed uint64) float64 { return keys(seed, 4000, 0.5, 100_000) })
}

// heavyUsers has 300 users, of whom the first sends a fifth of all requests.
func heavyUsers(ctx context.Context, s sample) figure {
	return s.share(ctx, s.pick(6_000, 10_000), func(seed uint64) bool {
		setup := canaryOf(2500, rollout.Gate{Metric: rollout.ErrorRate, Margin: 0.9, Horizon: horizon})
		setup.Traffic.Users, setup.Traffic.Heavy, setup.Horizon = 300, 1.2, 3*time.Second
		return play(ctx, setup, seed).Void
	})
}

func lostResults(ctx context.Context, s sample) figure {
	return s.share(ctx, s.pick(100, 500), func(seed uint64) bool {
		setup := canaryOf(1000, rollout.Gate{Metric: rollout.ErrorRate, Margin: 0.9, Horizon: horizon})
		setup.Traffic.Lost, setup.Horizon = 0.05, 34*time.Second
		setup.Until = func(j rollout.Judgement) bool { return j.Split.Void }
		return play(ctx, setup, seed).Void
	})
}
