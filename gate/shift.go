package gate

import "math"

// shift tests whether the mean difference of a score lies within ±max. Differences are
// clamped to ±bound. E = mean over λ of exp(λΣξ + (ln(1−λ)+λ)Σξ²), ξ = (d−m)/(B+m) ≥ −1:
// Fan, Grama and Liu, "Exponential inequalities for martingales with applications", 2015.
type shift struct{ max, bound float64 }

var shiftBets = []float64{.9, 1. / 2, 1. / 4, 1. / 8, 1. / 16, 1. / 32, 1. / 64, 1. / 128}

// above is what the bet l wins that the mean of values in [−bound, bound], of which n have
// these sums, is above m; −bound < m.
func (s shift) above(l, n, sum, squares, m float64) float64 {
	scale := s.bound + m
	xi := (sum - n*m) / scale
	xi2 := (squares - 2*m*sum + n*m*m) / (scale * scale)
	return l*xi + (math.Log1p(-l)+l)*xi2
}

func (s shift) gains(_ place, c *Cell) []float64 {
	n, sum, squares := c.Shift.of(s.bound)
	gains := []float64{0}
	for _, l := range shiftBets {
		gains = append(gains, s.above(l, n, sum, squares, s.max), s.above(l, n, -sum, squares, s.max))
	}
	return gains
}

// pass needs both sides: the mean below max, and above −max.
func (s shift) pass(_ place, c *Cell) float64 {
	n, sum, squares := c.Shift.of(s.bound)
	side := func(sum float64) float64 {
		return meanOver(shiftBets, func(l float64) float64 { return s.above(l, n, sum, squares, -s.max) })
	}
	return min(side(sum), side(-sum))
}

// estimate is of the mean difference, challenger − champion.
func (s shift) estimate(_ place, c *Cell, alpha float64) (is, low, high float64) {
	n, sum, squares := c.Shift.of(s.bound)
	if n == 0 {
		return 0, 1, -1
	}
	low, high = s.interval(n, sum, squares, alpha)
	return sum / n, low, high
}

// interval holds the mean of n values with these sums.
func (s shift) interval(n, sum, squares, alpha float64) (low, high float64) {
	level := math.Log(2 / alpha)
	// Nearer to −bound no bet is small enough; what is shown at the edge is shown there too.
	edge := s.bound * (1 - 2*shiftBets[len(shiftBets)-1])
	least := func(sum float64) float64 {
		m := bound(-edge, edge, func(m float64) bool {
			return meanOver(shiftBets, func(l float64) float64 { return s.above(l, n, sum, squares, m) }) >= level
		})
		if m == -edge {
			return -s.bound
		}
		return m
	}
	return least(sum), -least(-sum)
}

func (shift) trials(_ place, c *Cell) int64 { return c.Shift.N }
