package demo

import (
	"context"
	"math"
	"time"
)

// The gateway's metrics that no one outside can count.
const (
	eligibleMetric = "understudy_records_eligible_total"
	rollbackMetric = "understudy_rollback_seconds"
)

// Who decides without an operator, as events and audit log name them.
const (
	breakerActor = "breaker"
	gateActor    = "gate"
)

// delivery is how long the last records may take to the topic.
const delivery = 10 * time.Second

// Summary is what a whole story measured.
type Summary struct {
	// Requests were sent by the clients in all acts; ClientErrors of them failed or were
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
	// StepsPassed are the steps of act 1 that ended with a pass by every gate that judged
	// them, by the audit log.
	StepsPassed int `json:"steps_passed"`
	// ChallengerCallsAfterTrip were received by act 2's challenger, live or mirrored, more
	// than 100 ms after the rollback that the admin RPC dates, by the model server's count. A
	// machine that is too busy has longer: what its slowest answer took.
	ChallengerCallsAfterTrip int `json:"challenger_calls_after_trip"`
	// RollbackMS is the time from the challenger's deciding failure to the rollback in
	// force, in milliseconds. Two witnesses are heard and the larger figure counts: the
	// gateway's metric understudy_rollback_seconds, from the breaker's trip to routes
	// without the challenger; and the model server, from the end of the failure that must
	// have been the deciding one to the time of the admin RPC's event. A hanging call
	// fails when its budget ends. Milliseconds are usual; 100 are allowed, or on a busy machine
	// what its slowest answer took.
	RollbackMS float64 `json:"rollback_ms"`
	// UserErrorsDuringRollback are the client errors from the moment that act 2's
	// challenger broke to the end of the act.
	UserErrorsDuringRollback int `json:"user_errors_during_rollback"`
	// Vetoes are the gates that took act 3's challengers off while they were in shadow, with
	// the cohort that one of them stood for, by the audit log.
	Vetoes []string `json:"vetoes"`
	// WrongLiveCalls are users' calls that reached these challengers, by their servers' count,
	// and WrongAnswers the answers of theirs that users got.
	WrongLiveCalls int `json:"wrong_live_calls"`
	WrongAnswers   int `json:"wrong_answers"`
	// WrongDisagreement is the share of the first one's pairs that disagree, on the topic;
	// ClinicDisagreement that of the second one's at the clinic for whose patients it is wrong,
	// OthersDisagreement everywhere else.
	WrongDisagreement  float64 `json:"wrong_disagreement"`
	ClinicDisagreement float64 `json:"clinic_disagreement"`
	OthersDisagreement float64 `json:"others_disagreement"`
	// Report is the path of the report on the topic, a page of HTML.
	Report string `json:"report"`

	first         act
	second        fall
	third, fourth wrong // act 3's
	rollbacks     uint64
	// doubts are what the witnesses do not agree on.
	doubts []error
}

// sumUp waits for the last records and hears all witnesses.
func (s *story) sumUp(ctx context.Context, first act, second fall, third, fourth wrong) (*Summary, error) {
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
		RecordsExpected: eligible, RecordsOnTopic: len(records),
		Promoted:                 inMode(promoted)(first.rollout),
		RolledBack:               inMode(rolledBack)(second.rollout),
		ChallengerCallsAfterTrip: second.after.Total(),
		RollbackMS:               math.Round(max(rollback.Sum, second.reaction().Seconds())*1e6) / 1e3,
		UserErrorsDuringRollback: second.userErrors,
		first:                    first, second: second, third: third, fourth: fourth, rollbacks: rollback.Count,
	}
	m.doubts = append(m.doubts, bad)
	for _, a := range m.acts() {
		a.topic = countRecords(records, a.model)
		m.Requests += a.users.Requests
		m.ClientErrors += a.users.Errors
	}
	m.doubts = append(m.doubts, reconcile(records, m.acts()...))
	return m, m.hearAudit(s.auditPath)
}

// acts are all models' figures, in the order of the story.
func (m *Summary) acts() []*act {
	return []*act{&m.first, &m.second.act, &m.third.act, &m.fourth.act}
}

// hearAudit adds what the audit log says of act 1, and of act 3 with the other witnesses.
func (m *Summary) hearAudit(path string) error {
	passed, err := readAudit(path, m.first.model)
	if err != nil {
		return err
	}
	m.StepsPassed = stepsPassed(passed)
	for _, w := range []*wrong{&m.third, &m.fourth} {
		decisions, err := readAudit(path, w.model)
		if err != nil {
			return err
		}
		w.veto = veto(decisions)
		m.Vetoes = append(m.Vetoes, w.veto.String())
		m.WrongLiveCalls += w.calls.Live
		m.WrongAnswers += w.users.ByChallenger
	}
	m.WrongDisagreement = share(m.third.topic.disagree, m.third.topic.pairs)
	m.ClinicDisagreement, m.OthersDisagreement = m.fourth.topic.shares()
	return nil
}
