package demo

import (
	"errors"
	"strings"
	"testing"
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// good is a summary of a run in which everything held.
func good() *Summary {
	users := clientFigures{Requests: 1200, Answered: 1200, ByChallenger: 300, P50: 3 * time.Millisecond, P99: 8 * time.Millisecond}
	one := func(model string, end adminv1.Mode, by string, topic topicFigures) act {
		events := []*adminv1.Event{{Mode: end, Actor: by}}
		return act{model: model, users: users, topic: topic, grace: leastGrace, rollout: &adminv1.Rollout{Model: model, Mode: end, Events: events}}
	}
	m := &Summary{
		Requests: 4800, RecordsExpected: 2700, RecordsOnTopic: 2700, Promoted: true, RolledBack: true, StepsPassed: 4, RollbackMS: 0.4, rollbacks: 1,
		Vetoes: []string{"disagreement", "disagreement (clinic=harbour)"}, WrongDisagreement: 0.4, ClinicDisagreement: 0.3667, OthersDisagreement: 0.0465,
		first: one(act1Model, promoted, "gateway", topicFigures{records: 1100, pairs: 1000, disagree: 41}),
		second: fall{act: one(act2Model, rolledBack, "breaker", topicFigures{records: 800}),
			decidedAt: time.Now(), failedCalls: 4, hungCalls: 30, slowest: 253 * time.Millisecond},
		third: wrong{act: one(act3aModel, rolledBack, "gate", topicFigures{records: 160, pairs: 150, disagree: 60}), veto: verdict{Name: "disagreement"}},
		fourth: wrong{act: one(act3bModel, rolledBack, "gate", topicFigures{640, 600, 66, 120, 44}),
			veto: verdict{Name: "disagreement", Segment: "clinic=harbour"}},
	}
	for _, w := range []*wrong{&m.third, &m.fourth} {
		w.users.ByChallenger, w.calls.Mirrored = 0, w.topic.pairs
	}
	return m
}

func TestCheckNamesWhatDoesNotHold(t *testing.T) {
	if err := good().Check(); err != nil {
		t.Fatalf("all holds, and Check says %v", err)
	}
	cases := map[string]func(*Summary){
		"no client":                     func(m *Summary) { m.Requests = 0 },
		"client_errors 2":               func(m *Summary) { m.ClientErrors = 2 },
		"records_on_topic 2699":         func(m *Summary) { m.RecordsOnTopic-- },
		"records_on_topic 2701":         func(m *Summary) { m.RecordsOnTopic++ },
		"records_on_topic 0":            func(m *Summary) { m.RecordsOnTopic, m.RecordsExpected = 0, 0 },
		"promoted":                      func(m *Summary) { m.Promoted = false },
		"rolled_back":                   func(m *Summary) { m.RolledBack = false },
		"challenger_calls_after_trip 1": func(m *Summary) { m.ChallengerCallsAfterTrip = 1 },
		"rollback_ms 101":               func(m *Summary) { m.RollbackMS = 101 },
		rollbackMetric + " has 0":       func(m *Summary) { m.rollbacks = 0 },
		"user_errors_during_rollback 3": func(m *Summary) { m.UserErrorsDuringRollback = 3 },
		"10 failures in a row":          func(m *Summary) { m.second.decidedAt = time.Time{} },
		"failed 0 calls":                func(m *Summary) { m.second.failedCalls = 0 },
		"let 0 hang":                    func(m *Summary) { m.second.hungCalls = 0 },
		"steps_passed 3":                func(m *Summary) { m.StepsPassed = 3 },
		`act 2's rollback is by "gate"`: func(m *Summary) { turn(m.second.rollout).Actor = "gate" },
		"wrong_live_calls 1":            func(m *Summary) { m.WrongLiveCalls = 1 },
		"wrong_answers 1":               func(m *Summary) { m.WrongAnswers = 1 },
		"wrong_disagreement 0.15":       func(m *Summary) { m.WrongDisagreement = 0.15 },
		"clinic_disagreement 0.15":      func(m *Summary) { m.ClinicDisagreement = 0.15 },
		"others_disagreement 0.16":      func(m *Summary) { m.OthersDisagreement = 0.16 },
		`by "disagreement": want "disagreement (clinic=harbour)"`:             func(m *Summary) { m.fourth.veto.Segment = "" },
		`second-opinion: vetoed in shadow by ""`:                              func(m *Summary) { m.third.veto = verdict{} },
		`second-opinion: promoted by "gateway": want rolled_back by the gate`: func(m *Summary) { m.third.rollout = m.first.rollout },
		`screening-recall: rolled_back by "breaker"`:                          func(m *Summary) { m.fourth.rollout = m.second.rollout },
		"its challenger got 1 calls after the rollback":                       func(m *Summary) { m.third.after.Mirrored = 1 },
		"a doubt": func(m *Summary) { m.doubts = []error{nil, errors.New("a doubt")} },
	}
	for want, spoil := range cases {
		m := good()
		spoil(m)
		if err := m.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
