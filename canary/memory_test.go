package canary

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// memory is a store in memory that fails on request.
type memory struct {
	desk     desk // what is reported
	mu       sync.Mutex
	states   map[string]rollout.State
	progress map[string]rollout.Progress
	evidence map[string]rollout.StoredEvidence
	watchers map[chan rollout.State]bool
	// down makes every visit fail. lies makes swaps store and fail all the same.
	down, lies bool
	// full makes writes fail, and reads not; blind makes loads of evidence fail.
	full, blind bool
	// swaps counts the tries to swap.
	swaps int
	// hang, where not nil, holds swaps up until it is closed; stall does so with loads,
	// crawl with loads of progress.
	hang, stall, crawl chan struct{}
	// watched gets a token when a Watch has begun.
	watched chan struct{}
}

func newMemory() *memory {
	return &memory{states: map[string]rollout.State{}, progress: map[string]rollout.Progress{},
		evidence: map[string]rollout.StoredEvidence{}, watchers: map[chan rollout.State]bool{},
		watched: make(chan struct{}, 1)}
}

var errDown = fmt.Errorf("%w: the store is down", rollout.ErrUnavailable)

func (s *memory) set(f func(*memory)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// wait holds a visit up until the gate opens.
func wait(ctx context.Context, gate chan struct{}) error {
	if gate == nil {
		return ctx.Err() // bare: a store need not wrap ErrUnavailable
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *memory) Load(ctx context.Context, model string) (rollout.State, error) {
	s.mu.Lock()
	stall := s.stall
	s.mu.Unlock()
	if err := wait(ctx, stall); err != nil {
		return rollout.State{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return rollout.State{}, errDown
	}
	if st, ok := s.states[model]; ok {
		return st, nil
	}
	return rollout.State{}, rollout.ErrNotFound
}

func (s *memory) CompareAndSwap(ctx context.Context, expected uint64, next rollout.State) error {
	s.mu.Lock()
	hang := s.hang
	s.swaps++
	s.mu.Unlock()
	if err := wait(ctx, hang); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.full {
		return errDown
	}
	if current := s.states[next.Model]; current.Revision != expected {
		return &rollout.StaleError{Model: next.Model, Expected: expected, Current: current}
	}
	if next.Revision <= expected {
		return errors.New("the revision does not rise")
	}
	s.put(next)
	if s.lies {
		return errDown
	}
	return nil
}

// put stores next and tells the watchers. mu is held.
func (s *memory) put(next rollout.State) {
	s.states[next.Model] = next
	for w := range s.watchers {
		w <- next
	}
}

// elsewhere makes a change as another replica does.
func (s *memory) elsewhere(t *testing.T, model string, e rollout.Event) rollout.State {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.states[model].Apply(e, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.put(next)
	return next
}

func (s *memory) SaveProgress(_ context.Context, model string, p rollout.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errDown
	}
	s.progress[model] = p
	return nil
}

func (s *memory) LoadProgress(ctx context.Context, model string) (rollout.Progress, error) {
	s.mu.Lock()
	crawl := s.crawl
	s.mu.Unlock()
	if err := wait(ctx, crawl); err != nil {
		return rollout.Progress{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return rollout.Progress{}, errDown
	}
	if p, ok := s.progress[model]; ok {
		return p, nil
	}
	return rollout.Progress{}, rollout.ErrNotFound
}

func (s *memory) SaveEvidence(_ context.Context, model string, expected uint64, next rollout.StoredEvidence) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.down:
		return errDown
	case s.evidence[model].Version != expected:
		return rollout.ErrStale
	}
	s.evidence[model] = next
	return nil
}

func (s *memory) LoadEvidence(_ context.Context, model string) (rollout.StoredEvidence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.blind {
		return rollout.StoredEvidence{}, errDown
	}
	if e, ok := s.evidence[model]; ok {
		return e, nil
	}
	return rollout.StoredEvidence{}, rollout.ErrNotFound
}

func (s *memory) Watch(ctx context.Context, changed func(rollout.State)) error {
	news := make(chan rollout.State, 10_000)
	s.mu.Lock()
	if s.down {
		s.mu.Unlock()
		return errDown
	}
	for _, st := range s.states {
		news <- st
	}
	s.watchers[news] = true
	s.mu.Unlock()
	nudge(s.watched)
	defer s.set(func(s *memory) { delete(s.watchers, news) })
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case st := <-news:
			changed(st)
		}
	}
}

func (s *memory) state(model string) rollout.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[model]
}
