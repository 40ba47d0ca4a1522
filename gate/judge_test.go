package gate

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// judged returns the judgement on a first look at these counts.
func judged(s rollout.State, cells map[Series]Cell) rollout.Judgement {
	var c Checkpoint
	c.Absorb(s, many(s, cells), time.Minute)
	return c.Judge(s, true)
}

func TestVerdicts(t *testing.T) {
	gates := everyGate()
	relative, absolute, tail, disagreement, moved, drifting := gates[0], gates[1], gates[2], gates[3], gates[4], gates[5]
	relative.Margin = 0.5
	live := func(bad int64) Cell {
		return Cell{ChampionLive: 50_000, ChampionBad: 500, ChallengerLive: 50_000, ChallengerBad: bad}
	}
	const pass, fail, open = rollout.Pass, rollout.Fail, rollout.Inconclusive
	for _, c := range []struct {
		gate rollout.Gate
		mode rollout.Mode
		cell Cell
		want rollout.Verdict
	}{
		{relative, rollout.ModeCanary, live(500), pass},
		{relative, rollout.ModeCanary, live(740), open},
		{relative, rollout.ModeCanary, live(1500), fail},
		{relative, rollout.ModeShadow, compared(10_000, 100, 100, 100, 0), pass},
		{relative, rollout.ModeShadow, compared(10_000, 150, 20, 200, 0), open},
		{relative, rollout.ModeShadow, compared(10_000, 900, 20, 200, 0), fail},
		{absolute, rollout.ModeCanary, live(500), pass},
		{absolute, rollout.ModeCanary, live(740), open},
		{absolute, rollout.ModeCanary, live(1500), fail},
		{absolute, rollout.ModeShadow, compared(10_000, 20, 20, 900, 0), pass},
		{absolute, rollout.ModeShadow, compared(10_000, 60, 10, 0, 0), open},
		{absolute, rollout.ModeShadow, compared(10_000, 400, 10, 0, 0), fail},
		{tail, rollout.ModeCanary, live(250), pass},
		{tail, rollout.ModeCanary, live(500), open},
		{tail, rollout.ModeCanary, live(800), fail},
		{disagreement, rollout.ModeShadow, compared(10_000, 100, 0, 0, 0), pass},
		{disagreement, rollout.ModeCanary, compared(10_000, 200, 0, 0, 0), open},
		{disagreement, rollout.ModeCanary, compared(10_000, 400, 0, 0, 0), fail},
		{moved, rollout.ModeShadow, compared(10_000, 0, 0, 0, -0.01), pass},
		{moved, rollout.ModeShadow, compared(10_000, 0, 0, 0, 0.05), open},
		{moved, rollout.ModeCanary, compared(10_000, 0, 0, 0, 0.1), fail},
		{moved, rollout.ModeCanary, compared(10_000, 0, 0, 0, -0.1), fail},
		{drifting, rollout.ModeShadow, compared(10_000, 0, 0, 0, 0.01), pass},
		{drifting, rollout.ModeShadow, compared(150, 0, 0, 0, 0.1), open},
		{drifting, rollout.ModeShadow, compared(10_000, 0, 0, 0, 0.3), fail},
	} {
		c.gate.Share = 1
		s := contest(c.mode, c.gate)
		s.Weight = 5000
		r := judged(s, map[Series]Cell{{}: c.cell}).Gates[0]
		if r.Verdict != c.want || !r.Applies {
			t.Errorf("%s in %s: %s, want %s: %s (ln E %v and %v)", c.gate.Name(), c.mode, r.Verdict, c.want, r.Why, r.LogFail, r.LogPass)
		}
		c.gate.MinRequests = 1_000_000
		s.Rules.Gates[0] = c.gate
		if r := judged(s, map[Series]Cell{{}: c.cell}).Gates[0]; r.Verdict == pass {
			t.Errorf("%s passes before its minRequests", c.gate.Name())
		}
	}
}

// bad is a cell that fails, good one that passes a margin of points.
var (
	bad  = Cell{ChampionLive: 9_000, ChampionBad: 9, ChallengerLive: 1_000, ChallengerBad: 200}
	good = Cell{ChampionLive: 90_000, ChampionBad: 90, ChallengerLive: 10_000, ChallengerBad: 10}
)

func points() rollout.Gate {
	g := everyGate()[1]
	g.Share = 1
	return g
}

func TestADryRunHasNoEffect(t *testing.T) {
	g := points()
	g.DryRun, g.Share = true, 0
	for _, cell := range []Cell{bad, {ChampionLive: 9, ChallengerLive: 1}} {
		j := judged(contest(rollout.ModeCanary, g), map[Series]Cell{{}: cell})
		if _, decides := j.Decisive(); decides || len(j.Holding()) > 0 || j.LogEvidence != 0 {
			t.Errorf("it has one: %+v", j)
		}
	}
	if j := judged(contest(rollout.ModeCanary, g), map[Series]Cell{{}: bad}); j.Gates[0].Verdict != rollout.Fail {
		t.Errorf("and tells nothing: %+v", j)
	}
}

func TestAGateThatHolds(t *testing.T) {
	g := everyGate()[5]
	g.OnFail = rollout.Hold
	j := judged(contest(rollout.ModeShadow, g), map[Series]Cell{{}: compared(10_000, 0, 0, 0, 0.4)})
	if _, decides := j.Decisive(); decides || len(j.Holding()) != 1 || j.Gates[0].Verdict != rollout.Fail || j.LogEvidence != 0 {
		t.Errorf("drift does not hold: %+v", j)
	}
}

// All series that there may be share one budget.
func TestTheBudget(t *testing.T) {
	for _, sources := range [][]string{nil, {"parameter:region"}, {"parameter:region", "header:tier"}} {
		s := contest(rollout.ModeCanary, everyGate()...)
		s.Rules.Segments, s.Rules.MaxCohorts = sources, 3
		cells, cohorts := map[Series]Cell{}, len(sources)*(s.Rules.MaxCohorts+1)
		for i := range s.Rules.Gates {
			cells[Series{Gate: i}] = good
			for k := range cohorts {
				cells[Series{i, string(rune('a'+k)) + "=1"}] = good
			}
		}
		var sum float64
		j := judged(s, cells)
		for _, r := range j.Gates {
			sum += r.Prior
		}
		if len(j.Gates) != 6*(1+cohorts) || sum > 1+1e-12 || sum < 1-1e-9 {
			t.Errorf("%d series spend %v of the budget", len(j.Gates), sum)
		}
	}
}

func TestGatesFailTogether(t *testing.T) {
	s := contest(rollout.ModeCanary, everyGate()[0], everyGate()[1])
	s.Rules.Gates[0].Share, s.Rules.Gates[1].Share = 0.5, 0.5
	c := together(s)
	j := c.Judge(s, true)
	level := math.Log(1 / s.Rules.Alpha)
	for _, r := range j.Gates {
		if math.Log(r.Prior)+r.LogFail >= level {
			t.Fatalf("%s fails alone", r.Gate.Name())
		}
	}
	if r, ok := j.Decisive(); !ok || r.Gate.Name() != "error-rate" || j.LogEvidence < level {
		t.Errorf("the one with most evidence is not named: %+v", j)
	}
	c.Series[Series{Gate: 1}].LogE -= 1
	if r, ok := c.Judge(s, true).Decisive(); ok {
		t.Errorf("less is enough: %+v", r)
	}
}

func TestCohorts(t *testing.T) {
	s := contest(rollout.ModeCanary, points())
	s.Rules.Segments, s.Rules.MaxCohorts = []string{"parameter:region"}, 4
	few := Cell{ChampionLive: 9, ChallengerLive: 1}
	j := judged(s, map[Series]Cell{{}: good, {0, "region=eu"}: bad, {0, "region=us"}: few})
	if r, ok := j.Decisive(); !ok || r.Segment != "region=eu" || j.Gates[1].Segment != r.Segment || j.Gates[0].Verdict != rollout.Pass {
		t.Errorf("the worst cohort has no veto: %+v", j.Gates)
	}
	if j := judged(s, map[Series]Cell{{}: good, {0, "region=us"}: few}); len(j.Holding()) != 0 || j.Gates[1].Applies {
		t.Errorf("a cohort of ten requests holds: %+v", j.Holding())
	}
	some := Cell{ChampionLive: 900, ChampionBad: 5, ChallengerLive: 100}
	if j := judged(s, map[Series]Cell{{}: good, {0, "region=us"}: some}); len(j.Holding()) != 1 {
		t.Errorf("a cohort of a thousand requests does not hold: %+v", j)
	}
}

func TestABrokenSplitIsBrokenForGood(t *testing.T) {
	s := contest(rollout.ModeCanary, points())
	var c Checkpoint
	delta := one(s, good)
	delta.Keys = map[rollout.Weight]Fall{1000: {Champion: 1000, Challenger: 300}}
	c.Absorb(s, delta, time.Second)
	delta = one(s, bad)
	delta.Keys = map[rollout.Weight]Fall{1000: {Champion: 1700, Challenger: 0}} // as if all was well
	c.Absorb(s, delta, time.Second)
	j := c.Judge(s, true)
	if _, decides := j.Decisive(); decides || !j.Split.Void || j.Split.LogEvidence > math.Log(voidAt) || len(j.Holding()) != 1 || j.Gates[0].Missing != -1 {
		t.Errorf("%+v", j)
	}
}

func TestManyBadKeysHold(t *testing.T) {
	s := contest(rollout.ModeCanary, points())
	var c Checkpoint
	c.Absorb(s, one(s, good), time.Second)
	if len(c.Judge(s, true).Holding()) != 0 {
		t.Fatal("it holds anyhow")
	}
	c.Bad = []Keys{{size: keyBits / 2}}
	if h := c.Judge(s, true).Holding(); len(h) != 1 || h[0].Missing != -1 || !strings.Contains(h[0].Why, "too many keys") {
		t.Errorf("%+v", h)
	}
	c.Absorb(s, one(s, bad), time.Second)
	if _, ok := c.Judge(s, true).Decisive(); !ok {
		t.Error("a full set keeps a gate from failing")
	}
}

// What a forecast says is missing is what a pass takes, to the request.
func TestForecasts(t *testing.T) {
	gates := everyGate()
	gates[0].Margin = 1
	for _, c := range []struct {
		gate int
		cell Cell
	}{
		{0, Cell{ChampionLive: 9000, ChampionBad: 90, ChallengerLive: 1000, ChallengerBad: 10}},
		{1, Cell{ChampionLive: 900, ChampionBad: 1, ChallengerLive: 100}},
		{1, Cell{ChampionLive: 9, ChallengerLive: 1}},
		{3, compared(400, 4, 0, 0, 0)},
		{4, compared(50, 0, 0, 0, 0.02)},
		{5, compared(30, 0, 0, 0, 0)},
	} {
		s := contest(rollout.ModeCanary, gates[c.gate])
		r := judged(s, map[Series]Cell{{}: c.cell}).Gates[0]
		m, at, n := of(r.Gate), placeOf(r.Gate, &Step{Mode: s.Mode, Weight: s.Weight}), c.cell.Pairs+c.cell.live()
		passes := func(more int64) bool {
			grown := c.cell.times(1 + float64(more)/float64(n))
			return n+more >= r.Gate.MinRequests && m.pass(at, &grown) >= math.Log(100)
		}
		if r.Verdict != rollout.Inconclusive || !passes(r.Missing) || passes(r.Missing-1) {
			t.Errorf("%s: %d of %d are missing: %s", r.Gate.Name(), r.Missing, n, r.Why)
		}
		if want := time.Duration(float64(r.Missing) / float64(n) * float64(time.Minute)); (r.Expected - want).Abs() > time.Millisecond {
			t.Errorf("%s: expected in %s, want %s", r.Gate.Name(), r.Expected, want)
		}
	}
	for i, cell := range map[int]Cell{0: bad, 1: bad, 3: compared(100, 5, 0, 0, 0), 4: compared(100, 0, 0, 0, 0.06), 5: compared(99, 0, 0, 0, 0.5)} {
		if r := judged(contest(rollout.ModeCanary, gates[i]), map[Series]Cell{{}: cell}).Gates[0]; r.Missing != -1 {
			t.Errorf("%s: a pass is in sight, %d away: %s", r.Gate.Name(), r.Missing, r.Why)
		}
	}
}

// A step is judged by its own counts; what the rehearsal left stays to be seen.
func TestStepsAreJudgedApart(t *testing.T) {
	s := contest(rollout.ModeShadow, points())
	var c Checkpoint
	c.Absorb(s, one(s, compared(10_000, 5, 5, 0, 0)), time.Second)
	if j := c.Judge(s, false); j.Entered != 1 || len(j.Holding()) != 0 || j.Shadow != nil || j.Gates[0].High >= j.Gates[0].Low {
		t.Errorf("the rehearsal: %+v", j)
	}
	s.Mode, s.Weight, s.Entered = rollout.ModeCanary, 1000, 2
	j := c.Judge(s, true)
	if j.Entered != 2 || len(j.Holding()) != 1 || j.Gates[0].Counts.Pairs != 0 {
		t.Errorf("a new step begins with %+v", j.Gates)
	}
	if len(j.Shadow) != 1 || j.Shadow[0].Verdict != rollout.Pass || j.Shadow[0].Counts.Pairs != 10_000 {
		t.Errorf("the rehearsal left %+v", j.Shadow)
	}
	c.Absorb(s, one(s, bad), time.Second)
	if j := c.Judge(s, true); j.Gates[0].Verdict != rollout.Fail || j.Shadow[0].Verdict != rollout.Pass {
		t.Errorf("later: %+v, of the rehearsal %+v", j.Gates, j.Shadow)
	}
	s.Rules.Gates = nil
	if j := c.Judge(s, true); j.Gates != nil || j.Entered != 2 {
		t.Errorf("without gates: %+v", j)
	}
}

func TestNothingIsComparedWithOneArmAlone(t *testing.T) {
	s := contest(rollout.ModeCanary, points())
	s.Weight = rollout.FullWeight
	if j := judged(s, map[Series]Cell{{}: {ChallengerLive: 9}}); j.Gates[0].Applies || len(j.Holding()) != 0 || j.LogEvidence != 0 {
		t.Errorf("%+v", j)
	}
}

// Once promoted, what the last step's gates said is still there to be read.
func TestAPromotedRolloutTellsOfItsLastStep(t *testing.T) {
	c := Checkpoint{Counts: Counts{Steps: map[uint64]*Step{
		2: {Index: 0, Mode: rollout.ModeShadow, Cells: map[Series]*Cell{{}: {Pairs: 900}}},
		3: {Index: 2, Mode: rollout.ModeCanary, Weight: 5000, Cells: map[Series]*Cell{{}: {ChampionLive: 900, ChallengerLive: 900}}},
	}}}
	s := rollout.State{Entered: 4, Mode: rollout.ModePromoted, Weight: rollout.FullWeight, Step: 3,
		Rules: rollout.Rules{Alpha: 0.01, Gates: []rollout.Gate{{Metric: rollout.ErrorRate, Margin: 0.05, Share: 1, InShadow: true, InCanary: true, OnFail: rollout.RollBack}}}}
	j := c.Judge(s, true)
	if r := j.Gates[0]; r.Verdict != rollout.Pass || r.Counts.Challenger != 900 || j.Entered != 4 || len(j.Shadow) != 1 {
		t.Errorf("%+v", j)
	}
}
