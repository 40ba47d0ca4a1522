package canary

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// BreakerActor is the actor of the rollbacks that the breaker decides.
const BreakerActor = "breaker"

// What a rollback came from, as understudy_rollbacks_total counts it.
const (
	byBreaker  = "breaker"
	byOperator = "operator"
	byGate     = "gate"
	byTime     = "max_duration"
)

// answerTrips rolls back the models whose breaker has tripped, at once. It does no I/O.
func (c *Conductor) answerTrips(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.tripped:
		}
		for _, m := range c.all() {
			c.answerTrip(m)
		}
	}
}

// answerTrip rolls the model back if its breaker has tripped. The trip was the rollback:
// it stands also where the model has left canary since.
func (c *Conductor) answerTrip(m *model) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live.Breaker == nil || m.live.State.Mode == rollout.ModeRolledBack {
		return
	}
	trip, tripped := m.live.Breaker.Tripped()
	if !tripped {
		return
	}
	e := rollout.Event{Kind: rollout.EventRollback, Actor: BreakerActor, Reason: trip.Reason}
	if err := c.rollBack(m, m.live.State, e, byBreaker); err != nil {
		c.o.Logger.Error("the breaker tripped, but the rollout can't be rolled back; the challenger gets no traffic: please report this",
			"model", m.name, "error", err)
		return
	}
	c.metrics.rollbackSeconds.Observe(time.Since(trip.At).Seconds())
}

// rollBack shows before rolled back, and leaves the rest for payDebts. m.mu is held.
func (c *Conductor) rollBack(m *model, before rollout.State, e rollout.Event, trigger string) error {
	after, err := before.Apply(e, c.o.Now())
	if err != nil {
		return err
	}
	figures := m.figures()
	c.show(m, after, restored{})
	m.owed = &debt{event: e, after: after, expected: before.Revision, since: c.o.Elapsed()}
	c.oweEntry(m, proposal{event: e, before: before, after: after, figures: figures})
	c.metrics.rollbacks.WithLabelValues(m.name, trigger).Inc()
	return nil
}

// rollBackByHand is an operator's rollback. Before the state is loaded the challenger is
// off stage anyway: the rollback is kept and comes into force with the state.
func (c *Conductor) rollBackByHand(m *model, e rollout.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case c.closed.Load():
		return errClosed
	case m.withdrawn:
		return fmt.Errorf("%w: %q is no longer in the file", rollout.ErrUnknownModel, m.name)
	case !m.loaded:
		m.asked = &e
		return nil
	}
	return c.rollBack(m, m.live.State, e, byOperator)
}

// payDebts writes down what is in force and not written yet, and tries again every tick.
func (c *Conductor) payDebts(ctx context.Context) {
	retry := time.NewTicker(c.o.Tick)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.owing:
		case <-retry.C:
		}
		for _, m := range c.all() {
			c.pay(ctx, m)
		}
	}
}

// pay stores the model's rollback and writes its audit entries as far as that works now.
func (c *Conductor) pay(ctx context.Context, m *model) {
	for c.store(ctx, m) {
	}
	c.audit(m)
}

// store stores a rollback that is owed. It returns true where there is more to do at
// once: somebody else's change came first, and the rollback goes on top of that.
func (c *Conductor) store(ctx context.Context, m *model) (again bool) {
	m.mu.Lock()
	d := m.owed
	m.mu.Unlock()
	if d == nil {
		return false
	}
	visit, cancel := context.WithTimeout(ctx, c.o.StoreTimeout)
	defer cancel()
	err := c.swap(visit, d.expected, d.after)
	var stale *rollout.StaleError
	if errors.As(err, &stale) {
		return c.rebase(m, d, stale.Current)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.owed = nil
		return false
	}
	if d.trouble == "" && !errors.Is(ctx.Err(), context.Canceled) { // Run's end is no trouble: Close goes on
		c.o.Logger.Error("a rollback is in force but can't be stored; tried again until it can be: see to the store before restarting",
			"model", m.name, "error", err)
	}
	d.trouble = err.Error()
	return false
}

// rebase puts the rollback on top of what another change has stored meanwhile. It is
// void where the challenger that it is about has left the stage for good: rolled back by
// somebody else, or replaced by a later rollout.
func (c *Conductor) rebase(m *model, d *debt, current rollout.State) (again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if holds(current, d.after) { // it was stored, and the answer got lost
		m.owed = nil
		if current.Revision > m.live.State.Revision {
			c.show(m, current, restored{})
		}
		return false
	}
	after, err := current.Apply(d.event, c.o.Now())
	if err != nil || current.Rollout != d.after.Rollout {
		c.o.Logger.Info("the rollback was overtaken by another change", "model", m.name,
			"revision", current.Revision, "mode", current.Mode.String())
		m.owed = nil
		c.show(m, current, restored{})
		return false
	}
	m.owed = &debt{event: d.event, after: after, expected: current.Revision, since: d.since, trouble: d.trouble}
	c.show(m, after, restored{})
	return true
}
