package demo

import (
	"fmt"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

const (
	promoted   = adminv1.Mode_MODE_PROMOTED
	rolledBack = adminv1.Mode_MODE_ROLLED_BACK
)

// table renders the summary for people.
func (m *Summary) table(s *Screen) []string {
	a, b := m.first, m.second
	row := func(name, one, two string) string { return fmt.Sprintf("  %-36s %14s %14s", name, one, two) }
	lines := []string{
		"", s.Bold("What was measured"), "",
		row("", "act 1", "act 2"),
		row("the end", modeName(a.rollout), modeName(b.rollout)),
		row("requests of users", count(a.users.Requests), count(b.users.Requests)),
		row("errors that users saw", count(a.users.Errors), count(b.users.Errors)),
		row("answered by the challenger", percent(a.users.ByChallenger, a.users.Answered), percent(b.users.ByChallenger, b.users.Answered)),
		row("p50 for users", milliseconds(a.users.P50), milliseconds(b.users.P50)),
		row("p99 for users", milliseconds(a.users.P99), milliseconds(b.users.P99)),
		row("records on the topic", count(a.topic.records), count(b.topic.records)),
		row("  with both predictions", count(a.topic.pairs), count(b.topic.pairs)),
		row("  where these disagree", percent(a.topic.disagree, a.topic.pairs), percent(b.topic.disagree, b.topic.pairs)),
		"",
		fmt.Sprintf("  In act 2 the challenger failed %s by errors and %d by hanging. From then on users saw %s", plural(b.failedCalls, "call", "calls"),
			b.hungCalls, plural(m.UserErrorsDuringRollback, "error,", "errors,")),
		fmt.Sprintf("  and the slowest answer took %s. The rollback was in force %.1f ms after the deciding failure;", milliseconds(b.slowest), m.RollbackMS),
		fmt.Sprintf("  %s the challenger more than %s after that.", plural(m.ChallengerCallsAfterTrip, "call reached", "calls reached"), grace),
		fmt.Sprintf("  Records: %s requests were eligible, %s unique records are on the topic.", count(m.RecordsExpected), count(m.RecordsOnTopic)),
		"",
	}
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
