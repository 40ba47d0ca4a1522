package rollout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrNotAllowed is wrapped by every refused transition.
var ErrNotAllowed = errors.New("not allowed")

// EventKind names what happens to a rollout.
type EventKind string

// The events. Start, Advance and Configure are the gateway's own; the others are
// operators', and Rollback is both's.
const (
	EventStart     EventKind = "start"
	EventAdvance   EventKind = "advance"
	EventConfigure EventKind = "configure"
	EventSetMode   EventKind = "set_mode"
	EventPromote   EventKind = "promote"
	EventRollback  EventKind = "rollback"
	EventPause     EventKind = "pause"
	EventResume    EventKind = "resume"
	EventRetry     EventKind = "retry"
)

// Event asks for a change of state.
type Event struct {
	Kind EventKind
	// Actor is who: a token's name, "local", or "gateway".
	Actor string
	// Remote is the operator's network address, for the audit; empty for the gateway itself.
	Remote string
	// Reason is why, for people.
	Reason string
	// Mode and Weight are SetMode's; Weight counts in canary only.
	Mode   Mode
	Weight Weight
	// Full is Promote's: skip the rest of the plan.
	Full bool
	// Plan and Rules are Retry's: those that the file has now.
	Plan  Plan
	Rules Rules
}

// Apply returns the state after e, with the next revision. A refusal wraps
// ErrNotAllowed, says what is allowed instead, and leaves s as it was.
func (s State) Apply(e Event, now time.Time) (State, error) {
	if !slices.Contains(s.Allowed(), e.Kind) {
		return s, s.refuse(e.Kind, "")
	}
	next := s
	next.Revision++
	var err error
	switch e.Kind {
	case EventAdvance, EventPromote:
		next.promote(e.Full)
	case EventRollback:
		next.Mode, next.Weight, next.Paused, next.Override = ModeRolledBack, 0, false, false
	case EventPause:
		next.Paused = true
	case EventResume:
		next.resume()
	case EventRetry:
		next.Plan, next.Rules = slices.Clone(e.Plan), e.Rules
		next.start()
	case EventSetMode:
		err = next.setMode(e)
	}
	if err != nil {
		return s, err
	}
	return next.log(e, now), nil
}

// Allowed lists the events that the state takes, Start and Configure aside.
func (s State) Allowed() []EventKind {
	if !s.HasChallenger() {
		return nil
	}
	switch s.Mode {
	case ModeChampion:
		return []EventKind{EventSetMode, EventResume, EventRollback}
	case ModeShadow, ModeCanary:
		out := []EventKind{EventSetMode, EventPromote, EventRollback}
		step, inPlan := s.Current()
		switch {
		case s.Paused:
			return append(out, EventResume)
		case inPlan && step.Manual:
			return append(out, EventPause, EventResume)
		case inPlan:
			return append(out, EventPause, EventAdvance)
		}
		return append(out, EventPause)
	case ModePromoted:
		return []EventKind{EventRollback}
	case ModeRolledBack:
		return []EventKind{EventRetry}
	}
	return nil
}

func (s State) refuse(kind EventKind, detail string) error {
	if !s.HasChallenger() {
		return fmt.Errorf("%w: %s: model %s has no challenger; name one in the config file", ErrNotAllowed, kind, s.Model)
	}
	var names []string
	for _, k := range s.Allowed() {
		if k != EventAdvance {
			names = append(names, string(k))
		}
	}
	where := s.Mode.String()
	if s.Paused {
		where += " (paused)"
	}
	if detail != "" {
		detail = " (" + detail + ")"
	}
	return fmt.Errorf("%w: %s in mode %s of model %s%s; allowed: %s", ErrNotAllowed, kind, where, s.Model, detail, strings.Join(names, ", "))
}

// start puts the rollout at the first resting place of its plan.
func (s *State) start() {
	s.Rollout = s.Revision
	s.Paused = false
	s.enter(s.Plan.rests()[0])
}

func (s *State) enter(p place) {
	s.Mode, s.Weight, s.Step = p.mode, p.weight, p.step
	s.Entered = s.Revision
	s.Override = false
}

// promote leaves the current step, or with full the whole plan, upwards.
func (s *State) promote(full bool) {
	from := s.Step
	if s.Override {
		from = -1 // where all of the plan exposes the challenger more, its first step is the next
		if last, ok := s.Plan.lastNotAbove(s.Mode, s.Weight); ok {
			from = last.step
		}
	}
	if next, ok := s.Plan.after(from); ok && !full {
		s.enter(next)
		return
	}
	s.Paused = false
	s.enter(place{step: len(s.Plan), mode: ModePromoted, weight: FullWeight})
}

// resume goes on: from a pause where it was, from SetMode at the last step not above
// it (the first one where all are above), from `pause: {}` to the next step.
func (s *State) resume() {
	switch {
	case s.Override:
		last, ok := s.Plan.lastNotAbove(s.Mode, s.Weight)
		if !ok {
			last = s.Plan.rests()[0]
		}
		s.enter(last)
	case !s.Paused:
		s.promote(false)
	}
	s.Paused = false
}

func (s *State) setMode(e Event) error {
	switch e.Mode {
	case ModeChampion, ModeShadow:
		s.Weight = 0
	case ModeCanary:
		if e.Weight > FullWeight {
			return s.refuse(e.Kind, fmt.Sprintf("weight %s is over 100%%", e.Weight))
		}
		s.Weight = e.Weight
	default:
		return s.refuse(e.Kind, fmt.Sprintf("mode %s can't be set; set champion, shadow or canary", e.Mode))
	}
	s.Mode = e.Mode
	s.Entered = s.Revision
	s.Paused, s.Override = true, true
	return nil
}

// log appends the change to the history.
func (s State) log(e Event, now time.Time) State {
	c := Change{Time: now, Revision: s.Revision, Kind: e.Kind, Actor: e.Actor, Reason: e.Reason, Mode: s.Mode, Weight: s.Weight}
	s.Changes = slices.Concat([]Change{c}, s.Changes)
	if len(s.Changes) > MaxChanges {
		s.Changes = s.Changes[:MaxChanges]
	}
	return s
}
