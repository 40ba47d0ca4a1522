package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// gatesInShort says how the gates stand, such as "2 pass, 1 ?" or "fail: error-rate
// (region=eu)". A cohort stands for its gate, for it is worse.
func gatesInShort(r *adminv1.Rollout) string {
	if r.SplitVoid {
		return "split void"
	}
	verdicts := map[adminv1.Verdict]int{}
	failed := ""
	for _, s := range deciding(r.Gates) {
		verdicts[s.Verdict]++
		if s.Verdict == adminv1.Verdict_VERDICT_FAIL && failed == "" {
			failed = "fail: " + gateName(s)
		}
	}
	var parts []string
	if n := verdicts[adminv1.Verdict_VERDICT_PASS]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d pass", n))
	}
	if n := verdicts[adminv1.Verdict_VERDICT_INCONCLUSIVE]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d ?", n))
	}
	switch more := verdicts[adminv1.Verdict_VERDICT_FAIL] - 1; {
	case more > 0:
		return fmt.Sprintf("%s and %d more", failed, more)
	case more == 0:
		return failed
	case len(parts) == 0:
		return "-"
	}
	return strings.Join(parts, ", ")
}

// deciding has one status for each gate that has a say.
func deciding(all []*adminv1.GateStatus) []*adminv1.GateStatus {
	var out []*adminv1.GateStatus
	for _, s := range all {
		if n := len(out); n > 0 && out[n-1].Gate == s.Gate {
			out = out[:n-1]
		}
		out = append(out, s)
	}
	return slices.DeleteFunc(out, func(s *adminv1.GateStatus) bool { return !s.Applies || s.DryRun })
}

// gates is the section of a rollout's details.
func gates(b *strings.Builder, r *adminv1.Rollout) {
	fmt.Fprintf(b, "\nGates: %s\n", budget(r.Alpha, r.Evidence))
	if r.SplitVoid {
		fmt.Fprintf(b, "  %s\n", splitVoid(r.Split))
	}
	gateLines(b, r.Gates)
}

// budget says how much of it is used.
func budget(alpha, used float64) string {
	of := "under 1%"
	if used >= 0.01 {
		of = percent(math.Floor(100 * used))
	}
	return fmt.Sprintf("budget of false rollbacks %s, %s of it used", percent(100*alpha), of)
}

func splitVoid(why string) string {
	return "warning: no verdict counts and the rollout holds, for the split can't be trusted: " + oneLine(why)
}

// gateLines has a line for each status.
func gateLines(b *strings.Builder, all []*adminv1.GateStatus) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, s := range all {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", gateName(s), verdict(s), oneLine(s.Why))
	}
	_ = t.Flush() // a strings.Builder takes all
}

func gateName(s *adminv1.GateStatus) string {
	if s.Segment == "" {
		return s.Gate
	}
	return s.Gate + " (" + oneLine(s.Segment) + ")"
}

// verdict says it in a word, and what keeps it from the effect that one expects.
func verdict(s *adminv1.GateStatus) string {
	if !s.Applies {
		return "not judged"
	}
	word := strings.ToLower(strings.TrimPrefix(s.Verdict.String(), "VERDICT_"))
	switch {
	case s.DryRun:
		return word + " (dry run)"
	case s.Verdict == adminv1.Verdict_VERDICT_FAIL && s.OnFail == adminv1.Reaction_REACTION_HOLD:
		return word + " (holds)"
	}
	return word
}
