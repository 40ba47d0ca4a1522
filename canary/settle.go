package canary

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/understudy-serving/understudy/rollout"
)

// settleTries bounds how often a settling starts anew because others changed the state.
const settleTries = 5

// settle lets the file have its effect on the stored state, once.
func (c *Conductor) settle(ctx context.Context, m *model) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.StoreTimeout)
	defer cancel()
	err := m.lock(ctx)
	if err == nil {
		defer m.unlock()
		for range settleTries {
			if err = c.trySettle(ctx, m); !errors.Is(err, rollout.ErrStale) {
				break
			}
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

// settleRest settles the models that Configure could not.
func (c *Conductor) settleRest(ctx context.Context) {
	for _, m := range c.all() {
		m.mu.Lock()
		due := !m.settled && !m.withdrawn
		m.mu.Unlock()
		if !due {
			continue
		}
		if err := c.settle(ctx, m); err != nil && ctx.Err() == nil {
			c.tellUnsettled(m, err)
		}
	}
}

// tellUnsettled tells the log, once, why the file's model waits.
func (c *Conductor) tellUnsettled(m *model, err error) {
	m.mu.Lock()
	told := m.told
	m.told = true
	m.mu.Unlock()
	if !told {
		c.o.Logger.Warn("a model's stored state can't be reached; its challenger waits: see to the store",
			"model", m.name, "error", err)
	}
}

// trySettle returns an ErrStale where the state has moved on meanwhile.
func (c *Conductor) trySettle(ctx context.Context, m *model) error {
	base, from, err := c.base(ctx, m)
	if err != nil {
		return err
	}
	m.mu.Lock()
	conf, figures := m.conf.Configured, m.figures()
	m.mu.Unlock()
	next, changed := base.Configure(conf, c.o.Now())
	if changed {
		last := next.Changes[0]
		p := proposal{before: base, after: next, figures: figures,
			event: rollout.Event{Kind: last.Kind, Actor: last.Actor, Reason: last.Reason}}
		if err := c.put(ctx, m, p); err != nil {
			return err
		}
		// A start waits for no audit: the entry follows.
		m.mu.Lock()
		c.oweEntry(m, p)
		m.mu.Unlock()
	}
	return c.takeStage(m, base, next, from)
}

// base returns the state that the file meets, with what is stored beside it.
func (c *Conductor) base(ctx context.Context, m *model) (rollout.State, restored, error) {
	m.mu.Lock()
	s, loaded, owed, trouble := m.live.State, m.loaded, m.owed != nil, "under way"
	if owed {
		trouble = cmp.Or(m.owed.trouble, trouble)
	}
	m.mu.Unlock()
	switch {
	case owed:
		return s, restored{}, fmt.Errorf("%w: its rollback is not stored yet: %s", rollout.ErrUnavailable, trouble)
	case loaded:
		return s, restored{}, nil
	}
	s, err := c.o.Store.Load(ctx, m.name)
	if errors.Is(err, rollout.ErrNotFound) {
		return rollout.State{}, restored{}, nil
	}
	if err != nil {
		return s, restored{}, unavailable(c.met("load", err))
	}
	m.mu.Lock()
	c.recall(m, s)
	m.mu.Unlock()
	progress, err := c.o.Store.LoadProgress(ctx, m.name)
	if err != nil && ctx.Err() != nil { // nothing is wrong with it: there was no time
		return s, restored{}, unavailable(c.met("load_progress", err))
	}
	if err != nil {
		if !errors.Is(c.met("load_progress", err), rollout.ErrNotFound) {
			c.o.Logger.Warn("a step's progress can't be read; the step begins anew", "model", m.name, "error", err)
		}
		progress = rollout.Progress{}
	}
	evidence, err := c.o.Store.LoadEvidence(ctx, m.name)
	if err != nil && !errors.Is(err, rollout.ErrNotFound) {
		// To go on without it would spend alpha a second time.
		return s, restored{}, unavailable(c.met("load_evidence", err))
	}
	return s, restored{progress, evidence}, nil
}

// takeStage shows the state that the file has led to.
func (c *Conductor) takeStage(m *model, base, next rollout.State, from restored) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded && (m.owed != nil || m.live.State.Revision > next.Revision) {
		// A rollback or another replica was faster; the file has to look again.
		return &rollout.StaleError{Model: m.name, Expected: base.Revision, Current: m.live.State}
	}
	m.loaded, m.settled = true, true
	if next.ChampionRolledBack(m.conf.Configured) {
		c.o.Logger.Warn(championRolledBack(next), "model", m.name)
	}
	if asked := m.asked; asked != nil {
		m.asked = nil
		err := c.rollBack(m, next, *asked, byOperator)
		if err == nil {
			return nil
		}
		c.o.Logger.Warn("the rollback that was asked for before the state could be read is void", "model", m.name, "error", err)
	}
	c.show(m, next, from)
	return nil
}
