package canary

import (
	"context"
	"errors"
	"time"

	"github.com/understudy-serving/understudy/gate"
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
		case <-c.unsettled:
			c.settleRest(ctx)
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
	unsettled, withdrawn := !m.settled, m.withdrawn
	saveDue := c.o.Elapsed()-m.savedAt >= c.o.SaveEvery
	c.logBreaker(m)
	m.mu.Unlock()
	switch {
	case withdrawn:
		return
	case unsettled:
		if err := c.settle(ctx, m); err != nil && ctx.Err() == nil {
			c.tellUnsettled(m, err)
		}
		return
	}
	if err := c.resolve(ctx, m); err != nil {
		c.hold(ctx, m, err)
		return
	}
	c.review(m)
	if c.advance(ctx, m) || saveDue {
		c.saveProgress(ctx, m)
		c.saveEvidence(ctx, m)
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
// stored is not made: the rollout holds. So it does while an entry is missing in the
// audit log: no more than one step is taken unseen.
func (c *Conductor) advance(ctx context.Context, m *model) (advanced bool) {
	m.mu.Lock()
	s, p := m.live.State, m.progress()
	now := readiness(s, p, m.breakerState(), m.judgement)
	ready := now.ready
	if !ready {
		m.trouble = "" // it was about an advance that is no longer due
		c.endOverdue(m, p, now.waiting)
	}
	unaudited := len(m.unaudited) > 0
	early := c.o.Elapsed() < m.notBefore
	m.mu.Unlock()
	if !ready || unaudited || early {
		return false
	}
	e := rollout.Event{Kind: rollout.EventAdvance, Actor: GatewayActor, Reason: reasonToAdvance(s, p)}
	err := c.change(ctx, m, e, &s.Revision)
	switch {
	case errors.Is(err, rollout.ErrStale):
		return false // somebody else acted; the next tick looks anew
	case err != nil:
		c.hold(ctx, m, err)
		m.mu.Lock()
		m.wait = min(max(2*m.wait, c.o.Tick), longestWait)
		m.notBefore = c.o.Elapsed() + m.wait
		m.mu.Unlock()
		return false
	}
	return true
}

// endOverdue rolls back a step that has taken too long, where the plan says so. m.mu is held.
func (c *Conductor) endOverdue(m *model, p rollout.Progress, waiting string) {
	s := m.live.State
	step, inPlan := s.Current()
	if !inPlan || s.Paused || step.OnMaxDuration != rollout.RollBack || !overdue(step, p) {
		return
	}
	e := rollout.Event{Kind: rollout.EventRollback, Actor: GatewayActor,
		Reason: "the step took longer than its maxDuration of " + gate.Span(step.MaxDuration) + "; it waited for: " + waiting}
	if err := c.rollBack(m, s, e, byTime); err != nil {
		c.o.Logger.Error("an overdue step can't be rolled back: please report this", "model", m.name, "error", err)
	}
}

// longestWait bounds the wait between tries to advance: a disk that is full takes no
// better by writing to it every second.
const longestWait = 30 * time.Second

// hold notes why the rollout keeps its step though it may be over.
func (c *Conductor) hold(ctx context.Context, m *model, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return // Run ends: that is no trouble
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trouble == "" {
		c.o.Logger.Warn("the rollout holds, for a change can't be written down; tried again until it can be: see to the store",
			"model", m.name, "error", err)
	}
	m.trouble = err.Error()
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
