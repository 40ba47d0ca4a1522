package report

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// defaultAlpha is that of the intervals of a model without rules, as it is in the config.
const defaultAlpha = 0.01

// Summarize says what a run has found so far.
func (r *Run) Summarize(source string) Result {
	total, complete, removed := r.Total()
	out := Result{Source: source, Complete: complete, Removed: removed, Messages: total.Messages, Summary: []string{}, Rollouts: []Rollout{}}
	slices.SortFunc(total.Rollouts, func(a, b *played) int {
		return cmp.Or(strings.Compare(a.Model, b.Model), a.Times.First.Compare(b.Times.First),
			strings.Compare(a.Challenger.String(), b.Challenger.String()), strings.Compare(a.Champion.String(), b.Champion.String()))
	})
	for _, p := range total.Rollouts {
		rules := r.Options.Models[p.Model].Judge
		found := p.summarize(rules)
		out.Rollouts = append(out.Rollouts, found)
		out.Summary = append(out.Summary, found.Summary)
	}
	return out
}

func (p *played) summarize(rules rollout.Rules) Rollout {
	alpha := cmp.Or(rules.Alpha, defaultAlpha)
	r := Rollout{Model: p.Model, Champion: p.Champion, Challenger: p.Challenger, Rules: "defaults", Records: p.Records,
		First: known(p.Times.First), Last: known(p.Times.Last), Agree: p.Agreement.summarize(alpha),
		Arms:    Arms{p.Arms.Champion.summarize(nil), p.Arms.Challenger.summarize(p.Live)},
		Missing: p.missing(), Diverted: counted(p.Diverted), Outputs: []Output{}, Segments: p.segments(alpha),
		Gates: p.judge(rules), Revisions: p.revisions(alpha), Worst: []rollout.Disagreeing{}, Timeline: p.Timeline.list()}
	if p.Configured {
		r.Rules = "config"
	}
	for _, o := range p.Outputs {
		r.Outputs = append(r.Outputs, o.summarize())
	}
	slices.SortFunc(r.Outputs, func(a, b Output) int { return strings.Compare(a.Name, b.Name) })
	for _, w := range p.Worst {
		w.Difference = finite(w.Difference)
		r.Worst = append(r.Worst, w.Disagreeing)
	}
	r.Summary = sentence(&r)
	return r
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func counted(counts map[string]int64) []Count {
	out := []Count{}
	for _, name := range sortedBy(counts) {
		out = append(out, Count{name, counts[name]})
	}
	return out
}

// missing says why predictions are not there, by arm.
func (p *played) missing() []Count {
	all := map[string]int64{}
	for name, arm := range map[string]*arm{"champion ": p.Arms.Champion, "challenger ": p.Arms.Challenger} {
		for reason, n := range arm.Absent {
			all[name+reason] += n
		}
	}
	return counted(all)
}

func rate(part, whole int64, alpha float64) Rate {
	low, high := gate.RateInterval(part, whole, alpha)
	return Rate{share(part, whole), low, high}
}

func (a *agreement) summarize(alpha float64) Agreement {
	return Agreement{Compared: a.Compared, Agree: a.Compared - a.Differ, Disagree: a.Differ, Recomputed: a.Recomputed,
		Recorded: a.Compared - a.Recomputed, Otherwise: a.Otherwise, NotCompared: counted(a.NotCompared),
		Disagreement: rate(a.Differ, a.Compared, alpha), Alpha: alpha}
}

func (a *arm) summarize(live *gate.Sketch) Arm {
	out := Arm{Calls: a.Calls, Answered: a.Answered, Failed: a.Failed, Codes: counted(a.Codes), Latency: quantiles(a.Latency)}
	if live != nil {
		out.Live = quantiles(live)
	}
	for _, q := range []*Quantiles{out.Latency, out.Live} {
		q.under(a.Slowest)
	}
	if out.Latency != nil {
		out.Latency.Max = a.Slowest
	}
	return out
}

// quantiles are nil for an empty sketch.
func quantiles(s *gate.Sketch) *Quantiles {
	if s == nil || s.IsEmpty() {
		return nil
	}
	most, _ := s.GetMaxValue()
	at := func(q float64) float64 { v, _ := s.GetValueAtQuantile(q); return v } // it fails for empty ones only
	return &Quantiles{Count: int64(s.GetCount()), Mean: clean(s.GetSum() / s.GetCount()),
		P50: at(0.5), P90: at(0.9), P95: at(0.95), P99: at(0.99), P999: at(0.999), Max: most}
}

// under takes the largest value, as it was, for what a sketch knows to 1 %.
func (q *Quantiles) under(most float64) {
	if q == nil {
		return
	}
	for _, v := range []*float64{&q.P50, &q.P90, &q.P95, &q.P99, &q.P999, &q.Max} {
		*v = min(*v, most)
	}
}

func (p *played) segments(alpha float64) []Segment {
	out := []Segment{}
	for name, c := range p.Cohorts {
		out = append(out, Segment{Name: name, Records: c.Records, Compared: c.Compared, Disagree: c.Differ,
			Disagreement: rate(c.Differ, c.Compared, alpha), ChampionErrors: c.ChampionErrors, ChallengerErrors: c.ChallengerErrors})
	}
	// By the lower end: a cohort of two that both differ is no finding.
	slices.SortFunc(out, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(b.Disagreement.Low, a.Disagreement.Low), cmp.Compare(b.ChallengerErrors, a.ChallengerErrors),
			strings.Compare(a.Name, b.Name))
	})
	return out
}

func (p *played) revisions(alpha float64) []Revision {
	out := []Revision{}
	for _, n := range slices.Sorted(maps.Keys(p.Revisions)) {
		v := p.Revisions[n]
		out = append(out, Revision{Revision: n, Mode: v.Mode, Weight: v.Weight.Percent(), First: known(v.Times.First), Last: known(v.Times.Last),
			Records: v.Records, Compared: v.Compared, Disagree: v.Differ, Disagreement: rate(v.Differ, v.Compared, alpha)})
	}
	return out
}

func (t *timeline) list() []Moment {
	out := []Moment{}
	for _, k := range slices.Sorted(maps.Keys(t.Buckets)) {
		b := t.Buckets[k]
		out = append(out, Moment{time.Unix(k*t.Width, 0).UTC(), t.Width, b.Records, b.Compared, b.Differ})
	}
	return out
}

func (o *output) summarize() Output {
	out := Output{Name: o.Name, Kind: string(o.Kind), Compared: o.Compared, Disagree: o.Differ, Findings: counted(o.Findings),
		Elements: o.Elements, Differing: o.Differing, NonFinite: o.NonFinite, MaxAbs: o.MaxAbs}
	if o.Shift.N > 0 {
		out.Differences = o.Shift.summarize()
	}
	if champion, challenger := quantiles(o.Scores.Champion), quantiles(o.Scores.Challenger); champion != nil && challenger != nil {
		d := o.Scores.Distance()
		out.Drift = &Drift{clean(d.PSI), clean(d.Expected), clean(d.JensenShannon), clean(d.Wasserstein), *champion, *challenger}
		out.Histogram = histogram(o.Scores.Champion, o.Scores.Challenger)
	}
	if len(o.Labels) > 0 {
		out.Confusion = o.confusion()
	}
	return out
}

func (o *output) confusion() *Confusion {
	labels := o.labels()
	c := &Confusion{Labels: labels}
	for _, champion := range labels {
		row := make([]int64, len(labels))
		for i, challenger := range labels {
			row[i] = o.Labels[champion][challenger]
		}
		c.Counts = append(c.Counts, row)
	}
	return c
}

func (s *shift) summarize() *Differences {
	n := float64(s.N)
	at := func(q float64) float64 { v, _ := s.Sketch.GetValueAtQuantile(q); return v }
	mean := s.Sum / n
	return &Differences{Count: s.N, Mean: mean, MeanAbs: s.Abs / n, Deviation: math.Sqrt(max(s.Squares/n-mean*mean, 0)),
		Min: s.Least, P01: at(0.01), P05: at(0.05), P25: at(0.25), P50: at(0.5), P75: at(0.75), P95: at(0.95), P99: at(0.99), Max: s.Most,
		Histogram: histogram(s.Sketch, nil)}
}
