package canary

import (
	"math"
	"slices"
	"sync"

	"github.com/understudy-serving/understudy/rollout"
)

// worst are the pairs that disagree most.
type worst struct {
	mu  sync.Mutex
	all []ranked // worst first
}

type ranked struct {
	rollout.Disagreeing
	rank float64
}

// offer takes a pair in where it is among the worst.
func (w *worst) offer(o rollout.Outcome, segment string) {
	found := ranked{rollout.Disagreeing{ID: o.ID, Segment: segment, Finding: o.Comparison.Error}, math.Inf(1)}
	if o.Comparison.Error == "" {
		found.rank = -1
		for i := range o.Comparison.Outputs {
			out := &o.Comparison.Outputs[i]
			if rank := rankOf(out); !out.Agree && rank > found.rank {
				found.rank, found.Output, found.Finding, found.Difference = rank, out.Output, string(out.Finding), out.MaxAbsDiff
				found.Champion, found.Challenger = out.ChampionClass, out.ChallengerClass
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at, _ := slices.BinarySearchFunc(w.all, found, func(a, b ranked) int {
		if a.rank >= b.rank {
			return -1
		}
		return 1
	})
	if at == rollout.MaxWorst {
		return
	}
	w.all = slices.Insert(w.all, at, found)
	w.all = w.all[:min(len(w.all), rollout.MaxWorst)]
}

// rankOf orders findings: another form of answer, another class or value, another score.
func rankOf(o *rollout.OutputComparison) float64 {
	switch {
	case o.Finding != rollout.DiffersInValues, o.NonFinite > 0:
		return math.Inf(1)
	case o.Kind == rollout.CompareScore:
		return o.MaxAbsDiff
	}
	return 1
}

func (w *worst) list() []rollout.Disagreeing {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []rollout.Disagreeing
	for _, r := range w.all {
		out = append(out, r.Disagreeing)
	}
	return out
}
