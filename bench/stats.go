package main

import (
	"fmt"
	"slices"
	"time"
)

// quantile is the nearest-rank one of sorted durations; 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(q*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// spread is a figure over the rounds.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	Rounds int     `json:"rounds"`
}

// spreadOf is zero for no rounds.
func spreadOf(all []float64) spread {
	if len(all) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(all))
	middle := (s[(len(s)-1)/2] + s[len(s)/2]) / 2
	return spread{middle, s[0], s[len(s)-1], len(s)}
}

func (s spread) String() string {
	if s.Rounds == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Least, s.Most)
}

// ratios divides round by round, and leaves out those that one side lacks.
func ratios(of, to map[int]float64) (all []float64) {
	for round, v := range of {
		if base, ok := to[round]; ok && base > 0 && v > 0 {
			all = append(all, v/base)
		}
	}
	return all
}
