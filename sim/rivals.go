package main

import (
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/understudy-serving/understudy/canary"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/simulation"
)

// rule decides once a minute by the figures of what a monitoring system has collected. It
// sees errors and latency; predictions it does not.
type rule interface {
	// weights are the challenger's share of the traffic and that of a baseline, which is
	// another copy of the champion, over 0 to 1.
	weights() (challenger, baseline float64)
	// look takes the past minute of both.
	look(challenger, baseline figures) verdict
}

type verdict int

const (
	goOn verdict = iota
	promote
	rollBack
)

// figures are one minute's of a group of instances.
type figures struct {
	requests, failures int
	latencies          []float64 // seconds
}

func (f *figures) add(r simulation.Reply) {
	f.requests++
	if r.Failed {
		f.failures++
	}
	f.latencies = append(f.latencies, r.Takes.Seconds())
}

// errors is the share that failed; ok is false of none.
func (f *figures) errors() (share float64, ok bool) {
	return float64(f.failures) / float64(f.requests), f.requests > 0
}

func (f *figures) quantile(q float64) float64 { return simulation.Quantile(f.latencies, q) }

// threshold is the rule of Flagger's canary analysis, with the figures of the example by which
// its documentation explains it ("How it works"): each minute the success rate of the past
// minute must be 99 % at least and the 99th percentile 500 ms at most, else the check has
// failed, as it has without any request; a check that passes adds 5 % to the weight, and at
// 50 % promotes; 10 failed checks roll back. https://fluxcd.io/flagger
type threshold struct {
	weight, failedChecks int
}

func (t *threshold) weights() (challenger, baseline float64) {
	return float64(max(t.weight, 5)) / 100, 0
}

func (t *threshold) look(c, _ figures) verdict {
	t.weight = max(t.weight, 5)
	share, any := c.errors()
	switch {
	case any && share <= 0.01 && c.quantile(0.99) <= 0.5:
		if t.weight >= 50 {
			return promote
		}
		t.weight += 5
	default:
		t.failedChecks++
		if t.failedChecks >= 10 {
			return rollBack
		}
	}
	return goOn
}

// ranks is the rule of Kayenta's NetflixACAJudge as Spinnaker's documentation sets it up:
// canary and baseline of the same size (5 % each here), one value a minute and metric, three
// judgements, one an hour, each over all values so far. A metric fails where the 98 % interval
// of the Hodges-Lehmann shift by Mann and Whitney lies beyond a quarter of the shift's own
// estimate. The score is the share of metrics that do not fail; below 75 the challenger goes,
// and 95 at last promotes it. https://spinnaker.io/docs/guides/user/canary
//
// Simplified: three metrics (share of errors, median and 99th percentile of latency), all of
// which only get worse upwards; outliers stay in; the interval is the normal approximation
// without a correction for ties; minutes without a request have no value.
type ranks struct {
	minutes              int
	challenger, baseline [3][]float64
}

func (r *ranks) weights() (challenger, baseline float64) { return 0.05, 0.05 }

func (r *ranks) look(c, b figures) verdict {
	collect(&r.challenger, c)
	collect(&r.baseline, b)
	r.minutes++
	if r.minutes%60 != 0 {
		return goOn
	}
	score, judged := 0.0, 0.0
	for i := range r.challenger {
		if len(r.challenger[i]) == 0 || len(r.baseline[i]) == 0 {
			continue // no data: neither way
		}
		judged++
		if !higher(r.challenger[i], r.baseline[i]) {
			score++
		}
	}
	score *= 100 / max(judged, 1) // a score of nothing is 0
	switch {
	case score < 75 || r.minutes == 180 && score < 95:
		return rollBack
	case r.minutes == 180:
		return promote
	}
	return goOn
}

func collect(to *[3][]float64, f figures) {
	share, any := f.errors()
	if !any {
		return
	}
	for i, v := range [3]float64{share, f.quantile(0.5), f.quantile(0.99)} {
		to[i] = append(to[i], v)
	}
}

// higher tells whether x lies above y by Mann and Whitney at 98 %.
func higher(x, y []float64) bool {
	differences := make([]float64, 0, len(x)*len(y))
	for _, a := range x {
		for _, b := range y {
			differences = append(differences, a-b)
		}
	}
	slices.Sort(differences)
	n, m := float64(len(x)), float64(len(y))
	estimate := simulation.Quantile(differences, 0.5)
	rank := int(n*m/2 - distuv.UnitNormal.Quantile(0.99)*math.Sqrt(n*m*(n+m+1)/12))
	if rank < 0 {
		return false // too few values for an interval
	}
	return differences[rank] > 0.25*math.Abs(estimate)
}

// compete lets a rule conduct a rollout on the traffic of a setup, up to its horizon.
func compete(r rule, s simulation.Setup, seed uint64) (out simulation.Result) {
	source := simulation.NewSource(s.Traffic, seed)
	spec := rollout.Spec{Target: "challenger", Version: thousands(float64(seed))}
	control := rollout.Spec{Target: "baseline", Version: spec.Version}
	met := map[int]bool{}
	var challenger, baseline figures
	next := time.Minute
	out.Outcome = simulation.Waiting
	for q := source.Next(); ; q = source.Next() {
		for ; q.At >= next; next += time.Minute {
			v := r.look(challenger, baseline)
			challenger, baseline = figures{}, figures{}
			out.At, out.Users = next, len(met)
			if v == promote {
				out.Outcome, out.Users = simulation.Promoted, s.Traffic.Users
			} else if v == rollBack {
				out.Outcome = simulation.RolledBack
			}
			if v != goOn || next >= s.Horizon {
				return out
			}
		}
		share, other := r.weights()
		switch {
		case canary.Pick("m", spec, q.Key, weightOf(share)) == rollout.Challenger:
			met[q.User] = true
			challenger.add(q.Challenger)
		case canary.Pick("m", control, q.Key, weightOf(other/(1-share))) == rollout.Challenger:
			baseline.add(q.Champion)
		}
	}
}

func weightOf(share float64) rollout.Weight {
	return rollout.Weight(math.Round(share * float64(rollout.FullWeight)))
}
