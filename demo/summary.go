package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// The gateway's metrics that no one outside can count.
const (
	eligibleMetric = "understudy_records_eligible_total"
	rollbackMetric = "understudy_rollback_seconds"
)

const (
	// delivery is how long the last records may take to the topic.
	delivery = 10 * time.Second
	// promptly bounds the time from the deciding failure to the rollback in force. It
	// takes milliseconds; a busy machine may need more.
	promptly = 100 * time.Millisecond
)

// Summary is what a whole story measured.
type Summary struct {
	// Requests were sent by the clients in both acts; ClientErrors of them failed or were
	// answered wrongly.
	Requests     int `json:"requests"`
	ClientErrors int `json:"client_errors"`
	// RecordsExpected is how many requests the gateway accepted in shadow or canary, by
	// its metric understudy_records_eligible_total. That figure is not believed unseen:
	// see Check.
	RecordsExpected int `json:"records_expected"`
	// RecordsOnTopic counts unique ids that a Kafka consumer of the demo's own has read.
	RecordsOnTopic int `json:"records_on_topic"`
	// Promoted is act 1's end and RolledBack act 2's, by the admin RPC.
	Promoted   bool `json:"promoted"`
	RolledBack bool `json:"rolled_back"`
	// ChallengerCallsAfterTrip were received by act 2's challenger, live or mirrored, more
	// than 100 ms after the rollback that the admin RPC dates, by the model server's count.
	ChallengerCallsAfterTrip int `json:"challenger_calls_after_trip"`
	// RollbackMS is the time from the challenger's deciding failure to the rollback in
	// force, in milliseconds. Two witnesses are heard and the larger figure counts: the
	// gateway's metric understudy_rollback_seconds, from the breaker's trip to routes
	// without the challenger; and the model server, from the end of the failure that must
	// have been the deciding one to the time of the admin RPC's event. A hanging call
	// fails when its budget ends.
	RollbackMS float64 `json:"rollback_ms"`
	// UserErrorsDuringRollback are the client errors from the moment that act 2's
	// challenger broke to the end of the act.
	UserErrorsDuringRollback int `json:"user_errors_during_rollback"`

	first     act
	second    fall
	rollbacks uint64
	// doubts are what the witnesses do not agree on.
	doubts []error
}

// sumUp waits for the last records and hears all witnesses.
func (s *story) sumUp(ctx context.Context, first act, second fall) (*Summary, error) {
	eligible, err := s.awaitRecords(ctx)
	if err != nil {
		return nil, err
	}
	rollback, err := s.operator.metric(ctx, rollbackMetric, "")
	if err != nil {
		return nil, err
	}
	records, bad := s.reader.all()
	m := &Summary{
		Requests:        first.users.Requests + second.users.Requests,
		ClientErrors:    first.users.Errors + second.users.Errors,
		RecordsExpected: eligible, RecordsOnTopic: len(records),
		Promoted:                 inMode(promoted)(first.rollout),
		RolledBack:               inMode(rolledBack)(second.rollout),
		ChallengerCallsAfterTrip: second.after.Total(),
		RollbackMS:               math.Round(max(rollback.Sum, second.reaction().Seconds())*1e6) / 1e3,
		UserErrorsDuringRollback: second.userErrors,
		first:                    first, second: second, rollbacks: rollback.Count,
	}
	m.first.topic, m.second.topic = countRecords(records, act1Model), countRecords(records, act2Model)
	m.doubts = append(m.doubts, bad, reconcile(records, first, second.act))
	return m, nil
}

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
	// pairs have both arms' predictions, and disagree those of them that differ.
	pairs, disagree int
}

func countRecords(records map[string]recordFigures, model string) topicFigures {
	var f topicFigures
	for _, r := range records {
		if r.model != model {
			continue
		}
		f.records++
		if r.pair {
			f.pairs++
		}
		if r.disagrees {
			f.disagree++
		}
	}
	return f
}

// reconcile holds the topic against the clients' own lists. A request that was answered
// before its model left the recorded modes must be there; one that was sent well after
// that must not, nor may any that no client sent.
func reconcile(records map[string]recordFigures, acts ...act) error {
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

// Check returns nil if all is as a rehearsal gateway promises, else an error for
// everything that is not. Beside the figures it holds the witnesses against each other:
// the topic against the clients' lists of ids, and the story against what the
// challenger's server saw, which must have failed by errors and by hanging.
func (m *Summary) Check() error {
	claims := []struct {
		holds   bool
		problem string
	}{
		{m.Requests > 0, "no client sent a request"},
		{m.ClientErrors == 0, fmt.Sprintf("client_errors %d: want 0 (the first: %v)", m.ClientErrors, errors.Join(m.first.users.FirstError, m.second.users.FirstError))},
		{m.RecordsExpected > 0 && m.RecordsOnTopic == m.RecordsExpected, fmt.Sprintf("records_on_topic %d: want records_expected, %d, and more than 0", m.RecordsOnTopic, m.RecordsExpected)},
		{m.Promoted, "promoted: want true"},
		{m.RolledBack, "rolled_back: want true"},
		{m.ChallengerCallsAfterTrip == 0, fmt.Sprintf("challenger_calls_after_trip %d: want 0", m.ChallengerCallsAfterTrip)},
		{m.rollbacks == 1, fmt.Sprintf("%s has %d observations: want 1", rollbackMetric, m.rollbacks)},
		{!m.second.decidedAt.IsZero(), fmt.Sprintf("the challenger's server did not see %d failures in a row", consecutiveFailures)},
		{m.RollbackMS >= 0 && m.RollbackMS <= float64(promptly.Milliseconds()), fmt.Sprintf("rollback_ms %.1f: want at most %d", m.RollbackMS, promptly.Milliseconds())},
		{m.UserErrorsDuringRollback == 0, fmt.Sprintf("user_errors_during_rollback %d: want 0", m.UserErrorsDuringRollback)},
		{m.second.failedCalls > 0 && m.second.hungCalls > 0, fmt.Sprintf("the challenger's server failed %d calls and let %d hang: want both", m.second.failedCalls, m.second.hungCalls)},
	}
	errs := append([]error(nil), m.doubts...)
	for _, c := range claims {
		if !c.holds {
			errs = append(errs, errors.New(c.problem))
		}
	}
	return errors.Join(errs...)
}
