package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/canary"
	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// Setup is a rollout to simulate: what the config file says of a model, and its traffic.
type Setup struct {
	rollout.Configured
	Breaker canary.BreakerOptions
	// Timeout bounds a live call of the challenger, CopyTimeout a copy; 0 does not.
	Timeout, CopyTimeout time.Duration
	// Sample is the share of requests that is copied.
	Sample  rollout.Weight
	Traffic Traffic
	// Horizon is when the rollout is left to itself.
	Horizon time.Duration
	// Slow is the time from which on an answer counts as slow to a user; 0: never.
	Slow time.Duration
	// Look is how often plan and gates are looked at; 1 s where 0.
	Look time.Duration
	// Misrouted, where over 0, is the share that really goes to the challenger in canary:
	// a split that is broken.
	Misrouted rollout.Weight
	// Until, where not nil, ends a run early.
	Until func(rollout.Judgement) bool
}

// Run simulates one rollout. A pause without a duration is resumed as soon as its gates
// have passed. The error is the context's, or of settings that no conductor takes.
func Run(ctx context.Context, s Setup, seed uint64) (Result, error) {
	p := newPlay(s, seed)
	if err := p.conductor.Configure(ctx, []canary.Settings{{Configured: p.setup.Configured, Breaker: p.setup.Breaker}}); err != nil {
		return Result{}, err
	}
	request := p.source.Next()
	look := p.setup.Look
	for !p.over {
		switch next, pending := p.ends.next(); {
		case pending && next <= min(request.At, look):
			p.now = next
			p.ends.pop()()
		case request.At <= look:
			p.now = request.At
			p.receive(request)
			request = p.source.Next()
		default:
			p.now = look
			look += p.setup.Look
			if err := p.look(ctx); err != nil {
				return Result{}, err
			}
		}
	}
	p.conclude()
	return p.result, nil
}

// play is one simulated rollout under way.
type play struct {
	setup     Setup
	source    *Source
	conductor *canary.Conductor
	live      canary.Live
	now       time.Duration
	ends      agenda
	exposed   map[int]bool
	result    Result
	// entered is when the step began whose revision is at.
	entered time.Duration
	at      uint64
	step    int
	over    bool
}

func newPlay(s Setup, seed uint64) *play {
	if s.Look == 0 {
		s.Look = time.Second
	}
	// Another challenger gets another selection of the keys: so does another run.
	s.Challenger.Version = fmt.Sprintf("%s-%d", s.Challenger.Version, seed)
	s.Breaker.FailureRatio = 0 // runs on the system's clock
	p := &play{setup: s, source: NewSource(s.Traffic, seed), exposed: map[int]bool{}}
	p.result.Steps = map[int]time.Duration{}
	p.conductor = canary.NewConductor(canary.Options{
		Store:     new(memory),
		Publish:   p.publish,
		Now:       func() time.Time { return time.Unix(0, 0).Add(p.now) },
		Elapsed:   func() time.Duration { return p.now },
		SaveEvery: forever,
		Brief:     true,
	})
	return p
}

// forever is beyond every horizon: nobody reads what would be saved.
const forever = 100 * 365 * 24 * time.Hour

// publish takes a state over as the gateway does.
func (p *play) publish(l canary.Live) {
	p.live = l
	if l.State.Entered != p.at || !l.State.Recorded() {
		if p.at > 0 {
			p.result.Steps[p.step] += p.now - p.entered
		}
		p.at, p.entered, p.step = l.State.Entered, p.now, l.State.Step
	}
	p.over = p.over || !l.State.Recorded()
}

// look lets the conductor act, and then whoever operates it.
func (p *play) look(ctx context.Context) error {
	p.conductor.Look(ctx)
	s := p.live.State
	step, inPlan := s.Current()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.over:
	case p.now >= p.setup.Horizon:
		p.end(Waiting)
	case s.Mode == rollout.ModeShadow && p.live.Breaker.State() != canary.BreakerClosed:
		p.end(Suspended)
	case inPlan && step.MaxDuration > 0 && step.OnMaxDuration != rollout.RollBack && p.now-p.entered >= step.MaxDuration:
		p.end(Held)
	case inPlan && step.Manual:
		return p.resume(ctx)
	case p.setup.Until != nil:
		p.over = p.setup.Until(p.view().Figures.Judgement)
	}
	return nil
}

func (p *play) end(o Outcome) { p.over, p.result.Outcome = true, o }

func (p *play) view() rollout.View {
	v, err := p.conductor.Get(p.setup.Model)
	if err != nil {
		panic(err) // it was configured
	}
	return v
}

// resume ends a pause for an operator once the gates have passed.
func (p *play) resume(ctx context.Context) error {
	v := p.view()
	j := v.Figures.Judgement
	if j.Entered != v.Entered || j.Split.Void || len(j.Holding()) > 0 {
		return nil
	}
	_, err := p.conductor.Apply(ctx, p.setup.Model, rollout.Event{Kind: rollout.EventResume, Actor: "simulated operator"}, &v.Revision)
	if errors.Is(err, rollout.ErrStale) || errors.Is(err, rollout.ErrNotAllowed) {
		return nil // it has moved on
	}
	return err
}

// conclude says how the rollout ended.
func (p *play) conclude() {
	v := p.view()
	r := &p.result
	r.At, r.Void = p.now, v.Figures.Judgement.Split.Void
	r.Since = max(p.now-p.setup.Traffic.From, 0)
	switch {
	case v.Mode == rollout.ModePromoted:
		r.Outcome = Promoted
	case v.Mode == rollout.ModeRolledBack:
		r.Outcome = RolledBack
		r.By = p.culprit(v)
	default:
		r.Outcome = cmp.Or(r.Outcome, Waiting)
		r.By = waitingFor(v)
	}
}

// culprit names what rolled the challenger back.
func (p *play) culprit(v rollout.View) string {
	i := slices.IndexFunc(v.Changes, func(c rollout.Change) bool { return c.Kind == rollout.EventRollback })
	switch v.Changes[i].Actor {
	case canary.BreakerActor:
		return "breaker"
	case canary.GateActor:
		failed, _ := v.Figures.Judgement.Decisive()
		return gateName(failed)
	}
	return "max_duration of " + gate.Span(p.live.State.Plan[p.step].MaxDuration)
}

// waitingFor names the gates and cohorts that keep the step; where none does, it waits for time
// or requests.
func waitingFor(v rollout.View) string {
	var names []string
	j := v.Figures.Judgement
	switch {
	case j.Split.Void:
		return "a split that can be trusted"
	case v.Breaker != canary.BreakerClosed:
		return "breaker"
	}
	for _, r := range j.Holding() {
		names = append(names, gateName(r))
	}
	if len(names) == 0 {
		return "time or requests"
	}
	return strings.Join(names, ", ")
}

func gateName(r rollout.GateReport) string {
	if r.Segment == "" {
		return r.Gate.Name()
	}
	return r.Gate.Name() + " (" + r.Segment + ")"
}
