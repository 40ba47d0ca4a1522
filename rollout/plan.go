package rollout

import (
	"errors"
	"fmt"
	"time"
)

// StepKind tells the elements of a plan apart.
type StepKind uint8

// A rollout rests at StepShadow and StepPause; StepSetWeight takes no time.
const (
	StepShadow StepKind = iota + 1
	StepSetWeight
	StepPause
)

// Step is one element of a plan.
type Step struct {
	Kind StepKind `json:"kind"`
	// Weight is the challenger's share from here on. StepSetWeight only.
	Weight Weight `json:"weight,omitempty"`
	// Bake is the least time at the step.
	Bake time.Duration `json:"bake,omitempty"`
	// MinRequests is the least evidence: paired predictions in shadow, requests routed
	// (both arms) in canary. At least 1 unless Manual.
	MinRequests int64 `json:"min_requests,omitempty"`
	// Manual marks `pause: {}`, which waits for Resume.
	Manual bool `json:"manual,omitempty"`
	// MaxDuration is when the step should have been passed; 0 is never. OnMaxDuration is
	// what follows: RollBack, or Hold, which leaves the step to an operator.
	MaxDuration   time.Duration `json:"max_duration,omitempty"`
	OnMaxDuration Reaction      `json:"on_max_duration,omitempty"`
	// Gates replace those of the rules with the same names while the rollout is here.
	Gates []Gate `json:"gates,omitempty"`
}

// String returns the step in a few words, such as "shadow" or "setWeight 5%".
func (s Step) String() string {
	switch {
	case s.Kind == StepShadow:
		return "shadow"
	case s.Kind == StepSetWeight:
		return "setWeight " + s.Weight.String()
	case s.Manual:
		return "pause until resumed"
	}
	return "pause " + s.Bake.String()
}

// Plan is the way from the first rehearsal to promotion. An empty plan rests in
// shadow until an operator acts.
type Plan []Step

// Validate tells the first thing that is wrong with the plan, by its index.
func (p Plan) Validate() error {
	for i, s := range p {
		if err := p.validateStep(i, s); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// ValidateStep tells what is wrong with step i and its place in the plan.
func (p Plan) ValidateStep(i int) error { return p.validateStep(i, p[i]) }

func (p Plan) validateStep(i int, s Step) error {
	switch s.Kind {
	case StepSetWeight:
		if s.Weight == 0 || s.Weight > FullWeight {
			return fmt.Errorf("setWeight %s: want more than 0 and at most 100", s.Weight)
		}
		if i+1 == len(p) || p[i+1].Kind != StepPause {
			return errors.New("setWeight without a pause after it: the challenger would pass this weight unjudged; add a `pause`")
		}
		return nil
	case StepShadow:
		for _, before := range p[:i] {
			if before.Kind == StepSetWeight {
				return errors.New("shadow after setWeight: a plan rehearses first")
			}
		}
	case StepPause:
	default:
		return fmt.Errorf("unknown kind %d", s.Kind)
	}
	if s.Bake < 0 {
		return fmt.Errorf("duration %s: want 0 or more", s.Bake)
	}
	if !s.Manual && s.MinRequests < 1 {
		return fmt.Errorf("minRequests %d: want at least 1, for a step without data never ends", s.MinRequests)
	}
	return nil
}

// place is where a rollout stands in its plan.
type place struct {
	step   int
	mode   Mode
	weight Weight
}

// rests lists the places where the plan rests, in order. An empty plan has one: shadow.
func (p Plan) rests() []place {
	if len(p) == 0 {
		return []place{{0, ModeShadow, 0}}
	}
	var out []place
	at := place{mode: ModeShadow}
	for i, s := range p {
		at.step = i
		if s.Kind == StepSetWeight {
			at.mode, at.weight = ModeCanary, s.Weight
			continue
		}
		out = append(out, at)
	}
	return out
}

// after returns the resting place behind step i; ok is false behind the last one.
func (p Plan) after(i int) (next place, ok bool) {
	for _, r := range p.rests() {
		if r.step > i {
			return r, true
		}
	}
	return place{}, false
}

// lastNotAbove returns the last resting place that exposes the challenger no more than
// mode and weight do; ok is false where all expose it more.
func (p Plan) lastNotAbove(mode Mode, weight Weight) (found place, ok bool) {
	for _, r := range p.rests() {
		if r.mode < mode || (r.mode == mode && r.weight <= weight) {
			found, ok = r, true
		}
	}
	return found, ok
}
