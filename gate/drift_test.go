package gate

import (
	"math"
	"testing"
)

// observed returns scores of values by how often each arm had them: {value, champion,
// challenger}.
func observed(rows ...[3]float64) (s Scores) {
	s.Champion, s.Challenger = newSketch(), newSketch()
	for _, r := range rows {
		_ = s.Champion.AddWithCount(r[0], r[1])
		_ = s.Challenger.AddWithCount(r[0], r[2])
	}
	return s
}

func TestNoDriftHides(t *testing.T) {
	for name, c := range map[string]struct {
		scores   Scores
		low, top float64 // of PSI
		expected float64
	}{
		"none":                     {observed([3]float64{0.1, 500, 500}, [3]float64{0.9, 500, 500}), 0, 0, 1. / 500},
		"all moved":                {observed([3]float64{0.1, 1000, 0}, [3]float64{0.9, 0, 1000}), 15, 16, 1. / 500},
		"above a constant":         {observed([3]float64{0.5, 1000, 500}, [3]float64{0.9, 0, 500}), 3.5, 4, 1. / 500},
		"below a constant":         {observed([3]float64{-0.5, 0, 500}, [3]float64{0.5, 1000, 500}), 3.5, 4, 1. / 500},
		"between two heavy values": {observed([3]float64{0, 500, 300}, [3]float64{0.5, 0, 400}, [3]float64{1, 500, 300}), 2.5, 3.5, 2. / 500},
		"far below, 40 orders of magnitude": {
			observed([3]float64{1e-20, 1000, 0}, [3]float64{1e20, 0, 1000}), 15, 16, 1. / 500},
	} {
		d := c.scores.compare()
		if d.PSI < c.low || d.PSI > c.top || !near(d.Expected, c.expected, 1e-12) {
			t.Errorf("%s: %+v", name, d)
		}
		if d.JensenShannon < 0 || d.JensenShannon > 1 || math.IsNaN(d.Wasserstein) || d.Wasserstein > 1e3 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
