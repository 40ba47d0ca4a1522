package shadow

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// ErrCompareRule is wrapped by every refusal of a rule.
var ErrCompareRule = errors.New("bad compare rule")

// DefaultTolerance is both tolerances, absolute and relative, of floating-point outputs
// without a rule: what float32 arithmetic in another order explains.
const DefaultTolerance = 1e-6

// Comparer compares the predictions of two arms for the same request. It holds nothing
// but its rules and may be used by several goroutines.
//
// Outputs without a rule are compared as score with DefaultTolerance where their
// datatype is a floating-point one, and as exact otherwise. In every kind a NaN equals
// any NaN, an infinity the same infinity, and −0 equals 0.
type Comparer struct {
	rules map[string]rollout.CompareRule
}

// NewComparer takes at most one rule an output. Errors wrap ErrCompareRule.
func NewComparer(rules []rollout.CompareRule) (*Comparer, error) {
	c := &Comparer{rules: make(map[string]rollout.CompareRule, len(rules))}
	for i, r := range rules {
		if err := checkRule(r); err != nil {
			return nil, fmt.Errorf("%w %d: %w", ErrCompareRule, i, err)
		}
		if _, twice := c.rules[r.Output]; twice {
			return nil, fmt.Errorf("%w %d: output %q has one already", ErrCompareRule, i, r.Output)
		}
		c.rules[r.Output] = r
	}
	return c, nil
}

func checkRule(r rollout.CompareRule) error {
	kinds := []rollout.CompareKind{rollout.CompareScore, rollout.CompareClass, rollout.CompareExact, rollout.CompareIgnore}
	switch {
	case r.Output == "":
		return errors.New("output is empty; name the output that it is for")
	case !slices.Contains(kinds, r.Kind):
		return fmt.Errorf("output %q: kind %q: want one of %q", r.Output, r.Kind, kinds)
	case r.Kind != rollout.CompareScore && (r.ATol != 0 || r.RTol != 0):
		return fmt.Errorf("output %q: only a score has tolerances, not %s", r.Output, r.Kind)
	case !(r.ATol >= 0 && r.ATol <= math.MaxFloat64):
		return fmt.Errorf("output %q: atol %v: want a number from 0", r.Output, r.ATol)
	case !(r.RTol >= 0 && r.RTol <= math.MaxFloat64):
		return fmt.Errorf("output %q: rtol %v: want a number from 0", r.Output, r.RTol)
	}
	return nil
}

// Compare compares two ModelInferResponses output by output. It never fails: what can't
// be compared is a finding of its output, or the comparison's Error. Both payloads must
// stay referenced until it returns; the result keeps nothing of them.
func (c *Comparer) Compare(champion, challenger *rollout.Payload) *rollout.Comparison {
	var room [2][usualOutputs]oip.Tensor
	a, err := oip.ReadOutputs(room[0][:], champion)
	if a == nil && err != nil {
		return &rollout.Comparison{Error: "champion: " + err.Error()}
	}
	b, err := oip.ReadOutputs(room[1][:], challenger)
	if b == nil && err != nil {
		return &rollout.Comparison{Error: "challenger: " + err.Error()}
	}
	result := &rollout.Comparison{Agree: true}
	add := func(o rollout.OutputComparison) {
		if o.Kind != rollout.CompareIgnore {
			result.Outputs = append(result.Outputs, o)
			result.Agree = result.Agree && o.Agree
		}
	}
	ofA, ofB := newIndex(a), newIndex(b)
	for i := range a {
		if at := ofA.find(a[i].Name); at.first == i {
			add(c.compareOutput(a, at, b, ofB.find(a[i].Name)))
		}
	}
	for i := range b {
		if at := ofB.find(b[i].Name); at.first == i && ofA.find(b[i].Name).times == 0 {
			add(c.compareOutput(a, outputAt{}, b, at))
		}
	}
	return result
}

// outputAt is where in a response an output of some name stands, and how often; a second
// one of the same name makes the output malformed.
type outputAt struct{ first, times int }

// index finds outputs by name: the few that a model has by looking at each, many by a map.
type index struct {
	outputs []oip.Tensor
	byName  map[string]outputAt
}

const few = 8

// usualOutputs are as many as are compared without memory for their views.
const usualOutputs = 2

func newIndex(outputs []oip.Tensor) index {
	x := index{outputs: outputs}
	if len(outputs) <= few {
		return x
	}
	x.byName = make(map[string]outputAt, len(outputs))
	for i := range outputs {
		at := x.byName[outputs[i].Name]
		at.see(i)
		x.byName[outputs[i].Name] = at
	}
	return x
}

func (at *outputAt) see(i int) {
	if at.times == 0 {
		at.first = i
	}
	at.times++
}

func (x index) find(name string) (at outputAt) {
	if x.byName != nil {
		return x.byName[name]
	}
	for i := range x.outputs {
		if x.outputs[i].Name == name {
			at.see(i)
		}
	}
	return at
}

// compareOutput compares the outputs of one name, of which at least one side has one.
func (c *Comparer) compareOutput(a []oip.Tensor, inA outputAt, b []oip.Tensor, inB outputAt) rollout.OutputComparison {
	known := a
	at := inA
	if inA.times == 0 {
		known, at = b, inB
	}
	rule := c.ruleFor(&known[at.first])
	result := rollout.OutputComparison{Output: rule.Output, Kind: rule.Kind}
	switch {
	case rule.Kind == rollout.CompareIgnore:
	case inA.times > 1 || inB.times > 1:
		result.Finding = rollout.MalformedOutput
	case inB.times == 0:
		result.Finding = rollout.MissingOutput
	case inA.times == 0:
		result.Finding = rollout.UnexpectedOutput
	default:
		compareTensors(&result, rule, &a[inA.first], &b[inB.first])
	}
	result.Agree = result.Finding == ""
	return result
}

func (c *Comparer) ruleFor(t *oip.Tensor) rollout.CompareRule {
	if r, ok := c.rules[t.Name]; ok {
		return r
	}
	if t.Type().Family() == oip.Float {
		return rollout.CompareRule{Output: t.Name, Kind: rollout.CompareScore, ATol: DefaultTolerance, RTol: DefaultTolerance}
	}
	return rollout.CompareRule{Output: t.Name, Kind: rollout.CompareExact}
}

// compareTensors sets the finding and the figures of two tensors.
func compareTensors(result *rollout.OutputComparison, rule rollout.CompareRule, a, b *oip.Tensor) {
	switch {
	case errors.Is(a.Err(), oip.ErrMalformed) || errors.Is(b.Err(), oip.ErrMalformed):
		result.Finding = rollout.MalformedOutput
		return
	case a.Datatype != b.Datatype:
		result.Finding = rollout.DiffersInDatatype
		return
	case a.Err() != nil || rule.Kind == rollout.CompareScore && a.Type() == oip.Bytes:
		result.Finding = rollout.UncomparableOutput
		return
	case !slices.Equal(a.Shape, b.Shape):
		result.Finding = rollout.DiffersInShape
		return
	}
	switch rule.Kind {
	case rollout.CompareScore:
		compareScores(result, rule, a, b)
	case rollout.CompareClass:
		compareClasses(result, a, b)
	default:
		compareExactly(result, a, b)
	}
	if result.Differing > 0 {
		result.Finding = rollout.DiffersInValues
	}
}
