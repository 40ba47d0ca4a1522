// Package admintest has an in-memory stand-in for the conductor, for tests of the admin
// server and of its clients. It follows the domain's own rules of transition.
package admintest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Rollouts implements admin.Rollouts. It is safe for concurrent use.
type Rollouts struct {
	// Now is the clock of changes.
	Now func() time.Time
	// Audit is called with every change that was made, if not nil.
	Audit func(before, after rollout.State, e rollout.Event, v rollout.Figures) error

	mu          sync.Mutex
	views       []rollout.View
	subscribers map[chan struct{}]bool
	fail        error
}

// New returns rollouts that stand as the views say.
func New(now func() time.Time, views ...rollout.View) *Rollouts {
	r := &Rollouts{Now: now, subscribers: map[chan struct{}]bool{}}
	for _, v := range views {
		r.Put(v)
	}
	return r
}

// Put adds or replaces a view and ticks.
func (r *Rollouts) Put(v rollout.View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, found := r.find(v.Model)
	if !found {
		r.views = slices.Insert(r.views, i, v)
	}
	r.views[i] = v
	r.tick()
}

// Fail makes Apply return err from now on; nil makes it work again.
func (r *Rollouts) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// Subscribers counts the subscriptions that are not cancelled.
func (r *Rollouts) Subscribers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.subscribers)
}

func (r *Rollouts) find(model string) (int, bool) {
	return slices.BinarySearchFunc(r.views, model, func(v rollout.View, m string) int { return cmp.Compare(v.Model, m) })
}

func (r *Rollouts) tick() {
	for c := range r.subscribers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// List implements admin.Rollouts.
func (r *Rollouts) List() []rollout.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.views)
}

// Get implements admin.Rollouts.
func (r *Rollouts) Get(model string) (rollout.View, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, found := r.find(model)
	if !found {
		return rollout.View{}, fmt.Errorf("%w: %s", rollout.ErrUnknownModel, model)
	}
	return r.views[i], nil
}

// Subscribe implements admin.Rollouts.
func (r *Rollouts) Subscribe() (changed <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribers[c] = true
	return c, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.subscribers, c)
	}
}

// Apply implements admin.Rollouts. A retry keeps the plan that the rollout had.
func (r *Rollouts) Apply(ctx context.Context, model string, e rollout.Event, expected *uint64) (rollout.View, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, found := r.find(model)
	if !found {
		return rollout.View{}, fmt.Errorf("%w: %s", rollout.ErrUnknownModel, model)
	}
	before := r.views[i]
	switch {
	case r.fail != nil:
		return rollout.View{}, r.fail
	case ctx.Err() != nil:
		return rollout.View{}, ctx.Err()
	case expected != nil && *expected != before.Revision:
		return rollout.View{}, &rollout.StaleError{Model: model, Expected: *expected, Current: before.State}
	}
	if e.Kind == rollout.EventRetry {
		e.Plan = before.Plan
	}
	next, err := before.State.Apply(e, r.Now())
	if err != nil {
		return rollout.View{}, err
	}
	r.views[i].State = next
	r.tick()
	if r.Audit != nil {
		if err := r.Audit(before.State, next, e, before.Figures); err != nil {
			return rollout.View{}, fmt.Errorf("%w: %w", rollout.ErrUnavailable, err)
		}
	}
	return r.views[i], nil
}
