package canary

import (
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
	d, rank, _ := o.Comparison.Worst()
	d.ID, d.Segment = o.ID, segment
	found := ranked{d, rank}
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

func (w *worst) list() []rollout.Disagreeing {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []rollout.Disagreeing
	for _, r := range w.all {
		out = append(out, r.Disagreeing)
	}
	return out
}
