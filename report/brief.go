package report

import (
	"io"
	"text/tabwriter"

	"github.com/understudy-serving/understudy/gate"
)

// WriteBrief writes a line for each rollout, for those who have the rest elsewhere.
func (r *Result) WriteBrief(w io.Writer) error {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row("MODEL", "RECORDS", "COMPARED", "DISAGREE", "BETWEEN", "GATES")
	for i := range r.Rollouts {
		one := &r.Rollouts[i]
		rate, interval := "-", "-"
		if a := &one.Agree; a.Compared > 0 {
			rate, interval = percent(a.Disagreement.Rate), between(a.Disagreement)
		}
		t.row(one.Model, gate.Number(one.Records), gate.Number(one.Agree.Compared), rate, interval, verdicts(one.Gates))
	}
	return t.Flush()
}
