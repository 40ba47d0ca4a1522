package gate

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// near tells whether got is want but for a part of 1 + |want|.
func near(got, want, part float64) bool {
	return math.Abs(got-want) <= part*(1+math.Abs(want)) || got == want
}

// contest returns a rollout at its first step, which the revision 1 entered.
func contest(mode rollout.Mode, gates ...rollout.Gate) rollout.State {
	s := rollout.State{Mode: mode, Entered: 1, Rules: rollout.Rules{Alpha: 0.01, Gates: gates}, Plan: rollout.Plan{{Kind: rollout.StepPause}}}
	if mode == rollout.ModeCanary {
		s.Weight = 1000
	}
	return s
}

// one returns what was counted of a gate at the step of s.
func one(s rollout.State, c Cell) Counts { return many(s, map[Series]Cell{{}: c}) }

func many(s rollout.State, cells map[Series]Cell) (out Counts) {
	step := out.Step(s.Entered, Step{Index: s.PlanIndex(), Mode: s.Mode, Weight: s.Weight, Slow: 120 * time.Millisecond})
	for k, c := range cells {
		step.Cell(k).Add(c)
	}
	return out
}

// everyGate returns a gate of each kind, in this order: relative, absolute, of the tail,
// disagreement, shift, drift.
func everyGate() []rollout.Gate {
	gates := []rollout.Gate{
		{Metric: rollout.ErrorRate, Margin: 0.1, Relative: true},
		{Metric: rollout.SlowRate, Margin: 0.005, SlowerThan: 150 * time.Millisecond},
		{Metric: rollout.TailLatency, Margin: 0.25, Relative: true},
		{Metric: rollout.Disagreement, Limit: 0.02},
		{Metric: rollout.ScoreShift, Output: "score", Limit: 0.05, Range: 1},
		{Metric: rollout.Drift, Output: "score", Limit: 0.25},
	}
	for i := range gates {
		g := &gates[i]
		g.InShadow, g.InCanary, g.OnFail, g.MinRequests = true, true, rollout.RollBack, 100
		g.Share = 1 / float64(len(gates))
	}
	return gates
}

// someCounts returns counts of each of everyGate, for all requests and for a cohort.
func someCounts(random *rand.Rand) Counts {
	s := contest(rollout.ModeCanary)
	cells := map[Series]Cell{}
	for i := range everyGate() {
		cells[Series{Gate: i}], cells[Series{i, "region=eu"}] = someCell(random), someCell(random)
	}
	c := many(s, cells)
	c.Keys = map[rollout.Weight]Fall{s.Weight: {random.Int64N(900), random.Int64N(100)}}
	c.Missing = map[rollout.Weight]Fall{s.Weight: {random.Int64N(9), random.Int64N(3)}}
	return c
}

func someCell(random *rand.Rand) (c Cell) {
	upTo := func(n int64) int64 { return random.Int64N(n + 1) }
	c.ChampionLive, c.ChallengerLive, c.Pairs = upTo(2000), upTo(200), upTo(1000)
	c.ChampionBad, c.ChallengerBad = upTo(c.ChampionLive/20), upTo(c.ChallengerLive/20)
	c.ChallengerOnly, c.ChampionOnly, c.Both = upTo(c.Pairs/20), upTo(c.Pairs/20), upTo(c.Pairs/20)
	for range 30 {
		champion := random.Float64()
		challenger := champion + 0.1*random.NormFloat64()
		c.Shift.Observe(challenger-champion, 1)
		c.Scores.Observe(champion, challenger)
	}
	return c
}

// allFinite tells of numbers in a judgement that JSON could not write.
func allFinite(t *testing.T, j rollout.Judgement) {
	t.Helper()
	if _, err := json.Marshal(j); err != nil {
		t.Errorf("%v: %+v", err, j)
	}
}
