package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/understudy-serving/understudy/simulation"
)

// claim is one promise.
type claim struct {
	group, name string
	// unit is how its figures are shown.
	unit unit
	// limit is the largest figure that meets it; where least, the smallest.
	limit float64
	least bool
	// measure returns the figure. sample says how many runs there are to be.
	measure func(ctx context.Context, s sample) figure
}

// unit is what a figure is of.
type unit int

const (
	chance unit = iota
	requests
)

// figure is what was measured, with an interval both of whose ends hold at 99 %.
type figure struct{ measured, low, high float64 }

// result is a claim that was measured; build/sim.json holds these.
type result struct {
	Claim    string `json:"claim"`
	Limit    number `json:"limit"`
	Measured number `json:"measured"`
	Low      number `json:"low"`
	High     number `json:"high"`
	Met      bool   `json:"met"`

	claim claim
}

// number is null in JSON where it is infinite: it never happened.
type number float64

// MarshalJSON writes the number as it is, without an exponent.
func (n number) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'f', -1, 64), nil
}

// judge holds a figure against the claim's limit: a chance by the end of its interval that
// is the worse one, a number of requests by its median.
func (c claim) judge(f figure) result {
	r := result{c.group + ": " + c.name, number(c.limit), number(f.measured), number(f.low), number(f.high), false, c}
	switch {
	case c.unit == requests:
		r.Met = f.measured > 0 && f.measured <= c.limit
	case c.least:
		r.Met = f.low >= c.limit
	default:
		r.Met = f.high <= c.limit
	}
	return r
}

// sample is how much is simulated, and where its progress goes.
type sample struct {
	quick bool
	// ended is called after each run.
	ended func()
}

// pick returns the number for the short or for the long form.
func (s sample) pick(short, long int) int {
	if s.quick {
		return short
	}
	return long
}

// rollouts is how many are played for a chance of one in a hundred at most.
func (s sample) rollouts() int { return s.pick(3_000, 10_000) }

// times is how many times shorter the short form's rollouts are.
func (s sample) times() float64 { return float64(s.pick(2, 1)) }

// confidence gives intervals whose ends each hold at 99 %.
const confidence = 0.98

// share plays n rollouts and tells how many of them it happened to.
func (s sample) share(ctx context.Context, n int, happens func(seed uint64) bool) figure {
	hits := make([]bool, n)
	simulation.Parallel(ctx, n, func(i int) {
		hits[i] = happens(uint64(i) + 1)
		s.ended()
	})
	p := simulation.ShareOf(simulation.CountIf(hits, func(hit bool) bool { return hit }), n, confidence)
	return figure{float64(p.Of) / float64(n), p.Low, p.High}
}

// median plays n rollouts and returns the median of what they took.
func (s sample) median(ctx context.Context, n int, takes func(seed uint64) float64) figure {
	all := make([]float64, n)
	simulation.Parallel(ctx, n, func(i int) {
		all[i] = takes(uint64(i) + 1)
		s.ended()
	})
	return medianOf(all)
}

// medianOf has the interval that order statistics give, whatever the distribution.
func medianOf(all []float64) figure {
	slices.Sort(all)
	n := len(all)
	half := distuv.UnitNormal.Quantile(0.99) * math.Sqrt(float64(n)) / 2
	low, high := max(int(float64(n)/2-half)-1, 0), min(int(math.Ceil(float64(n)/2+half)), n-1)
	return figure{simulation.Quantile(all, 0.5), all[low], all[high]}
}

// show writes a figure in its unit.
func (u unit) show(n number) string {
	switch v := float64(n); {
	case u == chance:
		return strconv.FormatFloat(100*v, 'g', 3, 64) + "%"
	case math.IsInf(v, 0):
		return "never"
	default:
		return thousands(v)
	}
}

// thousands writes a whole number with separators.
func thousands(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
