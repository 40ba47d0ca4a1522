package config

import (
	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-serving/understudy/rollout"
)

// planReader is what a step is read against.
type planReader struct {
	model *Model
	// gates are the model's, which a step may override; whole is false where some could not
	// be read, so that one which seems missing may not be.
	gates []gate
	whole bool
	// mode is that of the steps to come: canary behind a setWeight.
	mode rollout.Mode
}

// plan reads the steps. Each has its shape checked here and its place in the plan by
// rollout, so that the file and a stored plan obey the same rules.
func (d *document) plan(model object, m *Model, gates []gate, whole bool) rollout.Plan {
	n, ok := model.fields["plan"]
	if !ok {
		return nil
	}
	elements, ok := n.list("steps: shadow, setWeight or pause")
	if !ok {
		return nil
	}
	var plan rollout.Plan
	errs := len(d.errs)
	r := &planReader{model: m, gates: gates, whole: whole, mode: rollout.ModeShadow}
	for _, e := range elements {
		plan = append(plan, r.step(e))
	}
	if len(d.errs) > errs {
		// A step that could not be read would make its neighbours look misplaced.
		return nil
	}
	for i, e := range elements {
		if err := plan.ValidateStep(i); err != nil {
			e.fail("%v", err)
		}
	}
	return plan
}

// step reads one element, a mapping of a single key.
func (r *planReader) step(n node) (s rollout.Step) {
	kinds := []string{"shadow", "setWeight", "pause"}
	o, ok := n.object(keys{known: kinds, later: []string{"analysis", "experiment"}})
	if !ok {
		return s
	}
	if len(o.asked) != 1 {
		n.fail("has %d keys; want one of %s, each a list element of its own", len(o.asked), oneOf(kinds))
		return s
	}
	for key, v := range o.fields {
		switch key {
		case "shadow":
			return r.shadowStep(v)
		case "setWeight":
			r.mode = rollout.ModeCanary
			return v.setWeight()
		case "pause":
			return r.pause(v)
		}
	}
	return s
}

func (r *planReader) shadowStep(n node) rollout.Step {
	s := rollout.Step{Kind: rollout.StepShadow, MinRequests: defaultMinRequests}
	o, ok := n.object(keys{known: append([]string{"bake"}, restKeys...),
		hints: map[string]string{"duration": "the least time in shadow is called bake"}})
	if !ok {
		return s
	}
	o.duration("bake", &s.Bake, 0, 365*mostTime)
	r.rest(o, &s, "bake")
	if r.model.Shadow.Sample == 0 {
		n.fail("waits for mirrored requests, but shadow.sample is 0%%; raise the sample or remove the step")
	}
	return s
}

func (n node) setWeight() rollout.Step {
	s := rollout.Step{Kind: rollout.StepSetWeight}
	const want = "a percentage, more than 0 and at most 100 with at most two decimals, such as 5 or 12.5"
	w, ok := n.weight(want, true)
	if ok && w == 0 {
		n.fail("is %s; want %s", n.describe(), want)
	}
	s.Weight = w
	return s
}

func (r *planReader) pause(n node) rollout.Step {
	s := rollout.Step{Kind: rollout.StepPause, MinRequests: defaultMinRequests}
	const want = "a duration, such as {duration: 30m}, or {} to wait for resume"
	if _, null := n.value.(*ast.NullNode); null {
		n.fail("is empty; want %s", want)
		return s
	}
	if n.empty() {
		return rollout.Step{Kind: rollout.StepPause, Manual: true}
	}
	o, ok := n.object(keys{known: append([]string{"duration"}, restKeys...),
		hints: map[string]string{"bake": "the least time of a pause is called duration"}})
	if !ok {
		return s
	}
	if !o.has("duration") {
		n.fail("has no duration; want %s", want)
	}
	o.duration("duration", &s.Bake, leastTime, 365*mostTime)
	r.rest(o, &s, "duration")
	return s
}

// restKeys are those that all steps have that end by themselves, beside their least time.
var restKeys = []string{"minRequests", "maxDuration", "onMaxDuration", "gates"}

// rest reads restKeys; bake is the key of the least time.
func (r *planReader) rest(o object, s *rollout.Step, bake string) {
	count(o, "minRequests", &s.MinRequests, 1, mostCount)
	o.maxDuration(s, bake)
	n, ok := o.fields["gates"]
	if !ok {
		return
	}
	for _, g := range n.d.gates(n, r.model) {
		if base, ok := r.overridden(g); ok {
			s.Gates = append(s.Gates, r.override(g, base))
		}
	}
}

func (o object) maxDuration(s *rollout.Step, bake string) {
	o.duration("maxDuration", &s.MaxDuration, leastTime, 365*mostTime)
	if n, ok := o.fields["maxDuration"]; ok && s.MaxDuration != 0 && s.MaxDuration < s.Bake {
		n.fail("is %s, less than the step's %s; want at least %s", n.describe(), bake, short(s.Bake))
	}
	if o.has("maxDuration") {
		s.OnMaxDuration = rollout.Hold
	} else if n, ok := o.fields["onMaxDuration"]; ok {
		n.fail("says what follows a maxDuration, and there is none; name that too, or remove this")
	}
	o.reaction("onMaxDuration", &s.OnMaxDuration)
}

// overridden returns the model's gate of the same name.
func (r *planReader) overridden(g gate) (base gate, ok bool) {
	var names []string
	for _, base := range r.gates {
		if base.Name() == g.Name() {
			return base, true
		}
		names = append(names, base.Name())
	}
	switch {
	case !r.whole:
	case len(names) == 0:
		g.at.fail("a step overrides gates of the model, which has none; name %s under the model's gates first", g.Name())
	default:
		g.at.fail("the model has no gate %s; want one of those that a step can override: %s", g.Name(), oneOf(names))
	}
	return base, false
}

// override returns g as it holds at a step in place of base. What is fixed for the
// rollout is base's.
func (r *planReader) override(g, base gate) rollout.Gate {
	const fixed = "the budget of false rollbacks is fixed for the rollout; remove it, or change the model's gate in line %d"
	if n, ok := g.at.fields["alpha"]; ok && g.alpha != 0 && g.alpha != base.alpha {
		n.fail(fixed, base.at.line())
	}
	if n, ok := g.at.fields["dryRun"]; ok && g.DryRun != base.DryRun {
		n.fail(fixed, base.at.line())
	}
	if n, ok := g.at.fields["onFail"]; ok && g.OnFail != base.OnFail {
		n.fail(fixed, base.at.line())
	}
	if !g.In(r.mode) && !base.In(r.mode) {
		g.at.fail("%s judges nothing in %s, the mode of this step; remove it, or name the mode in modes", g.Name(), r.mode)
	}
	g.sameOutcome(base)
	g.DryRun, g.Share, g.OnFail = base.DryRun, base.Share, base.OnFail
	return g.Gate
}
