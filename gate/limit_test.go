package gate

import (
	"math"
	"testing"
)

// A challenger that was far under one limit must not silence the evidence against it under
// another: the tail of the beta function that this takes is too small for a float.
func TestEvidenceThatFitsNoFloat(t *testing.T) {
	p := Process{Pools: []Pool{{Limit: 0.02, Bad: 50, Good: 49_950}, {Limit: 0.001, Bad: 500, Good: 9_500}}}
	first, second := limit{0.02}.above(50, 49_950), limit{0.001}.above(500, 9_500)
	if first < -15 || first > -5 || second < 1000 {
		t.Errorf("ln E %v and %v", first, second)
	}
	if got := p.logE(); math.Abs(got-first-second) > 1e-9 {
		t.Errorf("together %v", got)
	}
}
