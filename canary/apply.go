package canary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// operators' events; the others are the Conductor's own.
func isOperators(k rollout.EventKind) bool {
	switch k {
	case rollout.EventSetMode, rollout.EventPromote, rollout.EventRollback,
		rollout.EventPause, rollout.EventResume, rollout.EventRetry:
		return true
	}
	return false
}

// Apply changes a rollout as an operator asks. expected is the revision that the caller
// saw; a rollback needs none and does not look at it.
//
// A rollback acts before anything is written, and its audit entry and stored state
// follow as soon as they can. Any other change is audited, then stored, then made; where
// an earlier one of these fails it is not made, and the caller who gets the error has to
// audit that. Errors wrap rollout.ErrUnknownModel, ErrStale (as a StaleError),
// ErrNotAllowed or ErrUnavailable; after Close everything is ErrUnavailable.
func (c *Conductor) Apply(ctx context.Context, name string, e rollout.Event, expected *uint64) (rollout.View, error) {
	m := c.find(name)
	if m == nil {
		return rollout.View{}, c.unknown(name)
	}
	var err error
	switch {
	case !isOperators(e.Kind):
		err = fmt.Errorf("%w: %s is the gateway's own", rollout.ErrNotAllowed, e.Kind)
	case e.Kind == rollout.EventRollback:
		err = c.rollBackByHand(m, e)
	default:
		err = c.change(ctx, m, e, expected)
	}
	v, ok := c.view(m)
	if err == nil && !ok {
		err = c.unknown(name)
	}
	return v, err
}

// change makes a planned change where the state is still at the revision expected. An
// operator's is audited before it is stored, so that none is ever made unaudited; one
// of the gateway's own afterwards, so that a store that is away fills no audit log.
func (c *Conductor) change(ctx context.Context, m *model, e rollout.Event, expected *uint64) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	if err := c.resolve(ctx, m); err != nil {
		return fmt.Errorf("%w: the store does not answer, and the %s of model %s is not made: %w", rollout.ErrUnavailable, e.Kind, m.name, err)
	}
	p, err := c.propose(m, e, expected)
	if err != nil {
		return err
	}
	if isOperators(e.Kind) {
		if err := c.o.Audit.Change(p.before, p.after, p.event, p.figures); err != nil {
			return fmt.Errorf("%w: the change can't be audited and is not made: %w", rollout.ErrUnavailable, err)
		}
	}
	// Whoever asked may leave now; a write cut short would leave doubt about the state.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.StoreTimeout)
	defer cancel()
	if err := c.put(ctx, m, p); err != nil {
		return notMade(p, err)
	}
	if !isOperators(e.Kind) {
		m.mu.Lock()
		c.oweEntry(m, p)
		m.mu.Unlock()
	}
	return c.land(m, p.after)
}

// proposal is a planned change on its way.
type proposal struct {
	event         rollout.Event
	before, after rollout.State
	figures       rollout.Figures
	// since is when its audit entry fell due.
	since time.Duration
}

func (c *Conductor) propose(m *model, e rollout.Event, expected *uint64) (p proposal, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.live.State
	switch {
	case c.closed.Load():
		return p, errClosed
	case m.withdrawn:
		return p, fmt.Errorf("%w: %q is no longer in the file", rollout.ErrUnknownModel, m.name)
	case !m.loaded:
		return p, fmt.Errorf("%w: model %s: its stored state is not loaded yet: %s",
			rollout.ErrUnavailable, m.name, cmp.Or(m.trouble, "under way"))
	case expected == nil:
		return p, &rollout.StaleError{Model: m.name, Current: s}
	case *expected != s.Revision:
		return p, &rollout.StaleError{Model: m.name, Expected: *expected, Current: s}
	case m.owed != nil:
		return p, fmt.Errorf("%w: model %s: its rollback is in force but not stored yet: %s",
			rollout.ErrUnavailable, m.name, cmp.Or(m.owed.trouble, "under way"))
	}
	if e.Kind == rollout.EventRetry {
		if e, err = m.retry(e); err != nil {
			return p, err
		}
	}
	after, err := s.Apply(e, c.o.Now())
	if err != nil {
		return p, err
	}
	if err := m.mayPerform(e, after); err != nil {
		return p, err
	}
	return proposal{event: e, before: s, after: after, figures: m.figures()}, nil
}

// retry gives the event the file's plan. mu is held.
func (m *model) retry(e rollout.Event) (rollout.Event, error) {
	s := m.live.State
	switch {
	case s.Mode != rollout.ModeRolledBack: // Apply says what is allowed
	case s.ChampionRolledBack(m.conf.Configured):
		return e, fmt.Errorf("%w: retry: the file of model %s makes the challenger that was rolled back champion; "+
			"set champion back to %s, name %s as challenger and reload first", rollout.ErrNotAllowed, m.name, s.Champion, s.Challenger)
	case m.conf.Challenger == rollout.Spec{}:
		return e, fmt.Errorf("%w: retry: the file names no challenger for model %s; put %s there and reload first",
			rollout.ErrNotAllowed, m.name, s.Challenger)
	case m.conf.Challenger != s.Challenger:
		return e, fmt.Errorf("%w: retry: the file's challenger is %s, the one rolled back is %s; the file's starts by itself once its state is stored",
			rollout.ErrNotAllowed, m.conf.Challenger, s.Challenger)
	}
	e.Plan, e.Rules = m.conf.Plan, m.conf.Rules
	return e, nil
}

// mayPerform refuses to put a challenger before users whose breaker is not closed: it
// would trip at once. mu is held.
func (m *model) mayPerform(e rollout.Event, after rollout.State) error {
	exposed := after.Mode == rollout.ModeCanary || after.Mode == rollout.ModePromoted
	ownBreaker := after.Rollout == m.live.State.Rollout // a new rollout has a new one
	if b := m.live.Breaker; !exposed || !ownBreaker || b == nil || b.State() == BreakerClosed {
		return nil
	}
	return fmt.Errorf("%w: %s to %s: the breaker of model %s is %s, for the challenger does not answer; "+
		"look at the challenger, wait in shadow until the breaker is closed, then try again",
		rollout.ErrNotAllowed, e.Kind, after.Mode, m.name, m.live.Breaker.State())
}

// swap stores next in place of the revision expected.
func (c *Conductor) swap(ctx context.Context, expected uint64, next rollout.State) error {
	err := c.o.Store.CompareAndSwap(ctx, expected, next)
	var stale *rollout.StaleError
	if errors.As(err, &stale) && stale.Current.Revision < expected {
		// The store has been set back behind what it had acknowledged: this state is the newer.
		err = c.o.Store.CompareAndSwap(ctx, stale.Current.Revision, next)
	}
	return c.met("compare_and_swap", err)
}

// put stores a planned change. Errors are StaleErrors, where what came instead is taken
// over, or wrap rollout.ErrUnavailable: then the change is in doubt until resolve.
func (c *Conductor) put(ctx context.Context, m *model, p proposal) error {
	err := c.swap(ctx, p.before.Revision, p.after)
	var stale *rollout.StaleError
	if errors.As(err, &stale) {
		c.adopt(stale.Current)
		return &rollout.StaleError{Model: m.name, Expected: p.before.Revision, Current: stale.Current}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doubt = nil
	if err != nil {
		m.doubt = &p
		return unavailable(err)
	}
	return nil
}

func notMade(p proposal, err error) error {
	if errors.Is(err, rollout.ErrStale) {
		return err
	}
	return fmt.Errorf("the %s of model %s can't be stored and is not made: %w", p.event.Kind, p.after.Model, err)
}

// resolve looks up what became of a write that failed, if one has; until the store
// tells, nothing else is planned.
func (c *Conductor) resolve(ctx context.Context, m *model) error {
	m.mu.Lock()
	doubt := m.doubt
	m.mu.Unlock()
	if doubt == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.StoreTimeout)
	defer cancel()
	s, err := c.o.Store.Load(ctx, m.name)
	if err != nil && !errors.Is(err, rollout.ErrNotFound) {
		return c.met("load", err)
	}
	c.adopt(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.doubt == doubt {
		m.doubt = nil
	}
	return nil
}

// recall has the write in doubt audited, where s shows that it was made after all. m.mu
// is held.
func (c *Conductor) recall(m *model, s rollout.State) {
	if m.doubt != nil && holds(s, m.doubt.after) {
		c.oweEntry(m, *m.doubt)
		m.doubt = nil
	}
}

// holds tells whether s is after, or came from it.
func holds(s, after rollout.State) bool {
	if len(after.Changes) == 0 {
		return false
	}
	made := after.Changes[0]
	return slices.ContainsFunc(s.Changes, func(c rollout.Change) bool {
		return c.Revision == made.Revision && c.Kind == made.Kind && c.Actor == made.Actor && c.Time.Equal(made.Time)
	})
}

// land shows a planned change that has been stored. A rollback that came in between
// stands.
func (c *Conductor) land(m *model, after rollout.State) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.live.State
	switch {
	case now.Mode == rollout.ModeRolledBack && now.Rollout == after.Rollout:
		return &rollout.StaleError{Model: m.name, Expected: after.Revision - 1, Current: now}
	case m.owed == nil && now.Revision >= after.Revision: // the watch was here first
	default:
		c.show(m, after, restored{})
	}
	return nil
}

// adopt takes over a state that somebody has stored. What is older than the state
// here is old news; while a rollback is owed, paying it decides.
func (c *Conductor) adopt(s rollout.State) {
	m := c.find(s.Model)
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.recall(m, s)
	if m.loaded && m.owed == nil && s.Revision > m.live.State.Revision {
		c.show(m, s, restored{})
	}
}

// met counts a failed visit to the store and hands err on.
func (c *Conductor) met(operation string, err error) error {
	if err != nil && !errors.Is(err, rollout.ErrStale) && !errors.Is(err, rollout.ErrNotFound) {
		c.metrics.storeFailures.WithLabelValues(operation).Inc()
	}
	return err
}

// unavailable makes err an ErrUnavailable, if it is none yet.
func unavailable(err error) error {
	if errors.Is(err, rollout.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", rollout.ErrUnavailable, err)
}
