package demo

import (
	"fmt"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

const (
	shadow     = adminv1.Mode_MODE_SHADOW
	canary     = adminv1.Mode_MODE_CANARY
	promoted   = adminv1.Mode_MODE_PROMOTED
	rolledBack = adminv1.Mode_MODE_ROLLED_BACK
)

// table renders the summary for people.
func (m *Summary) table(s *Screen) []string {
	b := &m.second
	row := func(name string, of func(*act) string) string {
		line := fmt.Sprintf("  %-30s", name)
		for _, a := range m.acts() {
			line += fmt.Sprintf(" %13s", of(a))
		}
		return line
	}
	lines := []string{
		"", s.Bold("What was measured"), "",
		fmt.Sprintf("  %-30s %13s %13s %13s %13s", "", "act 1", "act 2", "act 3a", "act 3b"),
		row("the end", func(a *act) string { return modeName(a.rollout) }),
		row("decided by", func(a *act) string { return turn(a.rollout).GetActor() }),
		row("requests of users", func(a *act) string { return count(a.users.Requests) }),
		row("errors that users saw", func(a *act) string { return count(a.users.Errors) }),
		row("answered by the challenger", func(a *act) string { return percent(a.users.ByChallenger, a.users.Answered) }),
		row("p50 for users", func(a *act) string { return milliseconds(a.users.P50) }),
		row("p99 for users", func(a *act) string { return milliseconds(a.users.P99) }),
		row("records on the topic", func(a *act) string { return count(a.topic.records) }),
		row("  with both predictions", func(a *act) string { return count(a.topic.pairs) }),
		row("  where these disagree", func(a *act) string { return percent(a.topic.disagree, a.topic.pairs) }),
		"",
		fmt.Sprintf("  In act 1 %d of %d steps ended with a pass by every gate that judged them.", m.StepsPassed, act1Steps),
		fmt.Sprintf("  In act 2 the challenger failed %s by errors and %d by hanging. From then on users saw %s", plural(b.failedCalls, "call", "calls"),
			b.hungCalls, plural(m.UserErrorsDuringRollback, "error,", "errors,")),
		fmt.Sprintf("  and the slowest answer took %s. The rollback was in force %.1f ms after the deciding failure;", milliseconds(b.slowest), m.RollbackMS),
		fmt.Sprintf("  %s the challenger more than %s after that.", plural(m.ChallengerCallsAfterTrip, "call reached", "calls reached"), b.grace),
	}
	return append(append(lines, m.tableOfAct3()...), m.conclusion(s)...)
}

func (m *Summary) tableOfAct3() []string {
	a, b := &m.third, &m.fourth
	return []string{
		fmt.Sprintf("  In act 3 gate %s ended the first rehearsal: %.1f%% of the pairs disagreed, %d%% were allowed.", a.veto, 100*m.WrongDisagreement, maxDisagreement),
		fmt.Sprintf("  Gate %s ended the second: %.1f%% disagreed there, %.1f%% everywhere else.", b.veto, 100*m.ClinicDisagreement, 100*m.OthersDisagreement),
		fmt.Sprintf("  %s of users reached these challengers; %s and %s copies were enough.", plural(m.WrongLiveCalls, "call", "calls"), count(a.calls.Mirrored), count(b.calls.Mirrored)),
	}
}

func (m *Summary) conclusion(s *Screen) []string {
	lines := []string{fmt.Sprintf("  Records: %s requests were eligible, %s unique records are on the topic.", count(m.RecordsExpected), count(m.RecordsOnTopic)), ""}
	if err := m.Check(); err != nil {
		return append(lines, s.Bad("  ✗ Not all is as promised:"), "    "+err.Error(), "")
	}
	return append(lines, s.Good("  ✓ All is as promised: no user saw an error, and no record is missing."), "")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}
