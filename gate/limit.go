package gate

import "math"

// limit tests a rate against a fixed largest one by a beta mixture: the likelihood of the
// counts, averaged over all rates on the far side of the limit, over that at the limit. It
// holds for the running average, so it has no bets that are shared: see Pool.
type limit struct{ max float64 }

func (limit) gains(place, *Cell) []float64    { return nil }
func (limit) trials(_ place, c *Cell) int64   { return c.Pairs }
func (l limit) pass(_ place, c *Cell) float64 { return l.below(rateOf(c)) }

func rateOf(c *Cell) (bad, good float64) {
	return float64(c.ChallengerOnly), float64(c.Pairs - c.ChallengerOnly)
}

// above returns ln of the evidence that the rate is above the limit.
func (l limit) above(bad, good float64) float64 { return oneSided(good, bad, 1-l.max, l.max) }

// below returns ln of the evidence that the rate is below the limit.
func (l limit) below(bad, good float64) float64 { return oneSided(bad, good, l.max, 1-l.max) }

// oneSided returns ln of (1/x)·∫₀ˣ pᵃ(1−p)ᵇ dp / xᵃyᵇ, y = 1−x. Of the two parts of the beta
// integral the smaller one is a continued fraction times xᵃ⁺¹yᵇ⁺¹, so that what would be too
// small to write cancels.
func oneSided(a, b, x, y float64) float64 {
	a, b = a+1, b+1
	if x < (a+1)/(a+b+2) {
		return math.Log(y / a * betaFraction(a, b, x))
	}
	whole := logBeta(a, b) - a*math.Log(x) - (b-1)*math.Log(y)
	beyond := math.Log(y / b * betaFraction(b, a, y))
	return whole + math.Log1p(-math.Exp(beyond-whole))
}

// betaFraction is the continued fraction of the incomplete beta function,
// Bₓ(a, b) = xᵃ(1−x)ᵇ/a · fraction, for x under about the mean a/(a+b), by Lentz' method
// (DLMF 8.17.22). It takes about √(a+b) rounds at the mean, and few far from it.
func betaFraction(a, b, x float64) float64 {
	const enough, rounds = 1e-15, 1_000_000
	c, d := 1.0, 1/(1-(a+b)*x/(a+1))
	f := d
	for m := 1.0; m < rounds; m++ {
		step := func(term float64) float64 {
			d = 1 / (1 + term*d)
			c = 1 + term/c
			f *= c * d
			return math.Abs(c*d - 1)
		}
		step(m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m)))
		if step(-(a+m)*(a+b+m)*x/((a+2*m)*(a+2*m+1))) < enough {
			break
		}
	}
	return f
}

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
