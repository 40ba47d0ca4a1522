package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func explainCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain MODEL",
		Short: "Show what the gates know: verdicts, evidence, and what a pass still takes",
		Long: `Show why a rollout goes on, waits or was rolled back: each gate with its verdict, what it
counted, its estimate, its evidence, and how many requests a pass still takes; cohorts,
the rehearsal's result, the check of the split, how far the inputs of the arms lie apart,
and the pairs that disagree most.

A verdict is pass (the challenger is shown to be no worse than the gate allows), fail (it
is shown to be worse) or inconclusive (neither is shown yet, and the step waits).
Evidence is a likelihood ratio that may be looked at any time, here as a natural
logarithm beside the one that decides; it grows while requests speak for one side, and
falls again when they don't.
Alpha is the budget of false rollbacks: the chance that a challenger that is no worse is
ever rolled back by a gate, over the whole rollout, all gates and all cohorts.`,
		Example: `  understudy explain fraud
  understudy explain fraud -o json | jq -c '.judgement.gates[] | [.gate.name, .segment, .verdict, .why]'
  understudy explain fraud -o json | jq '.judgement.worstPairs'`,
		Args: exactly(1, "MODEL"),
	}
	cmd.ValidArgsFunction = conn.models
	out := bindFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return conn.call(cmd.Context(), func(ctx context.Context, g *gateway) error {
			res, err := g.Explain(ctx, &adminv1.ExplainRequest{Model: args[0]})
			if err != nil {
				return err
			}
			if *out == formatJSON {
				return printJSON(cmd.OutOrStdout(), res)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), clean(explanation(res.Rollout, res.Judgement)))
			return err
		})
	}
	return cmd
}

// explanation is all that there is to know of a judgement, for a person who decides.
func explanation(r *adminv1.Rollout, j *adminv1.Judgement) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, revision %d\n\n", r.Model, standing(r), r.Revision)
	facts(&b, r)
	if j == nil {
		b.WriteString("\nNothing is judged: there are no gates, or the mode has no use for them.\n")
		return b.String()
	}
	if len(j.Gates) > 0 {
		fmt.Fprintf(&b, "\nGates: %s; intervals at %s, however often one looks\n", budget(j.Alpha, r.Evidence), percent(100*(1-j.Alpha)))
	}
	if r.SplitVoid {
		fmt.Fprintf(&b, "%s\n", splitVoid(r.Split))
	}
	for i, report := range j.Gates {
		if report.Segment == "" {
			gateBlock(&b, report, cohortsOf(j.Gates[i+1:]), reading{paired: isPaired(report, r.Mode), perSecond: j.RequestsPerSecond})
		}
	}
	if len(j.Rehearsal) > 0 {
		b.WriteString("\nRehearsal, as it ended\n")
		gateLines(&b, statuses(j.Rehearsal))
	}
	splitCheck(&b, j.Split)
	inputShifts(&b, j.Inputs)
	if j.UncountedRequests > 0 {
		fmt.Fprintf(&b, "\n%s requests found no room to wait for their judgement, and count for no verdict\n", count(j.UncountedRequests))
	}
	if len(j.WorstPairs) > 0 {
		b.WriteString("\nPairs that disagree most\n")
		worstPairs(&b, j.WorstPairs)
	}
	return b.String()
}

// cohortsOf returns the reports up to the next gate's.
func cohortsOf(rest []*adminv1.GateReport) []*adminv1.GateReport {
	for i, r := range rest {
		if r.Segment == "" {
			return rest[:i]
		}
	}
	return rest
}

func statuses(reports []*adminv1.GateReport) []*adminv1.GateStatus {
	var out []*adminv1.GateStatus
	for _, r := range reports {
		out = append(out, statusOf(r))
	}
	return out
}

func statusOf(r *adminv1.GateReport) *adminv1.GateStatus {
	return &adminv1.GateStatus{Gate: r.Gate.GetName(), Segment: r.Segment, Applies: r.Applies, Verdict: r.Verdict, Why: r.Why,
		DryRun: r.Gate.GetDryRun(), OnFail: r.Gate.GetOnFail()}
}

func splitCheck(b *strings.Builder, s *adminv1.SplitReport) {
	keys := s.GetChampionKeys() + s.GetChallengerKeys()
	if keys == 0 && s.GetWhy() == "" {
		return
	}
	b.WriteString("\nSplit\n")
	if s.Why != "" && !s.Void { // else it is said at the top
		fmt.Fprintf(b, "  %s\n", oneLine(s.Why))
	}
	fmt.Fprintf(b, "    keys        %s on the champion, %s on the challenger (%s)\n", count(s.ChampionKeys), count(s.ChallengerKeys), share(s.ChallengerKeys, keys))
	fmt.Fprintf(b, "    mismatch    %s\n", bar(s.OfMismatch))
}

// worstPairs lists them, and how to find one on the topic.
func worstPairs(b *strings.Builder, pairs []*adminv1.DisagreeingPair) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  ID\tOUTPUT\tDIFFERS IN\tBY\tCHAMPION\tCHALLENGER\tCOHORT")
	for _, p := range pairs {
		cells := []string{p.Id, p.Output, p.Finding, digits(p.Difference), p.Champion, p.Challenger, p.Segment}
		for i, cell := range cells {
			cells[i] = cmp.Or(oneLine(cell), "-")
		}
		fmt.Fprintln(t, "  "+strings.Join(cells, "\t"))
	}
	_ = t.Flush() // a strings.Builder takes all
	id, err := uuid.Parse(pairs[0].Id)
	if err != nil {
		return // not safe to paste
	}
	// The id tells when the request came; its record came later.
	seconds, _ := id.Time().UnixTime()
	fmt.Fprintf(b, `
  where the first one's record lies, then the record:
  kcat -C -b BROKER -t TOPIC -o s@%d000 -e -q -f '%%k partition %%p offset %%o\n' | grep -m 1 %s
  kcat -C -b BROKER -t TOPIC -p PARTITION -o OFFSET -c 1 -q
`, seconds, id)
}
