package gate

import (
	"math"
	"testing"
)

// outcome is what can come of one request, with its probability.
type outcome struct {
	chance float64
	cell   Cell
}

// fair fails where a bet wins on average, or can lose all.
func fair(t *testing.T, what string, outcomes []outcome, gain func(*Cell) float64) {
	t.Helper()
	var mean float64
	for _, o := range outcomes {
		factor := math.Exp(gain(&o.cell))
		if !(factor > 0) || math.IsInf(factor, 0) {
			t.Errorf("%s: wealth times %v at %+v", what, factor, o.cell)
		}
		mean += o.chance * factor
	}
	if mean > 1+1e-12 {
		t.Errorf("%s wins %v on average", what, mean)
	}
}

// each tests all bets of a method against the challenger.
func each(t *testing.T, what string, outcomes []outcome, m method, at place) {
	t.Helper()
	for i := range m.gains(at, &outcomes[0].cell) {
		fair(t, what, outcomes, func(c *Cell) float64 { return m.gains(at, c)[i] })
	}
}

// lives are the outcomes of a live request where the arms fail at these rates.
func lives(w, champion, challenger float64) []outcome {
	return []outcome{
		{w * challenger, Cell{ChallengerLive: 1, ChallengerBad: 1}},
		{w * (1 - challenger), Cell{ChallengerLive: 1}},
		{(1 - w) * champion, Cell{ChampionLive: 1, ChampionBad: 1}},
		{(1 - w) * (1 - champion), Cell{ChampionLive: 1}},
	}
}

func paired(challengerOnly, championOnly, both float64) []outcome {
	return []outcome{
		{challengerOnly, Cell{Pairs: 1, ChallengerOnly: 1}},
		{championOnly, Cell{Pairs: 1, ChampionOnly: 1}},
		{both, Cell{Pairs: 1, Both: 1}},
		{1 - challengerOnly - championOnly - both, Cell{Pairs: 1}},
	}
}

var (
	someShares  = []float64{0.0001, 0.01, 0.3, 0.5, 0.9999}
	someMargins = []float64{1e-6, 0.01, 0.1, 0.9}
	someRates   = []float64{0, 0.001, 0.05, 0.3}
)

// Whatever the truth, a bet against it wins nothing on average: that is all that the
// promise of a test at any time rests on. Just at the margin both sides are true.
func TestBetsOnRatesAreFair(t *testing.T) {
	for _, w := range someShares {
		for _, m := range someMargins {
			for _, rate := range someRates {
				at, r, d := place{w: w}, ratio{m}, difference{m}
				edge := lives(w, rate, rate*(1+m))
				each(t, "fail by ratio", edge, r, at)
				each(t, "fail by ratio", lives(w, rate, rate/2), r, at)
				for _, risk := range betterRisks {
					fair(t, "pass by ratio", edge, func(c *Cell) float64 { return r.win(at, c, risk) })
					fair(t, "pass by ratio", lives(w, rate, rate*(1+m)*1.5), func(c *Cell) float64 { return r.win(at, c, risk) })
				}
				if rate+m > 1 {
					continue
				}
				edge = lives(w, rate, rate+m)
				each(t, "fail by difference", edge, d, at)
				each(t, "fail by difference", lives(w, rate, rate/2), d, at)
				for _, g := range strengths {
					pass := func(c *Cell) float64 { return d.payoff(at, c).below(g, m) }
					fair(t, "pass by difference", edge, pass)
					fair(t, "pass by difference", lives(w, rate, (1+rate+m)/2), pass)
				}
			}
		}
	}
}

func TestBetsOnPairsAreFair(t *testing.T) {
	at := place{paired: true}
	for _, m := range someMargins {
		for _, championOnly := range someRates {
			for _, both := range someRates {
				r, d := ratio{m}, difference{m}
				// The challenger's rate is both + its own, the champion's both + championOnly.
				if own := championOnly*(1+m) + m*both; own+championOnly+both <= 1 {
					edge := paired(own, championOnly, both)
					each(t, "fail by ratio of pairs", edge, r, at)
					for _, risk := range betterRisks {
						fair(t, "pass by ratio of pairs", edge, func(c *Cell) float64 { return r.win(at, c, risk) })
					}
				}
				if own := championOnly + m; own+championOnly+both <= 1 {
					edge := paired(own, championOnly, both)
					each(t, "fail by difference of pairs", edge, d, at)
					for _, g := range strengths {
						fair(t, "pass by difference of pairs", edge, func(c *Cell) float64 { return d.payoff(at, c).below(g, m) })
					}
				}
			}
		}
	}
}

// Differences have the mean m that is bet against: of two values, one on each side of it.
func TestBetsOnShiftsAreFair(t *testing.T) {
	s := shift{bound: 2}
	parts := []float64{1, 0.5, 0.01} // of the way to the bound
	for _, m := range []float64{0.9, 0.001, 0, -0.001, -0.9} {
		for _, down := range parts {
			for _, up := range parts {
				low, high := m-down*(s.bound+m), m+up*(s.bound-m)
				for _, l := range shiftBets {
					factor := func(d float64) float64 { return math.Exp(s.above(l, 1, d, d*d, m)) }
					mean := ((high-m)*factor(low) + (m-low)*factor(high)) / (high - low)
					if !(mean <= 1+1e-12) || !(factor(low) > 0) {
						t.Errorf("the bet %v on a mean over %v wins %v of %v and %v", l, m, mean, low, high)
					}
				}
			}
		}
	}
}

// Mixtures have no single bets: their wealth after one more is on average what it was.
func TestMixturesAreFair(t *testing.T) {
	for _, n := range []struct{ bad, good float64 }{{0, 0}, {0, 10}, {7, 0}, {3, 90}, {2000, 98_000}} {
		for _, p := range []float64{0.001, 0.02, 0.4} {
			l := limit{p}
			for name, log := range map[string]func(bad, good float64) float64{
				"above": l.above, "below": l.below,
				"mismatch": func(bad, good float64) float64 {
					return mismatch(Fall{Challenger: int64(bad), Champion: int64(good)}, p)
				},
			} {
				now := log(n.bad, n.good)
				if next := p*math.Exp(log(n.bad+1, n.good)-now) + (1-p)*math.Exp(log(n.bad, n.good+1)-now); math.Abs(next-1) > 1e-8 {
					t.Errorf("%s %v after %v: wealth times %v", name, p, n, next)
				}
			}
		}
	}
}
