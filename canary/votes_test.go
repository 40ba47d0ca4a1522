package canary

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

func TestWhatCountsAsBad(t *testing.T) {
	challenger, champion := rollout.Routing{Arm: rollout.Challenger}, rollout.Routing{Arm: rollout.Champion}
	slowGate := rollout.Gate{Metric: rollout.SlowRate, Margin: 0.02, SlowerThan: 100 * time.Millisecond, Horizon: 100 * time.Millisecond, InCanary: true}
	for name, c := range map[string]struct {
		routing rollout.Routing
		end     func(rollout.Outcome) rollout.Outcome // nil: it never ends
		// bad says for which of the two gates it is.
		isError, isSlow bool
	}{
		"an answer":           {challenger, same, false, false},
		"a failure":           {challenger, broken, true, false},
		"the champion's":      {champion, broken, true, false},
		"a fallback":          {challenger, fallback, true, false},
		"a late answer":       {challenger, late, false, true},
		"no end":              {challenger, nil, false, true},
		"kept by the cap":     {challenger, kept(rollout.Cap), true, true},
		"kept by the breaker": {challenger, kept(rollout.BreakerOpen), true, true},
		"the caller's cancel": {challenger, cancelled, false, true},
		"a client's fault":    {challenger, clientFault, false, false},
	} {
		s := playing(rollout.ModeCanary, 5000, errorGate(0.02), slowGate)
		o := s.route(c.routing)
		if c.end != nil {
			s.Observe(c.end(o))
		}
		for i, want := range []bool{c.isError, c.isSlow} {
			got := s.counts(i, "")
			if got.Champion+got.Challenger != 1 || got.ChampionBad+got.ChallengerBad != map[bool]int64{true: 1}[want] {
				t.Errorf("%s, gate %d: %+v, want bad: %t", name, i, got, want)
			}
		}
	}
	s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
	hasty := challenger
	hasty.Hasty = true
	s.Observe(broken(s.route(hasty)))
	if got := s.counts(0, ""); got != (rollout.GateCounts{}) {
		t.Errorf("a caller without time counted: %+v", got)
	}
}

func same(o rollout.Outcome) rollout.Outcome { return o }
func late(o rollout.Outcome) rollout.Outcome {
	o.Age = 101 * time.Millisecond
	return o
}
func fallback(o rollout.Outcome) rollout.Outcome {
	o = broken(o)
	o.Diverted = rollout.Fallback
	return o
}
func kept(why rollout.Reason) func(rollout.Outcome) rollout.Outcome {
	return func(o rollout.Outcome) rollout.Outcome { o.Diverted = why; return o }
}
func cancelled(o rollout.Outcome) rollout.Outcome {
	o.Code, o.Blame = rollout.Canceled, rollout.OnCaller
	return o
}
func clientFault(o rollout.Outcome) rollout.Outcome {
	o.Code, o.Blame = rollout.InvalidArgument, rollout.OnCaller
	return o
}

// One key's failures are one, for keys stick to an arm, and so do the failures of some: that
// is for a fail. A pass stands on each key's first request at the step: the good requests
// of those that are left would thin the bad ones out.
func TestAKeyHasOneVote(t *testing.T) {
	s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
	events := func() gate.Cell { return *s.bench.checkpoint.Counts.Steps[s.state.Entered].Cell(gate.Series{}) }
	for range 10 {
		s.Observe(s.route(rollout.Routing{Arm: rollout.Challenger, Key: "a"}))
	}
	for range 10 {
		s.Observe(broken(s.route(rollout.Routing{Arm: rollout.Challenger, Key: "a"})))
	}
	if got, want := s.counts(0, ""), (rollout.GateCounts{Challenger: 1}); got != want {
		t.Errorf("for a pass: %+v, want %+v", got, want)
	}
	if got := events(); got.ChallengerLive != 11 || got.ChallengerBad != 1 {
		t.Errorf("for a fail: %+v, want one failure among 11", got)
	}
	// A bad key keeps its arm at the next step: it is no new failure, but no pass either.
	s.state.Entered, s.state.Weight = 3, 6000
	s.enter(s.state)
	s.Observe(broken(s.route(rollout.Routing{Arm: rollout.Challenger, Key: "a"})))
	s.Observe(broken(s.route(rollout.Routing{Arm: rollout.Champion, Key: "b"})))
	if got, want := s.counts(0, ""), (rollout.GateCounts{Champion: 1, ChampionBad: 1, Challenger: 1, ChallengerBad: 1}); got != want {
		t.Errorf("for a pass at the next step: %+v, want %+v", got, want)
	}
	if got := events(); got.ChallengerLive != 0 || got.ChampionBad != 1 {
		t.Errorf("for a fail at the next step: %+v", got)
	}
}

// Keys that always fail must not vanish behind those that never do: this passed every time.
func TestStickyFailuresDoNotPass(t *testing.T) {
	for _, metric := range []string{"live", "paired"} {
		passed := 0
		for seed := range uint64(5) {
			s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
			if metric == "paired" {
				s = playing(rollout.ModeShadow, 0, errorGate(0.02))
			}
			rng := rand.New(rand.NewPCG(seed, 3))
			for range 30_000 {
				n := rng.IntN(2000)
				r := rollout.Routing{Arm: rollout.Champion, Key: fmt.Sprint(n)}
				if metric == "live" && n%2 == 0 {
					r.Arm = rollout.Challenger
				}
				spoilt := n%1000 < 50 // of the challenger's, one key in twenty
				o := s.route(r)
				switch {
				case metric == "paired":
					s.Observe(o)
					if o = copied(o, nil); spoilt {
						o = broken(o)
					}
					s.Observe(o)
				case spoilt && r.Arm == rollout.Challenger:
					s.Observe(broken(o))
				default:
					s.Observe(o)
				}
			}
			s.now += time.Minute
			if s.judge(s.state, false).Gates[0].Verdict == rollout.Pass {
				passed++
			}
		}
		if passed > 0 {
			t.Errorf("%s: a challenger with 5pp more bad keys passed 2pp in %d of 5 runs", metric, passed)
		}
	}
}

// Keys that are lost to their first failure leave the better arm with more that can fail:
// counted on, a challenger that fails less than half as often was rolled back in one
// rollout of five.
func TestABetterChallengerIsNotWornDown(t *testing.T) {
	for seed := range uint64(15) {
		s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
		rng := rand.New(rand.NewPCG(seed, 5))
		for i := range 15_000 {
			n := rng.IntN(200)
			r, share := rollout.Routing{Arm: rollout.Champion, Key: fmt.Sprint(seed, " ", n)}, 0.2
			if n%2 == 0 {
				r.Arm, share = rollout.Challenger, 0.08
			}
			o := s.route(r)
			if rng.Float64() < share {
				o = broken(o)
			}
			s.Observe(o)
			if s.now += 50 * time.Millisecond; i%20 == 0 {
				if j := s.judge(s.state, false); hasFailed(j) {
					t.Fatalf("seed %d: rolled back after %d requests", seed, i)
				}
			}
		}
	}
}

// Callers who come back show a late regression, though both arms have lost a part of their
// keys by then.
func TestALateRegressionAmongThoseWhoComeBack(t *testing.T) {
	const users, healthy = 2000, 60_000
	caught := 0
	for seed := range uint64(5) {
		s := playing(rollout.ModeCanary, 1000, errorGate(0.02))
		rng := rand.New(rand.NewPCG(seed, 9))
		for i := range 2 * healthy {
			n := rng.IntN(users)
			r, share := rollout.Routing{Arm: rollout.Champion, Key: fmt.Sprint(seed, " ", n)}, 0.01
			if n%10 == 0 {
				r.Arm = rollout.Challenger
				if i > healthy {
					share = 0.15
				}
			}
			o := s.route(r)
			if rng.Float64() < share {
				o = broken(o)
			}
			s.Observe(o)
			if s.now += 50 * time.Millisecond; i%40 == 0 && hasFailed(s.judge(s.state, false)) {
				if i <= healthy {
					t.Fatalf("seed %d: rolled back while healthy, after %d requests", seed, i)
				}
				caught++
				break
			}
		}
	}
	if caught < 4 {
		t.Errorf("caught in %d of 5 rollouts", caught)
	}
}

func TestPairsOfTheRehearsal(t *testing.T) {
	gates := []rollout.Gate{errorGate(0.02),
		{Metric: rollout.Disagreement, Limit: 0.02, Horizon: time.Second, InShadow: true},
		{Metric: rollout.ScoreShift, Output: "p", Limit: 0.1, Range: 1, Horizon: time.Second, InShadow: true},
		{Metric: rollout.Drift, Output: "p", Limit: 0.25, Horizon: time.Second, InShadow: true}}
	s := playing(rollout.ModeShadow, 0, gates...)
	pair := func(agree bool, champion, challenger float64) *rollout.Comparison {
		return &rollout.Comparison{Agree: agree, Outputs: []rollout.OutputComparison{{Output: "p", Kind: rollout.CompareScore, Agree: agree,
			Finding: rollout.DiffersInValues, MaxAbsDiff: challenger - champion, Scores: []rollout.ScorePair{{Champion: champion, Challenger: challenger}}}}}
	}
	play := func(live, mirrored func(rollout.Outcome) rollout.Outcome, c *rollout.Comparison) {
		o := s.route(rollout.Routing{Arm: rollout.Champion})
		s.Observe(live(o))
		if mirrored != nil {
			o.ID = fmt.Sprint("id ", s.key)
			s.Observe(mirrored(copied(o, c)))
		}
	}
	for i := range 10 {
		play(same, same, pair(true, 0.1*float64(i), 0.1*float64(i)))
	}
	play(same, same, pair(false, 0.5, 0.9))
	play(same, same, pair(false, 0.2, 0.9))
	play(same, broken, nil)
	play(broken, same, nil)
	play(broken, broken, nil)
	play(same, nil, nil) // not sampled
	if got, want := s.counts(0, ""), (rollout.GateCounts{Pairs: 15, ChallengerOnly: 1, ChampionOnly: 1, Both: 1}); got != want {
		t.Errorf("errors: %+v, want %+v", got, want)
	}
	if got, want := s.counts(1, ""), (rollout.GateCounts{Pairs: 12, ChallengerOnly: 2}); got != want {
		t.Errorf("disagreement: %+v, want %+v", got, want)
	}
	j := s.judge(s.state, true)
	if r := j.Gates[2]; r.Counts.Pairs != 12 || r.Estimate < 0.09 || r.Estimate > 0.1 {
		t.Errorf("shift: %+v, estimate %v, want 1.1/12", r.Counts, r.Estimate)
	}
	if r := j.Gates[3]; r.Counts.Pairs != 12 || r.Estimate <= 0 {
		t.Errorf("drift: %+v, %v", r.Counts, r.Estimate)
	}
	if len(j.Worst) != 2 || j.Worst[0].ID != "id 12" || j.Worst[1].ID != "id 11" || j.Worst[0].Difference < 0.69 {
		t.Errorf("worst pairs: %+v", j.Worst)
	}
}

// The champion's own noise is asked for on some pairs; only those count for the excess.
func TestTheChampionsOwnNoise(t *testing.T) {
	s := playing(rollout.ModeShadow, 0, rollout.Gate{Metric: rollout.ExcessDisagreement, Margin: 0.02, Horizon: time.Second, InShadow: true, MinRequests: 1})
	for i := range 80 {
		o := s.route(rollout.Routing{Arm: rollout.Champion})
		s.Observe(o)
		s.Observe(copied(o, &rollout.Comparison{Agree: i%2 == 0}))
		again := rollout.Outcome{Arm: rollout.Champion, Mirrored: true, Stamp: o.Stamp, Age: 20 * time.Millisecond, Comparison: &rollout.Comparison{Agree: i%4 < 2}}
		switch {
		case i < 40:
			s.Observe(again)
		case i == 40:
			again.Age = 2 * time.Second // too late
			s.Observe(again)
		}
	}
	if got, want := s.counts(0, ""), (rollout.GateCounts{Pairs: 40, ChallengerOnly: 10, ChampionOnly: 10, Both: 10}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if f := s.Figures(); f.Mirror.Sent != 80 || f.Mirror.Compared != 80 || f.Champion.Requests != 80 {
		t.Errorf("the second question counts among the figures: %+v", f)
	}
}

// Latency at the beginning of a step is shown, and not judged; errors are.
func TestWarmUpKeepsLatencyApart(t *testing.T) {
	slowGate := rollout.Gate{Metric: rollout.SlowRate, Margin: 0.02, SlowerThan: 100 * time.Millisecond, Horizon: 100 * time.Millisecond, InCanary: true}
	s := playing(rollout.ModeCanary, 5000, errorGate(0.02), slowGate)
	s.state.Rules.WarmUp = time.Minute
	s.Evidence = NewEvidence(s.state, func() time.Duration { return s.now }, nil)
	for _, at := range []time.Duration{0, 59 * time.Second, 61 * time.Second} {
		s.now = at
		s.Observe(late(s.route(rollout.Routing{Arm: rollout.Challenger})))
	}
	if got, want := s.counts(1, ""), (rollout.GateCounts{Challenger: 1, ChallengerBad: 1}); got != want {
		t.Errorf("slow: %+v, want %+v", got, want)
	}
	if got := s.counts(0, ""); got.Challenger != 3 {
		t.Errorf("errors: %+v", got)
	}
	if why := s.judge(s.state, true).Gates[1].Why; !strings.Contains(why, "kept apart in the first 1m: 2 of the challenger's 2") {
		t.Errorf("not shown: %s", why)
	}
}
