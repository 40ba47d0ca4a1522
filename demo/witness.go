package demo

import (
	"context"
	"fmt"
	"math"
	"time"
)

// awaitRecords waits until the topic has a record for every eligible request, or the
// time for delivery is over, and returns how many were eligible.
func (s *story) awaitRecords(ctx context.Context) (int, error) {
	until := time.Now().Add(delivery)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		eligible, err := s.operator.metric(ctx, eligibleMetric, "")
		if err != nil {
			return 0, err
		}
		if n := int(eligible.Sum); s.reader.count() >= n || time.Now().After(until) {
			return n, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// topicFigures are what the topic holds of one model.
type topicFigures struct {
	records int
	// pairs have both arms' predictions, and disagree those of them that differ; clinic's are
	// of wrongClinic alone.
	pairs, disagree             int
	clinicPairs, clinicDisagree int
}

// shares are the parts of the pairs that disagree, at wrongClinic and everywhere else.
func (f topicFigures) shares() (clinic, others float64) {
	return share(f.clinicDisagree, f.clinicPairs), share(f.disagree-f.clinicDisagree, f.pairs-f.clinicPairs)
}

func countRecords(records map[string]recordFigures, model string) topicFigures {
	var f topicFigures
	for _, r := range records {
		if r.model != model {
			continue
		}
		f.records++
		if !r.pair {
			continue
		}
		f.pairs++
		f.disagree += one(r.disagrees)
		if r.clinic == wrongClinic {
			f.clinicPairs++
			f.clinicDisagree += one(r.disagrees)
		}
	}
	return f
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

// share is a part of a whole, with four decimals; 0 of nothing.
func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return math.Round(1e4*float64(part)/float64(whole)) / 1e4
}

// reconcile holds the topic against the clients' own lists. A request that was answered
// before its model left the recorded modes must be there; one that was sent well after
// that must not, nor may any that no client sent.
func reconcile(records map[string]recordFigures, acts ...*act) error {
	const swap = 250 * time.Millisecond
	known := map[string]bool{}
	var missing, late, unknown int
	for _, a := range acts {
		for _, answer := range a.answers {
			known[answer.id] = true
			record, there := records[answer.id]
			switch {
			case answer.err != nil:
			case answer.done.Before(a.recordedUntil) && (!there || record.model != a.model):
				missing++
			case answer.sent.After(a.recordedUntil.Add(swap)) && there:
				late++
			}
		}
	}
	for id := range records {
		if !known[id] {
			unknown++
		}
	}
	if missing+late+unknown == 0 {
		return nil
	}
	return fmt.Errorf("the topic misses %d requests that clients sent in shadow or canary, has %d of after that, and %d that no client sent", missing, late, unknown)
}
