package canary

import (
	"context"
	"errors"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// GatewayActor is the actor of the advances that the plan decides.
const GatewayActor = "gateway"

// keepTime ticks until ctx ends.
func (c *Conductor) keepTime(ctx context.Context) {
	ticker := time.NewTicker(c.o.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.tick(ctx)
		}
	}
}

// tick looks at every model once. The clocks come first, for what follows visits the
// store and may take its time.
func (c *Conductor) tick(ctx context.Context) {
	all := c.all()
	now := c.o.Elapsed()
	for _, m := range all {
		m.mu.Lock()
		m.accrue(now)
		m.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*c.o.StoreTimeout)
	defer cancel()
	for _, m := range all {
		c.attend(ctx, m)
	}
}

// attend does for one model what is due.
func (c *Conductor) attend(ctx context.Context, m *model) {
	m.mu.Lock()
	unsettled, doubtful, withdrawn := !m.settled, m.doubtful, m.withdrawn
	saveDue := c.o.Elapsed()-m.savedAt >= c.o.SaveEvery
	c.logBreaker(m)
	m.mu.Unlock()
	switch {
	case withdrawn:
		return
	case unsettled:
		// Its trouble is in the view since it began; the log had it then.
		_ = c.settle(ctx, m)
		return
	case doubtful:
		c.resolve(ctx, m)
	}
	if c.advance(ctx, m) || saveDue {
		c.saveProgress(ctx, m)
	}
}

// logBreaker tells of a breaker that opens and closes in shadow; in canary it is the
// rollback that tells. m.mu is held.
func (c *Conductor) logBreaker(m *model) {
	before, now := m.breakerSeen, m.breakerState()
	m.breakerSeen = now
	switch {
	case m.live.State.Mode != rollout.ModeShadow || before == now:
	case before == BreakerClosed:
		c.o.Logger.Warn("the challenger fails its copies: they are suspended but for probes; look at the challenger", "model", m.name)
	case now == BreakerClosed && before != "":
		c.o.Logger.Info("the challenger answers again: it gets copies again", "model", m.name)
	}
}

// advance goes to the next step if the current one is over. A change that can't be
// stored is not made: the rollout holds.
func (c *Conductor) advance(ctx context.Context, m *model) (advanced bool) {
	m.mu.Lock()
	s, p := m.live.State, m.progress()
	ready := judge(s, p, m.breakerState()).ready
	m.mu.Unlock()
	if !ready {
		return false
	}
	e := rollout.Event{Kind: rollout.EventAdvance, Actor: GatewayActor, Reason: reasonToAdvance(s, p)}
	err := c.change(ctx, m, e, &s.Revision)
	if errors.Is(err, rollout.ErrStale) {
		return false // somebody else acted; the next tick looks anew
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		if m.trouble == "" {
			c.o.Logger.Warn("the step is over, but the rollout holds, for the change can't be written down: see to store and audit file",
				"model", m.name, "error", err)
		}
		m.trouble = err.Error()
		return false
	}
	return true
}

// resolve looks up what became of a write that failed.
func (c *Conductor) resolve(ctx context.Context, m *model) {
	s, err := c.o.Store.Load(ctx, m.name)
	if err != nil {
		_ = c.met("load", err)
		return
	}
	c.adopt(s)
	m.mu.Lock()
	m.doubtful = false
	m.mu.Unlock()
}

// saveProgress stores the step's progress where it has changed.
func (c *Conductor) saveProgress(ctx context.Context, m *model) {
	m.mu.Lock()
	m.accrue(c.o.Elapsed())
	p, saved := m.progress(), m.saved
	due := m.loaded && m.live.State.Recorded() && p != saved
	m.savedAt = c.o.Elapsed()
	m.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.StoreTimeout)
	defer cancel()
	if c.met("save_progress", c.o.Store.SaveProgress(ctx, m.name, p)) != nil {
		return // tried again when it is due again; the loss is some seconds of bake
	}
	m.mu.Lock()
	m.saved = p
	m.mu.Unlock()
}

// watch takes over what other replicas store, until ctx ends.
func (c *Conductor) watch(ctx context.Context) {
	lost := false
	for ctx.Err() == nil {
		err := c.o.Store.Watch(ctx, func(s rollout.State) {
			lost = false
			c.adopt(s)
		})
		if ctx.Err() != nil {
			return
		}
		_ = c.met("watch", err)
		if !lost {
			lost = true
			c.o.Logger.Warn("stored changes can't be watched; tried again until they can be: see to the store", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.o.Tick):
		}
	}
}
