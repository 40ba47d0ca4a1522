package gate

import (
	"math/rand/v2"
	"testing"
)

// Differences far smaller than the range have squares that no rounding may lose: they are
// what keeps noise from looking like a shift.
func TestSmallDifferencesKeepTheirSquares(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m Moments
	var sum, squares float64
	const d = 0.0006
	for range 1000 {
		x := d * float64(2*random.IntN(2)-1)
		m.Observe(x, 1)
		sum, squares = sum+x, squares+x*x
	}
	n, s, q := m.of(1)
	if n != 1000 || !near(s, sum, 1e-6) || q < squares*(1-1e-5) || q > squares*1.01 {
		t.Errorf("n %v, Σd %v (%v), Σd² %v (%v)", n, s, sum, q, squares)
	}
}
