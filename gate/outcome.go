package gate

import (
	"math"

	"github.com/understudy-serving/understudy/rollout"
)

// reported is the method of a gate on a reported outcome. Where more of it is better, the
// arms change places: the challenger is no worse where the champion has no more than the
// margin allows.
func reported(g rollout.Gate) method {
	switch {
	case g.Mean:
		return mean{margin: g.Margin, from: g.From, width: g.To - g.From, fewer: g.Fewer}
	case g.Relative && g.Fewer:
		return ratio{g.Margin}
	case g.Fewer:
		return difference{g.Margin}
	case g.Relative: // at least (1−m) of the champion's is at most 1/(1−m) of the challenger's
		return turned{ratio{g.Margin / (1 - g.Margin)}, func(v float64) float64 { return min(1/v, openEnd) }}
	}
	return turned{difference{g.Margin}, func(v float64) float64 { return -v }}
}

// openEnd stands for no upper bound of a ratio.
const openEnd = 8103

// turned is a method with the arms in each other's place. back turns its estimate round.
type turned struct {
	of   method
	back func(float64) float64
}

func (t turned) turn(at place, c *Cell) (place, *Cell) {
	at.w = 1 - at.w
	return at, &Cell{ChampionLive: c.ChallengerLive, ChampionBad: c.ChallengerBad, ChallengerLive: c.ChampionLive, ChallengerBad: c.ChampionBad}
}

func (t turned) gains(at place, c *Cell) []float64 { return t.of.gains(t.turn(at, c)) }

func (t turned) pass(at place, c *Cell) float64 { return t.of.pass(t.turn(at, c)) }

func (t turned) estimate(at place, c *Cell, alpha float64) (is, low, high float64) {
	at, c = t.turn(at, c)
	is, low, high = t.of.estimate(at, c, alpha)
	if low > high {
		return 0, 1, -1
	}
	return t.back(is), t.back(high), t.back(low)
}

func (t turned) trials(at place, c *Cell) int64 { return t.of.trials(at, c) }

// mean tests the difference of two means by betting on weighted values: X = v/w for a
// request of the challenger, −v/(1−w) for one of the champion, has the mean μ₁ − μ₀ whatever
// the traffic does, from wherever the v of a batch are measured, if that was fixed before.
// The bets are those of shift.
type mean struct {
	// margin and width are in the unit of the values, which lie in [from, from + width].
	margin, from, width float64
	fewer               bool
}

// sums returns n, ΣX and ΣX² of the harm: of μ₁ − μ₀ where fewer is better, else of μ₀ − μ₁.
// bound is the largest |X|.
func (m mean) sums(at place, c *Cell) (n, sum, squares, bound float64) {
	n1, s1, q1 := c.ChallengerValues.Centred.of(m.width)
	n0, s0, q0 := c.ChampionValues.Centred.of(m.width)
	sum = s1/at.w - s0/(1-at.w)
	if !m.fewer {
		sum = -sum
	}
	return n0 + n1, sum, q1/(at.w*at.w) + q0/((1-at.w)*(1-at.w)), m.width / min(at.w, 1-at.w)
}

func (m mean) gains(at place, c *Cell) []float64 {
	n, sum, squares, bound := m.sums(at, c)
	gains := []float64{0}
	for _, l := range shiftBets {
		gains = append(gains, shift{bound: bound}.above(l, n, sum, squares, m.margin))
	}
	return gains
}

func (m mean) pass(at place, c *Cell) float64 {
	n, sum, squares, bound := m.sums(at, c)
	return meanOver(shiftBets, func(l float64) float64 { return shift{bound: bound}.above(l, n, -sum, squares, -m.margin) })
}

// estimate is of the difference of the means, challenger − champion.
func (m mean) estimate(at place, c *Cell, alpha float64) (is, low, high float64) {
	n, sum, squares, bound := m.sums(at, c)
	if c.ChampionLive == 0 || c.ChallengerLive == 0 {
		return 0, 1, -1
	}
	if !m.fewer {
		sum = -sum
	}
	low, high = shift{bound: bound}.interval(n, sum, squares, alpha)
	return c.ChallengerValues.mean(c.ChallengerLive, m) - c.ChampionValues.mean(c.ChampionLive, m), max(low, -m.width), min(high, m.width)
}

func (mean) trials(_ place, c *Cell) int64 { return c.live() }

// mean returns the mean of n values in their own unit.
func (v Values) mean(n int64, m mean) float64 {
	return m.from + float64(v.Sum)/moment*m.width/math.Max(float64(n), 1)
}
