package report

import (
	"slices"
	"strings"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// A record does not say at which step of the plan it was made. A report takes all that were
// made in one mode at one weight for one step.

// stepOf names it.
func stepOf(m rollout.Mode, w rollout.Weight) uint64 { return uint64(m)<<16 | uint64(w) }

// cohortsOf returns the record's cohorts, such as "region=eu": those that the gateway wrote
// down, else those parameters of the request that the sources name.
func (p *played) cohortsOf(r *record, sources []string) (names []string) {
	for name, value := range r.segments {
		names = append(names, p.cohort(name, value))
	}
	if len(r.segments) == 0 && r.request != nil {
		names = p.requested(r, sources)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (p *played) requested(r *record, sources []string) (names []string) {
	for _, source := range sources {
		name, ok := strings.CutPrefix(source, "parameter:")
		if !ok {
			continue
		}
		request, err := oip.PeekRequest(payload(r.request))
		if err != nil {
			return nil
		}
		if value, _ := request.Parameter(name); value != "" {
			names = append(names, p.cohort(name, value))
		}
	}
	return names
}

// cohort returns a cohort's name and makes it known; beyond mostCohorts values of a source
// it is the source's other one.
func (p *played) cohort(source, value string) string {
	source = clip(source, 64)
	name := source + "=" + clip(value, 64)
	if p.Cohorts[name] != nil {
		return name
	}
	of, sources := 0, map[string]bool{}
	for known := range p.Cohorts {
		s, _, _ := strings.Cut(known, "=")
		sources[s] = true
		of += int(one(s == source))
	}
	switch {
	case of == 0 && len(sources) >= mostSources:
		name = other + "=" + other
	case of >= mostCohorts:
		name = source + "=" + other
	}
	at(p.Cohorts, name)
	return name
}

// vote tells the gates of a record, as the gateway's evidence does; but for routing keys,
// which no record has, so that each of a key's bad requests counts.
func (p *played) vote(s *seenRecord, rules *rollout.Rules) {
	for i := range rules.Gates {
		g := &rules.Gates[i]
		vote := ballot(g, s)
		if !g.In(s.mode) || vote == nil {
			continue
		}
		step := p.Counts.Step(stepOf(s.mode, s.weight), gate.Step{Index: -1, Mode: s.mode, Weight: s.weight})
		vote(step.Cell(gate.Series{Gate: i}))
		for _, name := range s.cohorts {
			vote(step.Cell(gate.Series{Gate: i, Segment: name}))
		}
	}
}

// ballot returns the vote of a record on a gate; nil where it has none.
func ballot(g *rollout.Gate, s *seenRecord) gate.Vote {
	switch {
	case liveOnly(g) != "":
		return nil
	case g.Metric == rollout.ScoreShift || g.Metric == rollout.Drift:
		return gate.Scored(g, s.comparison)
	case g.Metric == rollout.Disagreement:
		if s.comparison == nil {
			return nil
		}
		return gate.Compared(s.differs)
	case g.Paired(s.mode):
		return rehearsed(g, s)
	case s.weight > 0 && s.weight < rollout.FullWeight:
		return performed(g, s)
	}
	return nil
}

// rehearsed votes with which arm failed a request that both had in time.
func rehearsed(g *rollout.Gate, s *seenRecord) gate.Vote {
	if !s.champion.within(g) || !s.challenger.within(g) {
		return nil
	}
	return gate.Pair(s.championFailed, s.challengerFailed)
}

// within tells whether the arm was called and done by the gate's horizon.
func (c *call) within(g *rollout.Gate) bool { return c.called() && c.latency <= g.Horizon }

// performed votes with how the assigned arm served a request.
func performed(g *rollout.Gate, s *seenRecord) gate.Vote {
	live, failed := &s.champion, s.championFailed
	if s.assigned == rollout.Challenger {
		live, failed = &s.challenger, s.challengerFailed
	}
	reason := rollout.Reason(s.diverted)
	bad := reason == rollout.Cap || reason == rollout.BreakerOpen
	if g.Metric == rollout.SlowRate {
		took := live.latency
		if reason == rollout.Fallback {
			took += s.champion.latency
		}
		gone := !live.called() || rollout.Reason(live.absent) == rollout.Cancelled
		bad = bad || took > g.Horizon || gone && reason != rollout.Fallback
	} else {
		bad = bad || failed && live.latency <= g.Horizon
	}
	return gate.Live(s.assigned, bad)
}
