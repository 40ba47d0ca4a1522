package canary

import (
	"context"
	"errors"
	"fmt"

	"github.com/understudy-serving/understudy/rollout"
)

// Configure takes the models of the config file over, at the start and after a change
// of the file, and publishes each of them before it returns. Models that the file has
// no more are withdrawn; their stored states stay.
//
// Only invalid settings are errors, and then nothing has changed. Where the store can't
// be reached, a model that is already played goes on as it was, and another one is
// played by its champion alone, until Run reaches the store.
func (c *Conductor) Configure(ctx context.Context, all []Settings) error {
	if err := validate(all); err != nil {
		return err
	}
	c.configuring.Lock()
	defer c.configuring.Unlock()
	c.withdrawOthers(all)
	ctx, cancel := context.WithTimeout(ctx, c.o.StoreTimeout)
	defer cancel()
	for _, s := range all {
		m := c.enlist(s)
		if err := c.settle(ctx, m); err != nil {
			c.o.Logger.Warn("a model's stored state can't be reached; its challenger waits: see to the store",
				"model", m.name, "error", err)
			c.playOn(m)
		}
	}
	return nil
}

func validate(all []Settings) error {
	seen := make(map[string]bool, len(all))
	for _, s := range all {
		switch {
		case s.Model == "":
			return errors.New("canary: a model without a name")
		case seen[s.Model]:
			return fmt.Errorf("canary: model %s: named twice", s.Model)
		case s.Champion == rollout.Spec{}:
			return fmt.Errorf("canary: model %s: no champion", s.Model)
		}
		if err := s.Plan.Validate(); err != nil {
			return fmt.Errorf("canary: model %s: plan: %w", s.Model, err)
		}
		seen[s.Model] = true
	}
	return nil
}

// enlist gives the model its settings, to be settled.
func (c *Conductor) enlist(s Settings) *model {
	c.mu.Lock()
	m := c.models[s.Model]
	if m == nil {
		m = newModel(s.Model)
		c.models[s.Model] = m
	}
	c.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accrue(c.o.Elapsed())
	m.conf, m.settled, m.withdrawn = s, false, false
	return m
}

func (c *Conductor) withdrawOthers(all []Settings) {
	kept := make(map[string]bool, len(all))
	for _, s := range all {
		kept[s.Model] = true
	}
	for _, m := range c.all() {
		if kept[m.name] {
			continue
		}
		m.mu.Lock()
		if !m.withdrawn {
			m.accrue(c.o.Elapsed())
			m.withdrawn = true
			c.o.Withdraw(m.name)
			c.o.Logger.Info("model withdrawn: the file no longer names it", "model", m.name)
		}
		m.mu.Unlock()
	}
	c.news.tell()
}

// playOn publishes the model as it stands: by its champion alone where nothing is known.
func (c *Conductor) playOn(m *model) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.live.State
	if !m.loaded {
		s = rollout.State{Model: m.name, Mode: rollout.ModeChampion, Champion: m.conf.Champion}
	}
	c.show(m, s, rollout.Progress{})
}

// settleTries bounds how often a settling starts anew because others changed the state.
const settleTries = 5

// settle lets the file have its effect on the stored state, once.
func (c *Conductor) settle(ctx context.Context, m *model) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	err := error(nil)
	for range settleTries {
		if err = c.trySettle(ctx, m); !errors.Is(err, rollout.ErrStale) {
			break
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trouble = ""
	if err != nil {
		m.trouble = err.Error()
	}
	return err
}

// trySettle returns an ErrStale where the state has moved on meanwhile.
func (c *Conductor) trySettle(ctx context.Context, m *model) error {
	base, progress, err := c.base(ctx, m)
	if err != nil {
		return err
	}
	m.mu.Lock()
	conf := m.conf.Configured
	m.mu.Unlock()
	next, changed := base.Configure(conf, c.o.Now())
	if changed {
		if err := c.swap(ctx, base.Revision, next); err != nil {
			var stale *rollout.StaleError
			if errors.As(err, &stale) {
				c.adopt(stale.Current)
				return err
			}
			return unavailable(err)
		}
		c.auditConfigured(m, base, next)
	}
	return c.takeStage(m, base, next, progress)
}

// base returns the state that the file meets, with its progress.
func (c *Conductor) base(ctx context.Context, m *model) (rollout.State, rollout.Progress, error) {
	m.mu.Lock()
	s, loaded, owed := m.live.State, m.loaded, m.owed
	m.mu.Unlock()
	switch {
	case owed != nil:
		return s, rollout.Progress{}, fmt.Errorf("%w: its rollback is not stored yet: %s", rollout.ErrUnavailable, owed.trouble)
	case loaded:
		return s, rollout.Progress{}, nil
	}
	s, err := c.o.Store.Load(ctx, m.name)
	if errors.Is(err, rollout.ErrNotFound) {
		return rollout.State{}, rollout.Progress{}, nil
	}
	if err != nil {
		return s, rollout.Progress{}, unavailable(c.met("load", err))
	}
	progress, err := c.o.Store.LoadProgress(ctx, m.name)
	if err != nil {
		if !errors.Is(c.met("load_progress", err), rollout.ErrNotFound) {
			c.o.Logger.Warn("a step's progress can't be read; the step begins anew", "model", m.name, "error", err)
		}
		progress = rollout.Progress{}
	}
	return s, progress, nil
}

// auditConfigured writes down what the file changed. A start never waits for the audit,
// so a failure is logged with all that would have been written.
func (c *Conductor) auditConfigured(m *model, before, after rollout.State) {
	last := after.Changes[0]
	e := rollout.Event{Kind: last.Kind, Actor: last.Actor, Reason: last.Reason}
	m.mu.Lock()
	figures := m.figures()
	m.mu.Unlock()
	if err := c.o.Audit.Change(before, after, e, figures); err != nil {
		c.o.Logger.Error("a change by the config file can't be audited: see to the audit file", "model", m.name,
			"before", before.Revision, "after", after.Revision, "reason", e.Reason, "error", err)
	}
}

// takeStage shows the state that the file has led to.
func (c *Conductor) takeStage(m *model, base, next rollout.State, progress rollout.Progress) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded && (m.owed != nil || m.live.State.Revision > next.Revision) {
		// A rollback or another replica was faster; the file has to look again.
		return &rollout.StaleError{Model: m.name, Expected: base.Revision, Current: m.live.State}
	}
	m.loaded, m.settled = true, true
	if asked := m.asked; asked != nil {
		m.asked = nil
		err := c.rollBack(m, next, *asked, byOperator)
		if err == nil {
			return nil
		}
		c.o.Logger.Warn("the rollback that was asked for before the state could be read is void", "model", m.name, "error", err)
	}
	c.show(m, next, progress)
	return nil
}
