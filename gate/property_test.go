package gate

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

func sum(counts ...Counts) (all Counts) {
	for _, c := range counts {
		all.Add(c)
	}
	return all
}

func TestCountsAddUp(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	for range 8 {
		a, b, c := someCounts(random), someCounts(random), someCounts(random)
		b.Steps[1].Slow = 0 // it began before the champion's p99 was known
		same := func(law string, x, y Counts) {
			if !bytes.Equal(written(t, x), written(t, y)) {
				t.Fatal(law)
			}
		}
		before := written(t, b)
		same("a+b is not b+a", sum(a, b), sum(b, a))
		same("(a+b)+c is not a+(b+c)", sum(sum(a, b), c), sum(a, sum(b, c)))
		same("a+0 is not a", sum(a, Counts{}), a)
		same("0+a is not a", sum(Counts{}, a), a)
		ab := sum(b, a)
		ab.Add(c)
		if !bytes.Equal(before, written(t, b)) {
			t.Fatal("a sum shares memory with its parts")
		}
	}
}

func TestEvidenceDoesNotHangOnPortions(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 14))
	state := contest(rollout.ModeCanary, everyGate()...)
	for range 8 {
		portions := []Counts{someCounts(random), someCounts(random), someCounts(random), someCounts(random)}
		var lump, bits, replicas Checkpoint
		lump.Absorb(state, sum(portions...), 0)
		for _, p := range portions {
			bits.Absorb(state, p, 0)
		}
		replicas.Absorb(state, sum(portions[3], portions[1]), 0)
		replicas.Absorb(state, sum(portions[0], portions[2]), 0)
		for k, p := range lump.Series {
			for _, other := range []float64{bits.Series[k].logE(), replicas.Series[k].logE()} {
				if !near(other, p.logE(), 1e-9) {
					t.Errorf("series %v: ln E %v in one lump, %v in portions", k, p.logE(), other)
				}
			}
		}
		if !bytes.Equal(written(t, lump.Counts), written(t, bits.Counts)) {
			t.Error("counts hang on portions")
		}
	}
}

func TestAJudgementIsTheSameEachTime(t *testing.T) {
	state := contest(rollout.ModeCanary, everyGate()...)
	judge := func() rollout.Judgement {
		random := rand.New(rand.NewPCG(15, 16))
		var c Checkpoint
		for range 5 {
			delta := someCounts(random)
			delta.Keys[500], delta.Keys[2500] = Fall{951, 49}, Fall{740, 260}
			c.Absorb(state, delta, 1100*time.Millisecond)
		}
		return c.Judge(state, true)
	}
	first := judge()
	for range 10 {
		if again := judge(); !reflect.DeepEqual(again, first) {
			t.Fatalf("first\n%+v\nthen\n%+v", first, again)
		}
	}
}

func TestSharesReturnBySeconds(t *testing.T) {
	var once, often Mixture
	win := ratio{}.gains(place{w: 0.1}, &Cell{ChallengerBad: 9, ChampionBad: 1})
	once.grow(win)
	often.grow(win)
	once.share(time.Minute)
	for range 60 {
		often.share(time.Second)
	}
	for i := range once.Shares {
		if !near(once.Shares[i], often.Shares[i], 1e-12) {
			t.Errorf("bet %d has %v of the wealth after a minute, %v after 60 seconds", i, once.Shares[i], often.Shares[i])
		}
	}
	if math.Abs(total(once.Shares)-1) > 1e-12 || once.LogE != often.LogE {
		t.Errorf("wealth is made by sharing: %+v", once)
	}
}

// One more bad request of the challenger never weakens a fail or helps a pass; one of the
// champion does neither the other way.
func TestOneMoreBadRequest(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 18))
	for range 200 {
		c := someCell(random)
		at, margin := place{paired: random.IntN(2) == 0, w: 0.01 + 0.98*random.Float64()}, random.Float64()
		more, less := c, c
		more.ChallengerBad++
		more.ChallengerOnly++
		less.ChampionBad++
		less.ChampionOnly++
		methods := []method{ratio{margin}, difference{margin}}
		if at.paired {
			less.ChampionOnly-- // limit knows no other arm
			methods = []method{ratio{margin}, difference{margin}, limit{margin}}
		}
		for _, m := range methods {
			fail := func(c *Cell) float64 {
				if l, ok := m.(limit); ok {
					return l.above(rateOf(c))
				}
				return wealth(m, at, c)
			}
			const slack = 1e-9
			if fail(&more) < fail(&c)-slack || m.pass(at, &more) > m.pass(at, &c)+slack {
				t.Errorf("%T%v at %v: one more bad request of the challenger helps it: %+v", m, m, at, c)
			}
			if fail(&less) > fail(&c)+slack || m.pass(at, &less) < m.pass(at, &c)-slack {
				t.Errorf("%T%v at %v: one more bad request of the champion harms the challenger: %+v", m, m, at, c)
			}
		}
	}
}

// The ends of an interval are where the evidence crosses 2/α, seen by looking everywhere.
func TestIntervalsByBruteForce(t *testing.T) {
	random := rand.New(rand.NewPCG(19, 20))
	const alpha = 0.05
	level := math.Log(2 / alpha)
	for range 12 {
		c := someCell(random)
		c.ChampionLive, c.ChallengerLive = 1750+random.Int64N(100), 200
		c.ChampionBad, c.ChallengerBad = 1+random.Int64N(90), 1+random.Int64N(20)
		n, moments, squares := c.Shift.of(1)
		live, pairs := place{w: 0.1}, place{paired: true}
		for _, x := range []struct {
			m        method
			at       place
			from, to float64
			// worse and better are the evidence that the truth is above and below v.
			worse, better func(v float64) float64
		}{
			{ratio{}, live, 0.05, 20, func(v float64) float64 { return ratio{v - 1}.mean(live, &c, worseRisks) }, func(v float64) float64 { return ratio{v - 1}.pass(live, &c) }},
			{ratio{}, pairs, 0.05, 20, func(v float64) float64 { return ratio{v - 1}.mean(pairs, &c, worseRisks) }, func(v float64) float64 { return ratio{v - 1}.pass(pairs, &c) }},
			{difference{}, live, -0.99, 0.99, stakes(difference{}.payoff(live, &c).above), func(v float64) float64 { return difference{v}.pass(live, &c) }},
			{difference{}, pairs, -0.99, 0.99, stakes(difference{}.payoff(pairs, &c).above), func(v float64) float64 { return difference{v}.pass(pairs, &c) }},
			{shift{bound: 1}, live, -0.98, 0.98, func(v float64) float64 {
				return meanOver(shiftBets, func(l float64) float64 { return shift{bound: 1}.above(l, n, moments, squares, v) })
			}, func(v float64) float64 {
				return meanOver(shiftBets, func(l float64) float64 { return shift{bound: 1}.above(l, n, -moments, squares, -v) })
			}},
		} {
			is, low, high := x.m.estimate(x.at, &c, alpha)
			if low > high {
				continue // nothing bad on one side
			}
			if is < low || is > high {
				t.Errorf("%T: %v is not in %v to %v", x.m, is, low, high)
			}
			const steps = 2000
			for i := range steps + 1 {
				v := x.from + (x.to-x.from)*float64(i)/steps
				if math.Abs(v-low) < 1e-6 || math.Abs(v-high) < 1e-6 {
					continue
				}
				if refuted, inside := x.worse(v) >= level || x.better(v) >= level, low < v && v < high; refuted == inside {
					t.Errorf("%T %v: %v to %v, but at %v ln E is %v and %v", x.m, x.at, low, high, v, x.worse(v), x.better(v))
					break
				}
			}
		}
	}
}

func stakes(above func(g, m float64) float64) func(m float64) float64 {
	return func(m float64) float64 {
		return meanOver(strengths, func(g float64) float64 { return above(g, m) })
	}
}

// No counts make a number that is none, however many, however one-sided, at any weight.
func TestJudgementsAreNumbers(t *testing.T) {
	const huge = 1_000_000_000_000
	values := []int64{0, 1, 1000, huge}
	for _, mode := range []rollout.Mode{rollout.ModeShadow, rollout.ModeCanary} {
		for _, w := range []rollout.Weight{0, 1, 5000, rollout.FullWeight - 1, rollout.FullWeight} {
			state := contest(mode, everyGate()...)
			state.Weight = w
			for _, champion := range values {
				for _, challenger := range values {
					for _, bad := range []int64{0, 1, huge} {
						cell := Cell{ChampionLive: champion, ChallengerLive: challenger, ChampionBad: min(bad, champion), ChallengerBad: min(huge-bad, challenger),
							Pairs: challenger, ChallengerOnly: min(bad, challenger), Both: challenger - min(bad, challenger)}
						cell.Shift = Moments{N: min(challenger, 1<<32), Sum: min(bad, 1<<32) * min(challenger, 1<<32) / (1 << 32)}
						cell.Scores.Observe(1e300, -1e-300)
						delta := many(state, map[Series]Cell{{0, ""}: cell, {1, ""}: cell, {2, ""}: cell, {3, ""}: cell, {4, ""}: cell, {5, ""}: cell})
						delta.Keys = map[rollout.Weight]Fall{w: {champion, challenger}}
						var c Checkpoint
						c.Absorb(state, delta, time.Hour)
						c.Absorb(state, delta, time.Nanosecond)
						allFinite(t, c.Judge(state, true))
						written(t, &c)
					}
				}
			}
		}
	}
}
