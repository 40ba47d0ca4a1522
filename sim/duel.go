package main

import (
	"context"
	"math"
	"time"

	"github.com/understudy-serving/understudy/canary"
	"github.com/understudy-serving/understudy/plot"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/simulation"
)

// scenario is a kind of traffic that all judges get.
type scenario struct {
	name string
	// harmful says that the challenger should go.
	harmful bool
	change  func(*simulation.Traffic)
	// late is when the regression begins, from the first live request on.
	late time.Duration
}

func errorsOf(champion, challenger float64) func(*simulation.Traffic) {
	return func(t *simulation.Traffic) { t.Champion.Errors, t.Challenger.Errors = champion, challenger }
}

var scenarios = []scenario{
	{name: "healthy, 0.5% errors", change: errorsOf(0.005, 0.005)},
	{name: "healthy, 2% errors", change: errorsOf(0.02, 0.02)},
	{name: "healthy, 2 requests/s", change: func(t *simulation.Traffic) { t.RPS = 2; errorsOf(0.005, 0.005)(t) }},
	{name: "no requests", change: func(t *simulation.Traffic) { t.RPS = 1e-6 }},
	{name: "errors 0.5% → 2%", harmful: true, change: errorsOf(0.005, 0.02)},
	{name: "errors 1% → 2%", harmful: true, change: errorsOf(0.01, 0.02)},
	{name: "errors 1% → 5%", harmful: true, change: errorsOf(0.01, 0.05)},
	{name: "errors 1% → 5%, from 6 minutes on", harmful: true, change: errorsOf(0.01, 0.05), late: 6 * time.Minute},
	{name: "answers 3 times as slow", harmful: true, change: func(t *simulation.Traffic) {
		errorsOf(0.005, 0.005)(t)
		t.Challenger.Median, t.Challenger.P99 = 3*t.Champion.Median, 3*t.Champion.P99
	}},
	{name: "5% of the predictions differ, nothing else", harmful: true, change: func(t *simulation.Traffic) { errorsOf(0.005, 0.005)(t); t.Disagreement = 0.05 }},
	{name: "errors 0.5% → 10%, in a segment of 5%", harmful: true, change: func(t *simulation.Traffic) {
		errorsOf(0.005, 0.005)(t)
		worse := t.Challenger
		worse.Errors = 0.1
		t.Segments = []simulation.Segment{{Name: "small", Share: 0.05, Challenger: &worse}, {Name: "large", Share: 0.95}}
	}},
}

// judges are who is compared.
var judges = []string{"Understudy", "fixed threshold (Flagger)", "Mann-Whitney (Kayenta)"}

// score is what a judge made of a scenario.
type score struct {
	rolledBack, promoted simulation.Share
	// users whom the challenger has met, and hours, are medians.
	users int
	hours float64
}

// duel plays a scenario to a judge.
func duel(ctx context.Context, c scenario, judge, n int, step func()) score {
	all := make([]simulation.Result, n)
	simulation.Parallel(ctx, n, func(i int) {
		all[i] = perform(ctx, c, judge, uint64(i)+1)
		step()
	})
	is := func(o simulation.Outcome) simulation.Share {
		return simulation.ShareOf(simulation.CountIf(all, func(r simulation.Result) bool { return r.Outcome == o }), n, confidence)
	}
	return score{is(simulation.RolledBack), is(simulation.Promoted),
		simulation.Quantile(simulation.Of(all, func(r simulation.Result) int { return r.Users }), 0.5),
		simulation.Quantile(simulation.Of(all, func(r simulation.Result) float64 { return r.At.Hours() }), 0.5)}
}

func perform(ctx context.Context, c scenario, judge int, seed uint64) simulation.Result {
	s := typical()
	c.change(&s.Traffic)
	if c.late > 0 && judge == 0 {
		s.Traffic.From = s.Plan[0].Bake + c.late
	} else {
		s.Traffic.From = c.late
	}
	if s.Traffic.RPS < 1 {
		s.Horizon = 6 * time.Hour // no need to wait for what does not come
	}
	switch judge {
	case 1:
		return compete(new(threshold), s, seed)
	case 2:
		return compete(new(ranks), s, seed)
	}
	r := play(ctx, s, seed)
	if r.Outcome == simulation.Promoted {
		r.Users = s.Traffic.Users
	}
	return r
}

// typical is a rollout as understudy.yaml would have it, at 20 requests a second: margins that
// narrow as the weight rises, for a narrow one is dear at a small weight.
func typical() simulation.Setup {
	second := time.Second
	gate := func(g rollout.Gate, share float64) rollout.Gate {
		g.Horizon, g.Share, g.MinRequests, g.InCanary, g.OnFail = 5*second, share, 100, true, rollout.RollBack
		g.InShadow = g.Metric != rollout.SlowRate
		if g.Metric == rollout.SlowRate {
			g.Horizon = g.SlowerThan
		}
		return g
	}
	errors := func(margin float64) rollout.Gate { return gate(errorRate(margin, false), 0.4) }
	rest := func(margin float64) rollout.Step {
		return rollout.Step{Kind: rollout.StepPause, Bake: 30 * time.Minute, MinRequests: 1000, Gates: []rollout.Gate{errors(margin)}}
	}
	weight := func(w rollout.Weight) rollout.Step { return rollout.Step{Kind: rollout.StepSetWeight, Weight: w} }
	arm := simulation.Arm{Errors: 0.01, Median: span(30 * ms), P99: span(120 * ms)}
	return simulation.Setup{
		Configured: rollout.Configured{Model: "m", Champion: rollout.Spec{Target: "champion", Model: "m"}, Challenger: rollout.Spec{Target: "challenger", Model: "m"},
			Plan: rollout.Plan{{Kind: rollout.StepShadow, Bake: 10 * time.Minute, MinRequests: 1000},
				weight(500), rest(0.02), weight(2500), rest(0.01), weight(5000), rest(0.005)},
			Rules: rollout.Rules{Alpha: alpha, MaxCohorts: 4, Segments: []string{"parameter:region"}, Gates: []rollout.Gate{
				errors(0.005),
				gate(rollout.Gate{Metric: rollout.SlowRate, SlowerThan: 150 * time.Millisecond, Margin: 0.02}, 0.3),
				gate(rollout.Gate{Metric: rollout.Disagreement, Limit: 0.02}, 0.3)}}},
		Breaker: canary.BreakerOptions{ConsecutiveFailures: 10}, Timeout: second, CopyTimeout: 2 * second, Sample: rollout.FullWeight,
		Horizon: 72 * time.Hour, Traffic: simulation.Traffic{RPS: 20, Users: 200_000, Champion: arm, Challenger: arm},
	}
}

// evidencePath is log10 of the evidence over the requests of one rollout at 10 %, up to most, at
// moments that lie apart by a hundredth at least.
func evidencePath(seed uint64, challenger, most float64) (path []plot.Point) {
	l := newLedger(seed, 1000, errorRate(0, true))
	path = append(path, plot.Point{X: 1, Y: 0})
	for l.requests < most {
		j := l.live(rates{0.01, challenger}, most/200)
		back := failed(j)
		if back || l.requests > 1.01*path[len(path)-1].X {
			path = append(path, plot.Point{X: min(l.requests, most), Y: j.LogEvidence / math.Ln10})
		}
		if back {
			break
		}
	}
	return path
}
