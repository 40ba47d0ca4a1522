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

// path is a way in which counts could mislead, played through the whole path. The arms are
// equally bad in it, or the challenger by exactly its margin worse.
type path struct {
	name   string
	gate   rollout.Gate
	change func(*simulation.Setup)
}

var relative = rollout.Gate{Metric: rollout.ErrorRate, Relative: true, Horizon: horizon}

var paths = []path{
	{"the challenger fails at once, the champion after 0.7s", relative, func(s *simulation.Setup) {
		s.Traffic.Champion.FailsAfter, s.Traffic.Challenger.FailsAfter = 700*time.Millisecond, time.Millisecond
	}},
	{"half of each arm's errors come too late to count", relative, func(s *simulation.Setup) {
		for _, a := range []*simulation.Arm{&s.Traffic.Champion, &s.Traffic.Challenger} {
			a.Errors, a.Slow, a.SlowFor = 0.2, 0.5, 2*time.Second
		}
	}},
	{"all errors happen to one user in 5, time after time", relative, func(s *simulation.Setup) {
		s.Traffic.Users, s.Traffic.BadUsers, s.Traffic.Heavy = 1000, 0.2, 1.1
	}},
	{"the cap turns away as many as the challenger fails less", relative, func(s *simulation.Setup) {
		s.Traffic.Diverted, s.Traffic.Challenger.Errors = 0.06, 0.04/0.94
	}},
	{"overload: errors at the champion, diversions at the challenger", relative, func(s *simulation.Setup) {
		s.Traffic.Overload = simulation.Overload{Every: time.Second, For: 100 * time.Millisecond, Share: 0.5}
	}},
	{"slow-rate, absolute 2pp, used up", rollout.Gate{Metric: rollout.SlowRate, SlowerThan: horizon, Horizon: horizon, Margin: 0.02}, func(s *simulation.Setup) {
		s.Traffic.Champion.Slow, s.Traffic.Challenger.Slow, s.Traffic.Champion.SlowFor, s.Traffic.Challenger.SlowFor = 0.03, 0.05, 2*time.Second, 2*time.Second
	}},
}

func (p path) setup(length time.Duration) simulation.Setup {
	s := canaryOf(5000, p.gate)
	s.Horizon = length
	p.change(&s)
	return s
}

// counted are the claims about what counts and when.
func counted() (all []claim) {
	for _, p := range paths {
		all = append(all, claim{group: "false rollback", name: p.name, limit: alpha, measure: func(ctx context.Context, s sample) figure {
			setup := p.setup(time.Duration(s.pick(2, 8)) * time.Second)
			return s.share(ctx, s.rollouts(), func(seed uint64) bool {
				return play(ctx, setup, seed).Outcome == simulation.RolledBack
			})
		}})
	}
	all = append(all, claim{group: "false rollback", name: "a better challenger (8% against 20%), 200 users who come back 75 times", limit: alpha,
		measure: func(ctx context.Context, s sample) figure {
			setup := returning(200, 0.2, 0.08, errorRate(0.1, true))
			return s.share(ctx, s.pick(500, 1000), func(seed uint64) bool {
				return play(ctx, setup, seed).Outcome == simulation.RolledBack
			})
		}})
	return append(all, claim{group: "false rollback", name: "tail latency, exactly at its margin", limit: alpha, measure: func(ctx context.Context, s sample) figure {
		return s.share(ctx, s.rollouts(), func(seed uint64) bool {
			return play(ctx, tailAtMargin(seed, time.Duration(s.pick(7, 20))*time.Second), seed).Outcome == simulation.RolledBack
		})
	}})
}

func tailAtMargin(seed uint64, length time.Duration) simulation.Setup {
	s := tail(seed, 1.1)
	s.Plan[0].Bake, s.Horizon = 4*time.Second, length
	s.Traffic.From = s.Plan[0].Bake
	return s
}

// returning is a rollout at 25 % on few users, who send 15,000 requests. One who has had an
// error counts no more, so the arm that fails more runs out of users who count.
func returning(users int, champion, challenger float64, g rollout.Gate) simulation.Setup {
	g.Horizon = horizon
	s := canaryOf(2500, g)
	s.Look, s.Horizon = time.Second, 50*time.Second
	s.Traffic.Users, s.Traffic.Champion.Errors, s.Traffic.Challenger.Errors = users, champion, challenger
	return s
}
