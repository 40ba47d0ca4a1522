package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/understudy-serving/understudy/gate"
)

// What a table shows of long lists; JSON and HTML have all.
const (
	shownSegments  = 12
	shownRevisions = 8
	shownWorst     = 10
	shownLabels    = 12
)

// WriteTable writes a result for people at a terminal.
func (r *Result) WriteTable(w io.Writer) error {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	for _, s := range r.Summary {
		t.line("%s.", s)
	}
	if len(r.Summary) == 0 {
		t.line("There are no records to compare.")
	}
	t.line("")
	t.row("source", r.Source)
	t.row("read", r.Messages.words())
	for _, f := range r.Messages.faults() {
		t.row("not decodable", f)
	}
	if r.Removed > 0 {
		t.row("removed", gate.Number(r.Removed)+" messages were gone before they were read")
	}
	if !r.Complete {
		t.row("incomplete", "not everything was read: these are the figures so far")
	}
	for i := range r.Rollouts {
		t.rollout(&r.Rollouts[i])
	}
	return t.Flush()
}

// words say what became of the messages.
func (m *Messages) words() string {
	parts := []string{gate.Number(m.Records) + " records of " + gate.Number(m.Read) + " messages"}
	for _, p := range []struct {
		n    int64
		what string
	}{{m.Duplicates, "doubled"}, {m.OtherModel, "of other models"}, {m.OtherTime, "of other times"}, {m.NewerSchema, "with fields of a newer version"}} {
		if p.n > 0 {
			parts = append(parts, gate.Number(p.n)+" "+p.what)
		}
	}
	if m.JSON > 0 && m.Protobuf > 0 {
		parts = append(parts, gate.Number(m.JSON)+" in JSON")
	}
	return strings.Join(parts, ", ")
}

// faults name the messages that are no records.
func (m *Messages) faults() (lines []string) {
	for _, reason := range sortedBy(m.Undecodable) {
		f := m.First[reason]
		lines = append(lines, fmt.Sprintf("%s: %s; the first in partition %d at %d: %s", gate.Number(m.Undecodable[reason]), reason, f.Partition, f.Offset, plain(f.Error)))
	}
	return lines
}

// table writes lines, and rows whose columns stand under each other.
type table struct{ *tabwriter.Writer }

// A tabwriter keeps the first error for Flush.
func (t *table) line(format string, args ...any) {
	fmt.Fprintln(t, plain(fmt.Sprintf(format, args...)))
}

func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = plain(cells[i])
	}
	fmt.Fprintln(t, strings.Join(cells, "\t"))
}

// head begins a part of its own, so that its columns are as wide as they must be.
func (t *table) head(title string, columns ...string) {
	_ = t.Flush() // the error stays
	t.line("")
	t.row(append([]string{title}, columns...)...)
}

func (t *table) rollout(r *Rollout) {
	t.head("MODEL " + r.Model)
	t.row("  champion", r.Champion.String())
	t.row("  challenger", r.Challenger.String())
	t.row("  records", fmt.Sprintf("%s, %s to %s UTC", gate.Number(r.Records), day(r.First), day(r.Last)))
	t.row("  rules", rulesInWords(r))
	a := &r.Agree
	t.row("  compared", fmt.Sprintf("%s: %s anew, %s as their records say", gate.Number(a.Compared), gate.Number(a.Recomputed), gate.Number(a.Recorded)))
	for _, c := range a.NotCompared {
		t.row("  not compared", fmt.Sprintf("%s: %s", gate.Number(c.Count), c.Name))
	}
	for _, c := range r.Diverted {
		t.row("  to the champion", fmt.Sprintf("%s: %s", gate.Number(c.Count), c.Name))
	}
	t.arms(&r.Arms)
	t.outputs(r.Outputs)
	t.gates(r.Gates)
	t.segments(r.Segments)
	t.revisions(r.Revisions)
	t.worst(r)
}

func rulesInWords(r *Rollout) string {
	if r.Rules == "config" {
		return "those of the config"
	}
	return "defaults: scores within 1e-6; --config has the gateway's"
}

func (t *table) arms(a *Arms) {
	t.head("  CALLS", "calls", "answered", "failed", "p50", "p90", "p95", "p99", "max", "codes")
	for _, arm := range []struct {
		name string
		of   *Arm
	}{{"champion", &a.Champion}, {"challenger", &a.Challenger}} {
		q := arm.of.Latency
		if q == nil {
			q = &Quantiles{}
		}
		t.row("  "+arm.name, gate.Number(arm.of.Calls), gate.Number(arm.of.Answered), gate.Number(arm.of.Failed),
			seconds(q.P50), seconds(q.P90), seconds(q.P95), seconds(q.P99), seconds(q.Max), countsInWords(arm.of.Codes))
	}
}

func countsInWords(counts []Count) string {
	var parts []string
	for _, c := range counts {
		parts = append(parts, c.Name+" "+gate.Number(c.Count))
	}
	return strings.Join(parts, ", ")
}

func (t *table) outputs(outputs []Output) {
	if len(outputs) == 0 {
		return
	}
	t.head("  OUTPUTS", "as", "differ", "of", "", "findings")
	for _, o := range outputs {
		t.row("  "+o.Name, o.Kind, gate.Number(o.Disagree), gate.Number(o.Compared), percent(share(o.Disagree, o.Compared)), countsInWords(o.Findings))
	}
	for i := range outputs {
		if d := outputs[i].Differences; d != nil {
			t.scores(outputs[i].Name, d, outputs[i].Drift)
		}
		if c := outputs[i].Confusion; c != nil {
			t.confusion(outputs[i].Name, c)
		}
	}
}

func (t *table) scores(name string, d *Differences, drift *Drift) {
	t.head("  SCORES "+name, "mean", "p1", "p5", "p50", "p95", "p99", "least", "most")
	t.row("  challenger − champion", figure(d.Mean), figure(d.P01), figure(d.P05), figure(d.P50), figure(d.P95), figure(d.P99), figure(d.Min), figure(d.Max))
	if drift == nil {
		return
	}
	t.line("  mean absolute difference %s, standard deviation %s, over %s pairs of elements", figure(d.MeanAbs), figure(d.Deviation), gate.Number(d.Count))
	t.line("  drift: PSI %s (by chance about %s; under 0.1 none, over 0.25 large), Jensen-Shannon %s bits, Wasserstein %s standard deviations",
		figure(drift.PSI), figure(drift.Expected), figure(drift.JensenShannon), figure(drift.Wasserstein))
}

// confusion shows the matrix, or where that has too many classes the pairs that differ most.
func (t *table) confusion(name string, c *Confusion) {
	if len(c.Labels) <= shownLabels {
		t.head("  CLASSES "+name, append(slices.Clone(c.Labels), "← challenger")...)
		for i, label := range c.Labels {
			row := []string{"  " + label}
			for _, n := range c.Counts[i] {
				row = append(row, gate.Number(n))
			}
			t.row(row...)
		}
		return
	}
	t.head("  CLASSES "+name, "champion", "challenger", "times")
	for _, p := range c.mixedUp(shownLabels) {
		t.row("", p.Champion, p.Challenger, gate.Number(p.Times))
	}
}

type mixUp struct {
	Champion, Challenger string
	Times                int64
}

// mixedUp returns the pairs of different classes that came most often.
func (c *Confusion) mixedUp(most int) (all []mixUp) {
	for i, champion := range c.Labels {
		for j, challenger := range c.Labels {
			if n := c.Counts[i][j]; i != j && n > 0 {
				all = append(all, mixUp{champion, challenger, n})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b mixUp) int { return cmp.Compare(b.Times, a.Times) })
	return all[:min(len(all), most)]
}

func (t *table) gates(steps []Step) {
	for _, s := range steps {
		t.head("  GATES at "+stepName(s.Mode, s.Weight), "verdict", "")
		for _, g := range s.Gates {
			name := g.Name
			if g.Segment != "" {
				name = "  " + g.Segment
			}
			t.row("  "+name, string(g.Verdict), g.Why)
		}
	}
}

func (t *table) segments(segments []Segment) {
	if len(segments) == 0 {
		return
	}
	t.head("  SEGMENTS", "records", "compared", "differ", "", "between", "champion failed", "challenger failed")
	for _, s := range segments[:min(len(segments), shownSegments)] {
		t.row("  "+s.Name, gate.Number(s.Records), gate.Number(s.Compared), gate.Number(s.Disagree), percent(s.Disagreement.Rate),
			between(s.Disagreement), gate.Number(s.ChampionErrors), gate.Number(s.ChallengerErrors))
	}
	t.more(len(segments) - shownSegments)
}

func between(r Rate) string { return percent(r.Low) + " and " + percent(r.High) }

func (t *table) revisions(all []Revision) {
	t.head("  REVISIONS", "mode", "records", "compared", "differ", "", "from", "to")
	for _, v := range all[max(len(all)-shownRevisions, 0):] {
		mode := v.Mode
		if mode == "canary" {
			mode += " " + figure(v.Weight) + "%"
		}
		t.row(fmt.Sprintf("  %d", v.Revision), mode, gate.Number(v.Records), gate.Number(v.Compared), gate.Number(v.Disagree),
			percent(share(v.Disagree, v.Compared)), day(v.First), day(v.Last))
	}
	t.more(len(all) - shownRevisions)
}

func (t *table) worst(r *Rollout) {
	if len(r.Worst) == 0 {
		return
	}
	t.head("  WORST", "output", "finding", "difference", "champion", "challenger", "segment")
	for _, d := range r.Worst[:min(len(r.Worst), shownWorst)] {
		t.row("  "+d.ID, d.Output, d.Finding, figure(d.Difference), d.Champion, d.Challenger, d.Segment)
	}
	t.more(len(r.Worst) - shownWorst)
}

func (t *table) more(n int) {
	if n > 0 {
		t.line("  … and %d more with -o json or html", n)
	}
}
