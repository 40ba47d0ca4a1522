package canary

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// judgement is whether a rollout may leave its step, and if not, why.
type judgement struct {
	ready bool
	// waiting says in words what is missing; empty where nothing is.
	waiting   string
	remaining time.Duration
}

// judge decides from the state, what was gathered at its step, and the breaker's state.
// Nothing is ever ready without evidence.
func judge(s rollout.State, p rollout.Progress, breaker string) judgement {
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
	}
	j.ready = len(missing) == 0
	j.waiting = strings.Join(missing, "; ")
	return j
}

// gathering lists what the step still lacks in time and evidence.
func gathering(s rollout.State, step rollout.Step, p rollout.Progress) (missing []string) {
	if left := step.Bake - p.Elapsed; left > 0 {
		missing = append(missing, "bake "+briefly(left)+" left")
	}
	have, what := p.Pairs, "paired predictions"
	if s.Mode == rollout.ModeCanary {
		have, what = p.Routed, "requests"
	}
	if want := max(step.MinRequests, 1); have < want {
		missing = append(missing, grouped(have)+" of "+grouped(want)+" "+what)
	} else if s.Mode == rollout.ModeCanary && p.Answered < 1 {
		missing = append(missing, "the challenger has answered no request yet")
	}
	return missing
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
		return fmt.Sprintf("baked %s with %s paired predictions", briefly(p.Elapsed), grouped(p.Pairs))
	}
	return fmt.Sprintf("baked %s with %s requests, %s answered by the challenger", briefly(p.Elapsed), grouped(p.Routed), grouped(p.Answered))
}

// briefly writes a duration as people do, to the second where it has any: "1h5m", "12m", "350ms".
func briefly(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	text := d.Round(time.Second).String()
	if rest, cut := strings.CutSuffix(text, "m0s"); cut {
		text = rest + "m"
	}
	if rest, cut := strings.CutSuffix(text, "h0m"); cut {
		text = rest + "h"
	}
	return text
}

// grouped writes n with a comma between thousands.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
