package gate

import (
	"maps"
	"math"
	"slices"

	"github.com/understudy-serving/understudy/rollout"
)

// Fall is how things fell on the arms.
type Fall struct {
	Champion   int64 `json:"champion,omitempty"`
	Challenger int64 `json:"challenger,omitempty"`
}

// Count adds one.
func (f *Fall) Count(a rollout.Arm) {
	if a == rollout.Challenger {
		f.Challenger++
	} else {
		f.Champion++
	}
}

// Add merges o into f.
func (f *Fall) Add(o Fall) {
	f.Champion += o.Champion
	f.Challenger += o.Challenger
}

// voidAt is the evidence at which a split counts as broken: once in a thousand rollouts by
// chance.
const voidAt = 1000

// mismatches returns ln of the evidence of all weights together, in their order: sums of
// floats hang on it.
func mismatches(falls map[rollout.Weight]Fall) (log float64) {
	for _, w := range slices.Sorted(maps.Keys(falls)) {
		log += mismatch(falls[w], float64(w)/float64(rollout.FullWeight))
	}
	return log
}

// mismatch returns ln of the evidence that f did not fall with the challenger's share w:
// a beta mixture around w. Lindon and Malek, arXiv 2011.03567.
func mismatch(f Fall, w float64) float64 {
	if w <= 0 || w >= 1 {
		return 0
	}
	const weight = 100
	a, b := weight*w, weight*(1-w)
	x, y := float64(f.Challenger), float64(f.Champion)
	return logBeta(a+x, b+y) - logBeta(a, b) - x*math.Log(w) - y*math.Log1p(-w)
}
