package config

import (
	"slices"

	"github.com/understudy-serving/understudy/rollout"
)

var treatments = []string{string(rollout.Include), string(rollout.Digest), string(rollout.Drop)}

// record reads what of a model's payloads is recorded.
func (d *document) record(model object) rollout.RecordPolicy {
	p := rollout.RecordAll()
	o, ok := model.section("record", keys{
		known: []string{"inputs", "outputs", "tensors", "redactParameters", "sample"},
		hints: map[string]string{"redact": "parameters are left out by redactParameters, tensors by inputs, outputs and tensors"},
	})
	if !ok {
		return p
	}
	o.treatment("inputs", &p.Inputs)
	o.treatment("outputs", &p.Outputs)
	p.Tensors = d.tensorPolicies(o)
	const want = `the name of a parameter, or "*" for all`
	if n, ok := o.fields["redactParameters"]; ok {
		elements, _ := n.list(want)
		for _, e := range elements {
			if s, ok := e.text(want); ok {
				p.RedactParameters = append(p.RedactParameters, s)
			}
		}
	}
	if n, ok := o.fields["sample"]; ok {
		if w, ok := n.weight(`a percentage with its sign and at most two decimals, such as "100%" or "12.5%"`, false); ok {
			p.Sample = w
		}
	}
	return p
}

func (o object) treatment(key string, dst *rollout.Treatment) {
	s := string(*dst)
	o.choice(key, &s, treatments, nil)
	*dst = rollout.Treatment(s)
}

// tensorPolicies reads the tensors that are treated by name.
func (d *document) tensorPolicies(record object) (tensors []rollout.TensorPolicy) {
	n, ok := record.fields["tensors"]
	if !ok {
		return nil
	}
	elements, _ := n.list("tensors, each with name and as")
	for _, e := range elements {
		o, ok := e.object(keys{known: []string{"name", "as"}})
		if !ok {
			continue
		}
		var t rollout.TensorPolicy
		o.need("name", "the tensor's name")
		o.string("name", &t.Name, "the tensor's name")
		o.need("as", oneOf(treatments))
		o.treatment("as", &t.As)
		if slices.ContainsFunc(tensors, func(before rollout.TensorPolicy) bool { return before.Name == t.Name }) && t.Name != "" {
			e.fail("tensor %q is treated already; want one entry a name", t.Name)
		}
		tensors = append(tensors, t)
	}
	return tensors
}
