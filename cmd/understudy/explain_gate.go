package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// reading is how the reports of one gate are to be read.
type reading struct {
	// paired counts are of pairs, else of requests by arm.
	paired    bool
	perSecond float64
	// brief leaves out what a table has no room for.
	brief bool
}

// isPaired tells it of a gate's report for all requests. A rollout that has ended has no
// mode to tell by, but its counts.
func isPaired(r *adminv1.GateReport, mode adminv1.Mode) bool {
	switch rollout.Metric(r.Gate.GetMetric()) {
	case rollout.Disagreement, rollout.ScoreShift, rollout.Drift:
		return true
	}
	return mode == adminv1.Mode_MODE_SHADOW || r.Counts.GetPairs() > 0
}

// gateBlock is one gate for all requests, and its cohorts.
func gateBlock(b *strings.Builder, r *adminv1.GateReport, cohorts []*adminv1.GateReport, as reading) {
	fmt.Fprintf(b, "\n%s: %s\n", r.Gate.GetName(), verdict(statusOf(r)))
	if r.Why != "" {
		fmt.Fprintf(b, "  %s\n", oneLine(r.Why))
	}
	if !r.Applies {
		return
	}
	fmt.Fprintf(b, "    %-12s%s\n", "allows", allowance(r.Gate))
	for _, f := range findings(r, as) {
		fmt.Fprintf(b, "    %-12s%s\n", f.name, f.text)
	}
	if text := missing(r, as); text != "" {
		fmt.Fprintf(b, "  a pass %s\n", text)
	}
	if len(cohorts) > 0 {
		b.WriteString("  cohorts, the worst first\n")
		as.brief = true
		cohortTable(b, cohorts, as)
	}
}

// cohortTable has a line for each cohort, and a sentence for each that fails.
func cohortTable(b *strings.Builder, cohorts []*adminv1.GateReport, as reading) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for i, r := range cohorts[:min(len(cohorts), shown)] {
		head, line := "    COHORT\tVERDICT", "    "+oneLine(r.Segment)+"\t"+verdict(statusOf(r))
		for _, f := range append(findings(r, as), finding{"a pass", cmp.Or(missing(r, as), "-")}) {
			head += "\t" + strings.ToUpper(f.name)
			line += "\t" + f.text
		}
		if i == 0 {
			fmt.Fprintln(t, head)
		}
		fmt.Fprintln(t, line)
	}
	_ = t.Flush() // a strings.Builder takes all
	for _, r := range cohorts {
		if r.Applies && r.Verdict == adminv1.Verdict_VERDICT_FAIL {
			fmt.Fprintf(b, "  %s: %s\n", oneLine(r.Segment), oneLine(r.Why))
		}
	}
	if more := len(cohorts) - shown; more > 0 {
		fmt.Fprintf(b, "  and %d more; -o json has them all\n", more)
	}
}

// finding is what a gate counted, or what follows from it, under its name.
type finding struct{ name, text string }

// findings are the same ones, by name, for all reports of a gate.
func findings(r *adminv1.GateReport, as reading) []finding {
	out := append(counted(r, as), estimated(r))
	if r.Gate.GetMetric() == string(rollout.Drift) {
		return out // no evidence: the index is compared with its limit
	}
	return append(out, finding{"for a fail", evidence(r, r.ForFail, as)}, finding{"for a pass", evidence(r, r.ForPass, as)})
}

func counted(r *adminv1.GateReport, as reading) []finding {
	c, bad := r.Counts, "slow"
	switch rollout.Metric(r.Gate.GetMetric()) {
	case rollout.ErrorRate:
		bad = "failed"
	case rollout.ExcessDisagreement:
		bad = "disagreed"
	case rollout.ReportedOutcome:
		bad = r.Gate.GetOutcome()
	}
	switch metric := rollout.Metric(r.Gate.GetMetric()); {
	case metric == rollout.Disagreement:
		return []finding{{"pairs", of(c.GetChallengerOnlyBad(), c.GetPairs(), " disagree")}}
	case metric == rollout.ScoreShift, metric == rollout.Drift:
		return []finding{{"pairs", count(c.GetPairs())}}
	case r.Gate.GetMean():
		return []finding{{"champion", digits(c.GetChampionMean()) + " on average of " + count(c.GetChampion())},
			{"challenger", digits(c.GetChallengerMean()) + " on average of " + count(c.GetChallenger())}}
	case as.paired:
		return []finding{{"pairs", count(c.GetPairs())}, {"champion", "alone " + bad + " in " + count(c.GetChampionOnlyBad())},
			{"challenger", "alone " + bad + " in " + count(c.GetChallengerOnlyBad())}}
	}
	verb := " " + bad
	if as.brief {
		verb = ""
	}
	return []finding{{"champion", of(c.GetChampionBad(), c.GetChampion(), verb)}, {"challenger", of(c.GetChallengerBad(), c.GetChallenger(), verb)}}
}

// of says "12 of 8,000 failed (0.15%)".
func of(part, whole int64, verb string) string {
	return fmt.Sprintf("%s of %s%s (%s)", count(part), count(whole), verb, share(part, whole))
}

// estimated has the estimate with its interval, in the gate's unit.
func estimated(r *adminv1.GateReport) finding {
	u, value, i := unitOf(r.Gate), r.Estimate.GetValue(), r.Estimate.GetInterval()
	switch {
	case i != nil:
		return finding{u.estimate, fmt.Sprintf("%s%s (%s to %s)", u.digits(value), u.symbol, u.digits(i.Low), u.digits(i.High))}
	case value != 0:
		return finding{u.estimate, u.digits(value) + u.symbol}
	}
	return finding{u.estimate, "-"} // of nothing
}

// evidence shows how far it has come, such as "####......  41%, 2.8 of 6.91".
func evidence(r *adminv1.GateReport, e *adminv1.Evidence, as reading) string {
	switch {
	case !r.Applies, as.brief && e.GetLogNeeded() <= 0:
		return "-"
	case e.GetLogNeeded() <= 0:
		return "no part in the budget"
	case as.brief:
		return way(e)
	}
	return bar(e)
}

// missing says what a pass still takes; nothing where the verdict stands.
func missing(r *adminv1.GateReport, as reading) string {
	switch {
	case !r.Applies, r.Verdict != adminv1.Verdict_VERDICT_INCONCLUSIVE, r.ToPass != nil && r.ToPass.Requests == 0:
		return ""
	case r.ToPass == nil && as.brief:
		return "not in sight"
	case r.ToPass == nil:
		return "is not in sight at these rates"
	}
	what := "requests"
	if as.paired {
		what = "pairs"
	}
	text := fmt.Sprintf("needs about %s more %s", count(roughly(r.ToPass.Requests)), what)
	if d := r.ToPass.Time.AsDuration(); d > 0 {
		text += ": " + about(d)
		if as.perSecond > 0 && !as.brief {
			text += fmt.Sprintf(" at %s requests/s", rate(as.perSecond))
		}
	}
	return text
}
