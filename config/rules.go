package config

import (
	"slices"
	"strconv"

	"github.com/understudy-serving/understudy/rollout"
)

// Settings of rules that a file does not name.
const (
	defaultAlpha   = 10_000 // millionths: 1%
	defaultCohorts = 8
)

// Bounds of rules.
const (
	mostAlpha   = 200_000 // millionths: a fifth of all rollouts is no promise
	mostCohorts = 64
)

// rules reads how a model's rollout is judged, into m. It returns the gates as the file
// has them, which the plan's steps may override; whole is false where some could not be
// read.
func (d *document) rules(o object, m *Model) (gates []gate, whole bool) {
	errs := len(d.errs)
	alpha := int64(defaultAlpha)
	o.percentage("alpha", &alpha, mostAlpha, "1%")
	m.Rules = rollout.Rules{Alpha: fraction(alpha), MaxCohorts: defaultCohorts}
	for _, s := range o.sources("segments") {
		m.Rules.Segments = append(m.Rules.Segments, s.String())
	}
	if n, ok := o.fields["segments"]; ok && len(m.Rules.Segments) > rollout.MaxSegmentSources {
		n.fail("has %d sources; want at most %d", len(m.Rules.Segments), rollout.MaxSegmentSources)
	}
	count(o, "maxCohorts", &m.Rules.MaxCohorts, 1, mostCohorts)
	o.duration("warmUp", &m.Rules.WarmUp, 0, mostTime)
	if n, ok := o.fields["gates"]; ok {
		gates = d.gates(n, m)
		shareOut(n, gates, alpha)
	}
	for _, g := range gates {
		m.Rules.Gates = append(m.Rules.Gates, g.Gate)
	}
	return gates, len(d.errs) == errs
}

// gates reads a list of gates, of a model or of a step. All have different names.
func (d *document) gates(n node, m *Model) (gates []gate) {
	elements, _ := n.list("gates, each with metric and its bound")
	for _, e := range elements {
		g, ok := d.gate(e)
		if !ok {
			continue
		}
		if i := slices.IndexFunc(gates, func(before gate) bool { return before.Name() == g.Name() }); i >= 0 {
			e.fail("%s stands in line %d already; want one gate of a name", g.Name(), gates[i].at.line())
		}
		g.checkAgainst(m)
		gates = append(gates, g)
	}
	return gates
}

// checkAgainst holds a gate against what else the model says.
func (g gate) checkAgainst(m *Model) {
	if g.Paired(rollout.ModeCanary) && m.Shadow.Sample == 0 {
		g.at.fail("%s judges mirrored requests, but shadow.sample is 0%%; raise the sample or remove the gate", g.Metric)
	}
	if g.Metric == rollout.ExcessDisagreement && m.Shadow.Repeat == 0 {
		g.at.fail("%s judges requests that the champion is asked twice, but shadow.repeat is 0%%; name a share there, such as \"5%%\"", g.Metric)
	}
	output, ok := g.at.fields["output"]
	if !ok || g.Output == "" {
		return
	}
	for _, r := range m.Compare {
		if r.Output == g.Output && r.Kind != rollout.CompareScore && r.Kind != "" {
			output.fail("%q is compared as %s, which has no score to judge; set `as: score` in compare, or remove the gate", g.Output, r.Kind)
		}
	}
}

// shareOut gives each gate that has an effect its part of alpha, in millionths: the named
// one, or as much of the rest as the others without one. All of alpha is given away, for
// what is kept back only makes every gate slower.
func shareOut(list node, gates []gate, alpha int64) {
	rest, effective, unnamed := alpha, 0, 0
	for _, g := range gates {
		if !g.Spends() {
			continue
		}
		effective++
		rest -= g.alpha
		if g.alpha == 0 {
			unnamed++
		}
	}
	named, all := percentText(alpha-rest), percentText(alpha)
	switch {
	case rest < 0:
		list.fail("the gates' parts of alpha add up to %s; want at most the model's alpha, %s", named, all)
	case rest == 0 && unnamed > 0:
		list.fail("the gates' parts of alpha leave nothing of its %s for those without one; want less than %s in all", all, all)
	case rest > 0 && unnamed == 0 && effective > 0:
		list.fail("the gates' parts of alpha add up to %s; want all of the model's alpha, %s, or a gate without a part, which gets the rest", named, all)
	}
	for i := range gates {
		switch g := &gates[i]; {
		case !g.Spends():
		case g.alpha > 0:
			g.Share = float64(g.alpha) / float64(alpha)
		default:
			g.Share = float64(rest) / float64(alpha) / float64(unnamed)
		}
	}
}

// warnUnjudged tells of a rollout that no gate judges, where the file does not say with
// `gates: []` that this is meant.
func (d *document) warnUnjudged(o object, m Model) {
	if s, ok := o.fields["segments"]; ok && len(m.Rules.Segments) > 0 && len(m.Rules.Gates) == 0 {
		d.warn(s.line(), s.path, "there is no gate to judge these cohorts by; name `gates`, or remove it")
	}
	timed := slices.ContainsFunc(m.Plan, func(s rollout.Step) bool { return s.Kind != rollout.StepSetWeight && !s.Manual })
	if p, ok := o.fields["plan"]; ok && timed && m.Challenger != nil && !o.has("gates") {
		d.warn(p.line(), p.path, "its steps end by time and counts alone, however the challenger does; name `gates`, or `gates: []` where that is meant")
	}
}

// fraction returns millionths as a share of 1.
func fraction(millionths int64) float64 { return float64(millionths) / million }

// percentText writes millionths as the file does, such as "0.25%".
func percentText(millionths int64) string {
	return strconv.FormatFloat(float64(millionths)/1e4, 'f', -1, 64) + "%"
}
