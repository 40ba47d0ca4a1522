package gate

import "testing"

// Long agreement must not become evidence against the challenger where the tail of the
// beta function gets too small for a float: at 36,000 pairs it did.
func TestAgreementIsNeverEvidenceAgainst(t *testing.T) {
	for _, max := range []float64{0.001, 0.02, 0.5} {
		for n := 1000.0; n < 2e6; n *= 1.002 {
			if e := (limit{max}).above(0, n); e > 0 {
				t.Fatalf("limit %v: %.0f pairs that all agree are evidence of e^%.1f against", max, n, e)
			}
		}
	}
}

// The same the other way round: many that disagree never show that few do.
func TestDisagreementIsNeverEvidenceFor(t *testing.T) {
	for n := 1000.0; n < 2e6; n *= 1.002 {
		if e := (limit{0.02}).below(n/20, n-n/20); e > 0 {
			t.Fatalf("%.0f pairs of which one in 20 disagrees pass at e^%.1f", n, e)
		}
	}
}
