package simulation

import (
	"context"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/canary"
	"github.com/understudy-serving/understudy/rollout"
)

const ms = time.Millisecond

func errorRate(margin float64, relative bool) rollout.Gate {
	return rollout.Gate{Metric: rollout.ErrorRate, Margin: margin, Relative: relative, Horizon: 5 * time.Second, Share: 1, MinRequests: 100,
		InShadow: true, InCanary: true, OnFail: rollout.RollBack}
}

func pause(bake time.Duration) rollout.Step {
	return rollout.Step{Kind: rollout.StepPause, Bake: bake, MinRequests: 100}
}

func weight(w rollout.Weight) rollout.Step {
	return rollout.Step{Kind: rollout.StepSetWeight, Weight: w}
}

// fraud is a rollout of two arms that are alike, at 50 requests a second.
func fraud(plan rollout.Plan, gates ...rollout.Gate) Setup {
	arm := Arm{Errors: 0.01, Median: 20 * ms, P99: 80 * ms}
	return Setup{
		Configured: rollout.Configured{Model: "fraud", Champion: rollout.Spec{Target: "v1:8081", Model: "fraud"},
			Challenger: rollout.Spec{Target: "v2:8081", Model: "fraud"}, Plan: plan, Rules: rollout.Rules{Alpha: 0.01, Gates: gates}},
		Breaker: canary.BreakerOptions{ConsecutiveFailures: 10}, Sample: rollout.FullWeight, Horizon: 6 * time.Hour,
		Timeout: time.Second, CopyTimeout: time.Second,
		Traffic: Traffic{RPS: 50, Users: 100_000, Champion: arm, Challenger: arm},
	}
}

func shadowThenCanary() Setup {
	return fraud(rollout.Plan{{Kind: rollout.StepShadow, Bake: time.Minute, MinRequests: 1000},
		weight(1000), pause(time.Minute), weight(5000), {Kind: rollout.StepPause, Manual: true}}, errorRate(0.03, false))
}

func run(t *testing.T, s Setup, seed uint64) Result {
	t.Helper()
	r, err := Run(t.Context(), s, seed)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAHealthyChallengerIsPromoted(t *testing.T) {
	r := run(t, shadowThenCanary(), 1)
	if r.Outcome != Promoted || r.By != "" || len(r.Steps) != 3 || r.Served == 0 || r.Users == 0 || r.Hidden == 0 {
		t.Fatalf("%+v", r)
	}
	if got := (r.Steps[0] + r.Steps[2] + r.Steps[4]).Seconds(); math.Abs(got-r.At.Seconds()) > 2 {
		t.Errorf("the steps took %.0f s, all of it %s", got, r.At)
	}
}

func TestASeedIsARollout(t *testing.T) {
	s := shadowThenCanary()
	if a, b := run(t, s, 7), run(t, s, 7); !reflect.DeepEqual(a, b) {
		t.Errorf("one seed, two rollouts:\n%+v\n%+v", a, b)
	}
	if a, b := run(t, s, 7), run(t, s, 8); reflect.DeepEqual(a, b) {
		t.Errorf("two seeds, one rollout: %+v", a)
	}
}

func TestHowRolloutsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Setup)
		want   Outcome
		by     string
	}{
		"by a gate in shadow": {func(s *Setup) { s.Traffic.Challenger.Errors = 0.2 }, RolledBack, "error-rate"},
		"by a gate in canary": {func(s *Setup) { s.Traffic.Challenger.Errors, s.Traffic.From = 0.2, 90*time.Second }, RolledBack, "error-rate"},
		"by the breaker":      {func(s *Setup) { s.Traffic.Challenger.Errors, s.Traffic.From = 1, 90*time.Second }, RolledBack, "breaker"},
		"suspended in shadow": {func(s *Setup) { s.Traffic.Challenger.Errors = 1 }, Suspended, "breaker"},
		"by time": {func(s *Setup) {
			s.Plan[2].MaxDuration, s.Plan[2].OnMaxDuration, s.Plan[2].MinRequests = time.Minute, rollout.RollBack, 1e9
		}, RolledBack, "max_duration of 1m"},
		"held by time": {func(s *Setup) {
			s.Plan[2].MaxDuration, s.Plan[2].OnMaxDuration, s.Plan[2].MinRequests = time.Minute, rollout.Hold, 1e9
		}, Held, ""},
		"waiting at the horizon": {func(s *Setup) { s.Horizon = 30 * time.Second }, Waiting, ""},
		"split broken":           {func(s *Setup) { s.Misrouted, s.Horizon = 2000, 4*time.Minute }, Waiting, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := shadowThenCanary()
			c.change(&s)
			r := run(t, s, 3)
			if r.Outcome != c.want || c.by != "" && c.by != r.By || r.Void != (s.Misrouted > 0) {
				t.Errorf("%s by %q, split void %t", r.Outcome, r.By, r.Void)
			}
		})
	}
}

func TestSettingsThatNoConductorTakes(t *testing.T) {
	s := shadowThenCanary()
	s.Plan = rollout.Plan{weight(500)}
	if _, err := Run(t.Context(), s, 1); err == nil {
		t.Error("a plan without a rest was played")
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	all, err := Many(ctx, shadowThenCanary(), 1, 50, cancel)
	if err != nil || len(all) == 0 || len(all) == 50 {
		t.Errorf("%d rollouts, %v; want those that had ended", len(all), err)
	}
}

// What a source draws must not hang on who asks for what.
func TestTheTrafficIsAsOrdered(t *testing.T) {
	s := NewSource(Traffic{RPS: 100, Users: 50, Champion: Arm{Errors: .1, Median: 20 * ms, P99: 80 * ms},
		Challenger: Arm{Errors: .3, FailsAfter: ms, Median: 30 * ms}, From: 100 * time.Second,
		Disagreement: .2, Segments: []Segment{{Name: "eu", Share: .3, Disagreement: .5}}, BadUsers: .5}, 9)
	const n = 20_000
	var champion, before, after, eu, differ int
	var last time.Duration
	for range n {
		q := s.Next()
		last = q.At
		champion += btoi(q.Champion.Failed)
		switch {
		case q.At < 100*time.Second:
			before += btoi(q.Challenger.Failed)
			if q.Disagrees {
				t.Fatal("it disagrees before it is any different")
			}
		default:
			after += btoi(q.Challenger.Failed)
			eu += btoi(q.Segment == "eu")
			differ += btoi(q.Disagrees)
		}
	}
	near := func(what string, got, want, by float64) {
		if math.Abs(got-want) > by {
			t.Errorf("%s: %.3f, want about %.3f", what, got, want)
		}
	}
	near("seconds", last.Seconds(), 200, 6)
	near("champion's errors", float64(champion)/n, .1, .03)
	near("challenger's errors before", float64(before)/(n/2), .1, .03)
	near("challenger's errors after", float64(after)/(n/2), .3, .09)
	near("in the segment", float64(eu)/(n/2), .3, .2)
	near("disagreeing", float64(differ)/(n/2), .2+.3*.3, .08)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
