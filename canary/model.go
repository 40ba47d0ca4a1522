package canary

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// model is what the Conductor knows of one model.
type model struct {
	name string
	// planned has room for the one planned change that may be under way.
	planned chan struct{}

	mu   sync.Mutex
	conf Settings
	// withdrawn says that the file no longer names the model. It is kept all the same:
	// it may owe the store a rollback.
	withdrawn bool
	// loaded says that live.State is the stored one, or newer; before, the champion
	// serves alone.
	loaded bool
	// settled says that conf has had its effect on the state.
	settled bool
	// told says that the log knows why it is not.
	told bool
	// doubt is a planned change whose write failed in a way that may have stored it.
	doubt *proposal
	// deaf is when the log was last told that reported outcomes can't be read.
	deaf time.Duration
	live Live
	// asked is a rollback that came before the state was loaded.
	asked *rollout.Event
	owed  *debt
	// unaudited are changes that have been made and are not in the audit log yet;
	// auditTrouble is why, empty before the first try.
	unaudited    []proposal
	auditTrouble string
	// breakerSeen is the breaker's state as the log last told it.
	breakerSeen string
	// trouble is what last kept the rollout from its next change; empty after a success.
	trouble string
	// After a failure to advance, the next try waits until notBefore; wait doubles.
	notBefore, wait time.Duration

	// base is the progress of earlier processes at the step; elapsed is all of the time
	// there, and seen is when it was last added to.
	base          rollout.Progress
	elapsed, seen time.Duration
	saved         rollout.Progress
	savedAt       time.Duration

	// judgement is what the gates said when they were reviewed; evidence is the version of
	// theirs that is stored.
	judgement rollout.Judgement
	reviewed  time.Duration
	evidence  uint64
	// unlike is the rollout of which the log was told that its arms' inputs differ.
	unlike uint64
}

// restored is what an earlier process stored beside the state.
type restored struct {
	progress rollout.Progress
	evidence rollout.StoredEvidence
}

// debt is a rollback that is in force here and not in the store yet.
type debt struct {
	event rollout.Event
	after rollout.State
	// expected is the stored revision that after replaces.
	expected uint64
	// since is when it came into force.
	since time.Duration
	// trouble is why it isn't stored; empty before the first try.
	trouble string
}

func newModel(name string) *model { return &model{name: name, planned: make(chan struct{}, 1)} }

// lock waits for the planned change under way, if any, until ctx ends.
func (m *model) lock(ctx context.Context) error {
	select {
	case m.planned <- struct{}{}: // also where ctx has ended: then nothing else is under way
		return nil
	default:
	}
	select {
	case m.planned <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: model %s: another change is under way: %w", rollout.ErrUnavailable, m.name, context.Cause(ctx))
	}
}

func (m *model) unlock() { <-m.planned }

// accrue adds the time since the last look to the step's. mu is held.
func (m *model) accrue(now time.Duration) {
	passed := now - m.seen
	m.seen = now
	if _, inPlan := m.live.State.Current(); inPlan && !m.live.State.Paused && !m.withdrawn && passed > 0 {
		m.elapsed += passed
	}
}

// progress returns what was gathered at the step. mu is held.
func (m *model) progress() rollout.Progress {
	p := m.base
	if m.live.Evidence != nil {
		p = m.live.Evidence.progress(p)
	}
	p.Elapsed = m.elapsed
	return p
}

// figures returns those of the rollout. mu is held.
func (m *model) figures() rollout.Figures {
	if m.live.Evidence == nil {
		return rollout.Figures{}
	}
	f := m.live.Evidence.Figures()
	if m.judgement.Entered == m.live.State.Entered {
		f.Judgement = m.judgement
	}
	return f
}

// show puts next on stage. from is what an earlier process stored; progress of another
// step is void, and so is evidence of another rollout. m.mu is held.
func (c *Conductor) show(m *model, next rollout.State, from restored) {
	last := m.live
	m.accrue(c.o.Elapsed())
	m.live = c.cast(last, next, m.conf.Breaker, from.evidence)
	if from.evidence.Version > 0 {
		m.evidence = from.evidence.Version
	}
	if last.Evidence != m.live.Evidence || last.State.Entered != next.Entered {
		m.begin(from.progress)
	}
	breaker, live := m.live.Breaker, next.Mode == rollout.ModeCanary
	if breaker != nil && next.Mode == rollout.ModeRolledBack {
		breaker.Retire()
	}
	if breaker != nil && live {
		breaker.SetLive(true)
	}
	if !m.withdrawn {
		c.o.Publish(m.live)
	}
	if breaker != nil && !live {
		breaker.SetLive(false)
	}
	if last.Breaker != nil && last.Breaker != breaker {
		last.Breaker.Retire()
	}
	c.news.tell()
	if last.State.Revision != next.Revision {
		m.trouble, m.notBefore, m.wait = "", 0, 0
		c.tellLog(m, next)
	}
}

// cast returns next with its breaker and evidence: new ones for a new rollout.
func (c *Conductor) cast(last Live, next rollout.State, o BreakerOptions, stored rollout.StoredEvidence) Live {
	live := Live{State: next, Breaker: last.Breaker, Evidence: last.Evidence}
	fresh := last.Evidence == nil || last.State.Rollout != next.Rollout || last.State.Challenger != next.Challenger
	if fresh {
		checkpoint := c.decode(next, stored)
		if checkpoint != nil {
			checkpoint.Reopen(c.o.Now())
		}
		live.Evidence = NewEvidence(next, c.o.Elapsed, checkpoint)
	}
	switch {
	case !next.HasChallenger():
		live.Breaker = nil
	case fresh || live.Breaker == nil:
		o.OnTrip = func() { nudge(c.tripped) }
		live.Breaker = NewBreaker(o)
	}
	return live
}

// begin starts the counts and the clock of the step just entered. mu is held.
func (m *model) begin(restored rollout.Progress) {
	entered := m.live.State.Entered
	if restored.Entered != entered {
		restored = rollout.Progress{Entered: entered}
	}
	m.base, m.elapsed, m.saved = restored, restored.Elapsed, restored
	m.live.Evidence.enter(m.live.State)
}

// decode returns the stored evidence of the rollout that s is in; nil where there is none.
func (c *Conductor) decode(s rollout.State, stored rollout.StoredEvidence) *gate.Checkpoint {
	if stored.Version == 0 || stored.Rollout != s.Rollout {
		return nil
	}
	checkpoint := new(gate.Checkpoint)
	if err := json.Unmarshal(stored.Checkpoint, checkpoint); err != nil {
		c.o.Logger.Warn("the stored evidence of the gates can't be read and begins anew", "model", s.Model, "error", err)
		return nil
	}
	return checkpoint
}

func (c *Conductor) tellLog(m *model, s rollout.State) {
	if len(s.Changes) == 0 {
		return
	}
	last := s.Changes[0]
	args := []any{"model", s.Model, "revision", s.Revision, "mode", s.Mode.String(), "weight", s.Weight.String(),
		"event", string(last.Kind), "actor", last.Actor, "reason", last.Reason}
	switch {
	case s.Mode == rollout.ModeRolledBack && last.Kind == rollout.EventRollback:
		c.o.Logger.Warn("challenger rolled back: the champion serves everything; mend the challenger, then `understudy retry`", args...)
	case s.Unfinished(m.conf.Configured):
		c.o.Logger.Warn("the promoted challenger serves everything, but the file still names the old champion: set champion to "+
			s.Challenger.String(), args...)
	default:
		c.o.Logger.Info("rollout changed", args...)
	}
}
