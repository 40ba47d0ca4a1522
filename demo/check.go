package demo

import (
	"errors"
	"fmt"
	"slices"
)

// claim is what a rehearsal gateway promises, and what to say where it does not hold.
type claim struct {
	holds   bool
	problem string
}

// Check returns nil if all is as a rehearsal gateway promises, else an error for
// everything that is not. Beside the figures it holds the witnesses against each other:
// the topic against the clients' lists of ids, the story against what the challengers'
// servers saw, and the admin RPC's events against the audit log.
func (m *Summary) Check() error {
	errs := append([]error(nil), m.doubts...)
	for _, c := range slices.Concat(m.claims(), m.claimsOfAct2(), m.claimsOfAct3()) {
		if !c.holds {
			errs = append(errs, errors.New(c.problem))
		}
	}
	return errors.Join(errs...)
}

func (m *Summary) claims() []claim {
	var first []error
	for _, a := range m.acts() {
		first = append(first, a.users.FirstError)
	}
	return []claim{
		{m.Requests > 0, "no client sent a request"},
		{m.ClientErrors == 0, fmt.Sprintf("client_errors %d: want 0 (the first: %v)", m.ClientErrors, errors.Join(first...))},
		{m.RecordsExpected > 0 && m.RecordsOnTopic == m.RecordsExpected, fmt.Sprintf("records_on_topic %d: want records_expected, %d, and more than 0", m.RecordsOnTopic, m.RecordsExpected)},
		{m.Promoted, "promoted: want true"},
		{m.RolledBack, "rolled_back: want true"},
		{m.StepsPassed == act1Steps, fmt.Sprintf("steps_passed %d: want %d", m.StepsPassed, act1Steps)},
	}
}

// claimsOfAct2: the challenger's server must have failed by errors and by hanging.
func (m *Summary) claimsOfAct2() []claim {
	f := &m.second
	return []claim{
		{m.ChallengerCallsAfterTrip == 0, fmt.Sprintf("challenger_calls_after_trip %d: want 0", m.ChallengerCallsAfterTrip)},
		{m.rollbacks == 1, fmt.Sprintf("%s has %d observations: want 1", rollbackMetric, m.rollbacks)},
		{turn(f.rollout).GetActor() == breakerActor, fmt.Sprintf("act 2's rollback is by %q: want the breaker", turn(f.rollout).GetActor())},
		{!f.decidedAt.IsZero(), fmt.Sprintf("the challenger's server did not see %d failures in a row", consecutiveFailures)},
		{m.RollbackMS >= 0 && m.RollbackMS <= float64(f.grace.Milliseconds()), fmt.Sprintf("rollback_ms %.1f: want at most %d", m.RollbackMS, f.grace.Milliseconds())},
		{m.UserErrorsDuringRollback == 0, fmt.Sprintf("user_errors_during_rollback %d: want 0", m.UserErrorsDuringRollback)},
		{f.failedCalls > 0 && f.hungCalls > 0, fmt.Sprintf("the challenger's server failed %d calls and let %d hang: want both", f.failedCalls, f.hungCalls)},
	}
}

func (m *Summary) claimsOfAct3() []claim {
	const limit = maxDisagreement / 100.0
	claims := []claim{
		{m.WrongLiveCalls == 0, fmt.Sprintf("wrong_live_calls %d: want 0", m.WrongLiveCalls)},
		{m.WrongAnswers == 0, fmt.Sprintf("wrong_answers %d: want 0", m.WrongAnswers)},
		{m.WrongDisagreement > limit, fmt.Sprintf("wrong_disagreement %v: want more than %v", m.WrongDisagreement, limit)},
		{m.ClinicDisagreement > limit, fmt.Sprintf("clinic_disagreement %v: want more than %v", m.ClinicDisagreement, limit)},
		{m.OthersDisagreement <= limit, fmt.Sprintf("others_disagreement %v: want at most %v", m.OthersDisagreement, limit)},
	}
	for i, want := range []string{"disagreement", "disagreement (" + wrongCohort + ")"} {
		w := []*wrong{&m.third, &m.fourth}[i]
		by := turn(w.rollout).GetActor()
		claims = append(claims,
			claim{w.veto.String() == want, fmt.Sprintf("%s: vetoed in shadow by %q: want %q", w.model, w.veto, want)},
			claim{inMode(rolledBack)(w.rollout) && by == gateActor, fmt.Sprintf("%s: %s by %q: want rolled_back by the gate", w.model, modeName(w.rollout), by)},
			claim{w.after.Total() == 0, fmt.Sprintf("%s: its challenger got %d calls after the rollback: want 0", w.model, w.after.Total())},
		)
	}
	return claims
}
