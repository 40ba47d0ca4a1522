package main

import (
	"slices"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		of   []time.Duration
		q    float64
		want time.Duration
	}{{hundred, 0.99, 99}, {hundred, 0.5, 50}, {hundred, 1, 100}, {hundred[:1], 0.99, 1}, {hundred[:3], 0.5, 2}, {nil, 0.99, 0}} {
		if got := quantile(c.of, c.q); got != c.want {
			t.Errorf("quantile %.2f of %d is %d, want %d", c.q, len(c.of), got, c.want)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3, 1}},
		{[]float64{5, 1, 3}, spread{3, 1, 5, 3}},
		{[]float64{4, 1, 2, 9}, spread{3, 1, 9, 4}},
	} {
		if got := spreadOf(c.of); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.of, got, c.want)
		}
	}
}

// A round that was slow for all does not matter: each ratio is of one round.
func TestRatiosAreTakenWithinARound(t *testing.T) {
	of := map[int]float64{0: 10, 1: 100, 2: 12, 3: 7}
	to := map[int]float64{0: 20, 1: 200, 2: 24, 4: 1}
	got := ratios(of, to)
	slices.Sort(got)
	if want := []float64{0.5, 0.5, 0.5}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v: rounds that one side lacks are left out", got, want)
	}
}
