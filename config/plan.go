package config

import (
	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-serving/understudy/rollout"
)

// laterInStep are keys of steps that need gates.
var laterInStep = []string{"gates", "maxDuration"}

// plan reads the steps. Each has its shape checked here and its place in the plan by
// rollout, so that the file and a stored plan obey the same rules.
func (d *document) plan(model object, shadow Shadow) rollout.Plan {
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
	for _, e := range elements {
		plan = append(plan, d.step(e, shadow))
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
func (d *document) step(n node, shadow Shadow) (s rollout.Step) {
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
			return d.shadowStep(v, shadow)
		case "setWeight":
			return d.setWeight(v)
		case "pause":
			return d.pause(v)
		}
	}
	return s
}

func (d *document) shadowStep(n node, shadow Shadow) rollout.Step {
	s := rollout.Step{Kind: rollout.StepShadow, MinRequests: defaultMinRequests}
	o, ok := n.object(keys{known: []string{"bake", "minRequests"}, later: laterInStep,
		hints: map[string]string{"duration": "the least time in shadow is called bake"}})
	if !ok {
		return s
	}
	o.duration("bake", &s.Bake, 0, 365*mostTime)
	count(o, "minRequests", &s.MinRequests, 1, mostCount)
	if shadow.Sample == 0 {
		n.fail("waits for mirrored requests, but shadow.sample is 0%%; raise the sample or remove the step")
	}
	return s
}

func (d *document) setWeight(n node) rollout.Step {
	s := rollout.Step{Kind: rollout.StepSetWeight}
	const want = "a percentage, more than 0 and at most 100 with at most two decimals, such as 5 or 12.5"
	w, ok := n.weight(want, true)
	if ok && w == 0 {
		n.fail("is %s; want %s", n.describe(), want)
	}
	s.Weight = w
	return s
}

func (d *document) pause(n node) rollout.Step {
	s := rollout.Step{Kind: rollout.StepPause, MinRequests: defaultMinRequests}
	const want = "a duration, such as {duration: 30m}, or {} to wait for resume"
	if _, null := n.value.(*ast.NullNode); null {
		n.fail("is empty; want %s", want)
		return s
	}
	if n.empty() {
		return rollout.Step{Kind: rollout.StepPause, Manual: true}
	}
	o, ok := n.object(keys{known: []string{"duration", "minRequests"}, later: laterInStep,
		hints: map[string]string{"bake": "the least time of a pause is called duration"}})
	if !ok {
		return s
	}
	if !o.has("duration") {
		n.fail("has no duration; want %s", want)
	}
	o.duration("duration", &s.Bake, leastTime, 365*mostTime)
	count(o, "minRequests", &s.MinRequests, 1, mostCount)
	return s
}
