package main

import (
	"context"
	"time"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/simulation"
)

const (
	ms     = float64(time.Millisecond)
	minute = time.Minute
	// horizon is the age at which these claims judge a request; shorter than the product's, so
	// that short rollouts have much to judge.
	horizon = time.Second
)

func span(d float64) time.Duration { return time.Duration(d) }

// canaryOf is a rollout that rests at a weight for good, on 300 requests a second without keys,
// of which the arms fail 10 %. It is looked at as often as in the product.
func canaryOf(w rollout.Weight, gates ...rollout.Gate) simulation.Setup {
	for i := range gates {
		g := &gates[i]
		g.InShadow, g.InCanary, g.OnFail, g.MinRequests, g.Share = g.Metric == rollout.ErrorRate, true, rollout.RollBack, 100, 1/float64(len(gates))
	}
	arm := simulation.Arm{Errors: 0.1, Median: span(20 * ms), P99: span(80 * ms)}
	return simulation.Setup{
		Configured: rollout.Configured{Model: "sim", Champion: rollout.Spec{Target: "champion", Model: "sim"}, Challenger: rollout.Spec{Target: "challenger", Model: "sim"},
			Plan:  rollout.Plan{{Kind: rollout.StepSetWeight, Weight: w}, {Kind: rollout.StepPause, Bake: 1000 * time.Hour, MinRequests: 1}},
			Rules: rollout.Rules{Alpha: alpha, Gates: gates, MaxCohorts: 8}},
		Timeout: time.Minute, CopyTimeout: time.Minute, Look: 200 * time.Millisecond, Horizon: 24 * time.Hour,
		Traffic: simulation.Traffic{RPS: 300, Champion: arm, Challenger: arm},
	}
}

// play runs a setup that is known to be valid.
func play(ctx context.Context, s simulation.Setup, seed uint64) simulation.Result {
	r, err := simulation.Run(ctx, s, seed)
	if err != nil && ctx.Err() == nil {
		panic(err) // a claim's own mistake
	}
	return r
}

// counted are the claims about what counts and when, through the whole path.
func counted() []claim {
	relative := func() rollout.Gate { return rollout.Gate{Metric: rollout.ErrorRate, Relative: true, Horizon: horizon} }
	never := func(name string, g rollout.Gate, change func(*simulation.Setup)) claim {
		return claim{group: "false rollback", name: name, limit: alpha, measure: func(ctx context.Context, s sample) figure {
			return s.share(ctx, s.pick(10_000, 20_000), func(seed uint64) bool {
				setup := canaryOf(5000, g)
				setup.Horizon = time.Duration(s.pick(2, 8)) * time.Second
				change(&setup)
				return play(ctx, setup, seed).Outcome == simulation.RolledBack
			})
		}}
	}
	return []claim{
		never("the challenger fails at once, the champion after 0.7s", relative(), func(s *simulation.Setup) {
			s.Traffic.Champion.FailsAfter, s.Traffic.Challenger.FailsAfter = 700*time.Millisecond, time.Millisecond
		}),
		never("half of each arm's errors come too late to count", relative(), func(s *simulation.Setup) {
			for _, a := range []*simulation.Arm{&s.Traffic.Champion, &s.Traffic.Challenger} {
				a.Errors, a.Slow, a.SlowFor = 0.2, 0.5, 2*time.Second
			}
		}),
		never("all errors happen to one user in 5, time after time", relative(), func(s *simulation.Setup) {
			s.Traffic.Users, s.Traffic.BadUsers, s.Traffic.Heavy = 400, 0.2, 1.1
		}),
		never("the cap turns away as many as the challenger fails less", relative(), func(s *simulation.Setup) {
			s.Traffic.Diverted, s.Traffic.Challenger.Errors = 0.06, 0.04/0.94
		}),
		never("overload: errors at the champion, diversions at the challenger", relative(), func(s *simulation.Setup) {
			s.Traffic.Overload = simulation.Overload{Every: time.Second, For: 100 * time.Millisecond, Share: 0.5}
		}),
		never("slow-rate, absolute 2pp, used up", rollout.Gate{Metric: rollout.SlowRate, SlowerThan: horizon, Horizon: horizon, Margin: 0.02}, func(s *simulation.Setup) {
			s.Traffic.Champion.Slow, s.Traffic.Challenger.Slow, s.Traffic.Champion.SlowFor, s.Traffic.Challenger.SlowFor = 0.03, 0.05, 2*time.Second, 2*time.Second
		}),
		{group: "false rollback", name: "tail latency, exactly at its margin", limit: alpha, measure: func(ctx context.Context, s sample) figure {
			return s.share(ctx, s.pick(10_000, 20_000), func(seed uint64) bool {
				setup := tail(seed, 1.1)
				setup.Plan[0].Bake, setup.Horizon = 4*time.Second, time.Duration(s.pick(7, 20))*time.Second
				setup.Traffic.From = setup.Plan[0].Bake
				return play(ctx, setup, seed).Outcome == simulation.RolledBack
			})
		}},
	}
}
