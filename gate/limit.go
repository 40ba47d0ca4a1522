package gate

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// limit tests a rate against a fixed largest one by a beta mixture: the likelihood of the
// counts, averaged over all rates on the far side of the limit, over that at the limit. It
// holds for the running average, so it has no bets that are shared: see Pool.
type limit struct{ max float64 }

func (limit) prior() []float64                { return nil }
func (limit) gains(place, *Cell, []float64)   {}
func (limit) trials(_ place, c *Cell) int64   { return c.Pairs }
func (l limit) pass(_ place, c *Cell) float64 { return l.below(rateOf(c)) }

func rateOf(c *Cell) (bad, good float64) {
	return float64(c.ChallengerOnly), float64(c.Pairs - c.ChallengerOnly)
}

// above returns ln of the evidence that the rate is above the limit.
func (l limit) above(bad, good float64) float64 {
	return logBeta(bad+1, good+1) + logTail(good+1, bad+1, 1-l.max) - math.Log(1-l.max) - l.at(bad, good)
}

// below returns ln of the evidence that the rate is below the limit.
func (l limit) below(bad, good float64) float64 {
	return logBeta(bad+1, good+1) + logTail(bad+1, good+1, l.max) - math.Log(l.max) - l.at(bad, good)
}

// logTail returns ln of the regularized incomplete beta function. Close to the smallest
// float its digits are made up, and so would be the evidence: there it counts as none.
func logTail(a, b, x float64) float64 {
	const exact = 1e-290
	if tail := mathext.RegIncBeta(a, b, x); tail >= exact {
		return math.Log(tail)
	}
	return math.Inf(-1)
}

func (l limit) at(bad, good float64) float64 { return bad*math.Log(l.max) + good*math.Log1p(-l.max) }

// estimate is of the rate; the interval is Robbins': all p that the whole mixture does not
// refute (Howard, Ramdas, McAuliffe and Sekhon 2021, arXiv 1810.08240). It assumes a rate
// that does not change.
func (l limit) estimate(_ place, c *Cell, alpha float64) (is, low, high float64) {
	bad, good := rateOf(c)
	n := bad + good
	if n == 0 {
		return 0, 1, -1
	}
	is = bad / n
	low, high = robbins(bad, good, alpha)
	return is, low, high
}

func robbins(bad, good, alpha float64) (low, high float64) {
	whole := logBeta(bad+1, good+1)
	refuted := func(p float64) bool {
		return whole-bad*math.Log(p)-good*math.Log1p(-p) >= math.Log(1/alpha)
	}
	is := bad / (bad + good)
	const edge = 1e-12
	if bad > 0 {
		low = bound(edge, is, refuted)
	}
	high = 1
	if good > 0 {
		high = bound(is, 1-edge, func(p float64) bool { return !refuted(p) })
	}
	return low, high
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}

// Pool is what limit has counted under one limit.
type Pool struct {
	Limit float64 `json:"limit"`
	Bad   int64   `json:"bad"`
	Good  int64   `json:"good"`
}

// Wilson returns the score interval of bad of n at z standard deviations, for display only:
// it does not hold for one who looks again.
func Wilson(bad, n int64, z float64) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	p, m := float64(bad)/float64(n), float64(n)
	middle := p + z*z/(2*m)
	half := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(0, (middle-half)/(1+z*z/m)), min(1, (middle+half)/(1+z*z/m))
}
