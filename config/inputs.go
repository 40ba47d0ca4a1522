package config

import (
	"slices"

	"github.com/understudy-serving/understudy/rollout"
)

// defaultFeatures is how many elements of an input are watched where the file names none.
const defaultFeatures = 16

// inputs reads the inputs whose distributions are compared.
func (d *document) inputs(model object) (inputs []rollout.WatchedInput) {
	n, ok := model.fields["inputs"]
	if !ok {
		return nil
	}
	elements, _ := n.list("inputs, each with input")
	features := 0
	for _, e := range elements {
		in, ok := watchedInput(e)
		if !ok {
			continue
		}
		if slices.ContainsFunc(inputs, func(before rollout.WatchedInput) bool { return before.Name == in.Name }) && in.Name != "" {
			e.fail("input %q is watched already; want one entry an input", in.Name)
		}
		inputs = append(inputs, in)
		features += in.Features
	}
	if features > rollout.MaxFeatures {
		n.fail("watch %d features in all; want at most %d", features, rollout.MaxFeatures)
	}
	return inputs
}

func watchedInput(n node) (in rollout.WatchedInput, ok bool) {
	o, ok := n.object(keys{
		known: []string{"input", "features", "hold"},
		hints: map[string]string{"tensor": "an input is named by `input`", "name": "an input is named by `input`"},
	})
	if !ok {
		return in, false
	}
	in.Features = defaultFeatures
	o.need("input", "the name of a numeric input tensor")
	o.name("input", &in.Name)
	count(o, "features", &in.Features, 1, rollout.MaxFeatures)
	o.bool("hold", &in.Hold)
	return in, true
}
