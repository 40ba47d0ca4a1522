package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// liveOnly says why a report has no verdict of a gate: what it judges is in no record; ""
// where it has.
func liveOnly(g *rollout.Gate) string {
	switch g.Metric {
	case rollout.TailLatency:
		return "is judged live only: it takes the champion's p99 as it was before the step"
	case rollout.ExcessDisagreement:
		return "is judged live only: what the champion says when it is asked again is not recorded"
	case rollout.ReportedOutcome:
		return "is judged live only: outcomes are reported later than records are written"
	}
	return ""
}

// longAgo is a time after which no bet is as it was.
const longAgo = 24 * time.Hour

// judge lets the gates speak at each step, in the order in which the steps came: on what was
// counted there, with the evidence of the steps before.
func (p *played) judge(rules rollout.Rules) []Step {
	out := []Step{}
	if len(rules.Gates) == 0 {
		return out
	}
	counts := p.cohortsIn(rules)
	var evidence gate.Checkpoint
	for _, key := range p.steps() {
		step := counts.Steps[key]
		state := rollout.State{Mode: step.Mode, Weight: step.Weight, Entered: key, Step: -1, Override: true, Rules: rules}
		// Between two steps all wealth goes back to the prior, as it does live with time: else a
		// challenger that was healthy in shadow would have to lose all that it won there.
		evidence.Absorb(state, gate.Counts{}, longAgo)
		evidence.Absorb(state, gate.Counts{Steps: map[uint64]*gate.Step{key: step}}, 0)
		found := Step{Mode: step.Mode, Weight: step.Weight.Percent()}
		for _, g := range evidence.Judge(state, true).Gates {
			if g.Gate.In(step.Mode) {
				found.Gates = append(found.Gates, verdict(g))
			}
		}
		out = append(out, found)
	}
	return out
}

func verdict(r rollout.GateReport) Gate {
	g := Gate{Name: r.Gate.Name(), Segment: r.Segment, Verdict: r.Verdict, Why: r.Why, Estimate: clean(r.Estimate)}
	if r.Low <= r.High {
		low, high := clean(r.Low), clean(r.High)
		g.Low, g.High = &low, &high
	}
	if why := liveOnly(&r.Gate); why != "" {
		g.Why = why
	}
	return g
}

// steps are those that have counts, by the first revision that was in them.
func (p *played) steps() []uint64 {
	first := map[uint64]uint64{}
	for n, v := range p.Revisions {
		mode, _ := rollout.ParseMode(v.Mode)
		key := stepOf(mode, v.Weight)
		if known, ok := first[key]; !ok || n < known {
			first[key] = n
		}
	}
	return slices.SortedFunc(maps.Keys(p.Counts.Steps), func(a, b uint64) int {
		return cmp.Or(cmp.Compare(first[a], first[b]), cmp.Compare(a, b))
	})
}

// cohortsIn returns the counts with the cohorts that rules have room for, the largest of
// each source, which says nothing of their results. The rest is one, as it is live.
func (p *played) cohortsIn(rules rollout.Rules) gate.Counts {
	judged := map[string]bool{}
	for _, source := range rules.Segments {
		_, source, _ := strings.Cut(source, ":")
		var names []string
		for name := range p.Cohorts {
			if strings.HasPrefix(name, source+"=") && name != source+"="+other {
				names = append(names, name)
			}
		}
		slices.SortFunc(names, func(a, b string) int {
			return cmp.Or(cmp.Compare(p.Cohorts[b].Records, p.Cohorts[a].Records), strings.Compare(a, b))
		})
		for _, name := range names[:min(len(names), rules.MaxCohorts)] {
			judged[name] = true
		}
		judged[source+"="+other] = true
	}
	var out gate.Counts
	for key, step := range p.Counts.Steps {
		to := out.Step(key, *step)
		for series, c := range step.Cells {
			source, _, _ := strings.Cut(series.Segment, "=")
			if series.Segment != "" && !judged[series.Segment] {
				series.Segment = source + "=" + other
			}
			if series.Segment == "" || judged[series.Segment] {
				to.Cell(series).Add(*c)
			}
		}
	}
	return out
}
