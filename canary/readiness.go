package canary

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// judgement is whether a rollout may leave its step, and if not, why.
type judgement struct {
	ready bool
	// waiting says in words what is missing; empty where nothing is.
	waiting   string
	remaining time.Duration
}

// readiness decides from the state, what was gathered at its step, the breaker's state
// and what the gates say. Nothing is ever ready without evidence.
func readiness(s rollout.State, p rollout.Progress, breaker string, gates rollout.Judgement) judgement {
	if !s.Recorded() {
		return judgement{}
	}
	step, inPlan := s.Current()
	j := judgement{}
	if inPlan {
		j.remaining = max(step.Bake-p.Elapsed, 0)
	}
	var missing []string
	if breaker != BreakerClosed {
		missing = append(missing, "breaker "+strings.ReplaceAll(breaker, "_", " ")+": challenger not answering probes")
	}
	switch {
	case s.Paused:
		missing = append(missing, pausedBy(s))
	case !inPlan:
		missing = append(missing, "an operator: the plan has no steps")
	case step.Manual:
		missing = append(missing, "resume: this step waits for an operator")
	default:
		missing = append(missing, gathering(s, step, p)...)
		missing = append(missing, unproven(s, gates)...)
		if overdue(step, p) {
			missing = append(missing, "an operator: maxDuration "+gate.Span(step.MaxDuration)+" is over; promote or roll back")
		}
	}
	j.ready = len(missing) == 0
	j.waiting = strings.Join(missing, "; ")
	return j
}

// gathering lists what the step still lacks in time and evidence.
func gathering(s rollout.State, step rollout.Step, p rollout.Progress) (missing []string) {
	if left := step.Bake - p.Elapsed; left > 0 {
		missing = append(missing, "bake "+gate.Span(left)+" left")
	}
	have, what := p.Pairs, "paired predictions"
	if s.Mode == rollout.ModeCanary {
		have, what = p.Routed, "requests"
	}
	if want := max(step.MinRequests, 1); have < want {
		missing = append(missing, gate.Number(have)+" of "+gate.Number(want)+" "+what)
	} else if s.Mode == rollout.ModeCanary && p.Answered < 1 {
		missing = append(missing, "the challenger has answered no request yet")
	}
	return missing
}

// unproven lists the gates that have not passed the step.
func unproven(s rollout.State, j rollout.Judgement) (missing []string) {
	switch {
	case j.Entered != s.Entered:
		if len(s.Rules.Gates)+len(s.Rules.Inputs) > 0 {
			missing = append(missing, "the gates' first look at this step")
		}
	case j.Split.Void:
		missing = append(missing, "a split that can be trusted: "+j.Split.Why)
	default:
		for _, r := range j.Holding() {
			missing = append(missing, "gate "+gateName(r)+": "+r.Why)
		}
		missing = append(missing, unevenInputs(j)...)
	}
	return missing
}

func overdue(step rollout.Step, p rollout.Progress) bool {
	return step.MaxDuration > 0 && p.Elapsed >= step.MaxDuration
}

// pausedBy says who paused the rollout and why.
func pausedBy(s rollout.State) string {
	i := slices.IndexFunc(s.Changes, func(c rollout.Change) bool {
		return c.Kind == rollout.EventPause || c.Kind == rollout.EventSetMode
	})
	if i < 0 {
		return "paused"
	}
	by := "paused by " + s.Changes[i].Actor
	if reason := s.Changes[i].Reason; reason != "" {
		by += ": " + reason
	}
	return by
}

// reasonToAdvance is what goes down in the history of a step that is over.
func reasonToAdvance(s rollout.State, p rollout.Progress) string {
	if s.Mode == rollout.ModeShadow {
		return fmt.Sprintf("baked %s with %s paired predictions", gate.Span(p.Elapsed), gate.Number(p.Pairs))
	}
	return fmt.Sprintf("baked %s with %s requests, %s answered by the challenger", gate.Span(p.Elapsed), gate.Number(p.Routed), gate.Number(p.Answered))
}
