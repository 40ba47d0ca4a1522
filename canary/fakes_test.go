package canary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/rollout"
)

// memory is a store in memory that fails on request.
type memory struct {
	mu       sync.Mutex
	states   map[string]rollout.State
	progress map[string]rollout.Progress
	watchers map[chan rollout.State]bool
	// down makes every visit fail. lies makes swaps store and fail all the same.
	down, lies bool
	// hang, where not nil, holds swaps up until it is closed.
	hang chan struct{}
	// watched gets a token when a Watch has begun.
	watched chan struct{}
}

func newMemory() *memory {
	return &memory{states: map[string]rollout.State{}, progress: map[string]rollout.Progress{}, watchers: map[chan rollout.State]bool{},
		watched: make(chan struct{}, 1)}
}

var errDown = fmt.Errorf("%w: the store is down", rollout.ErrUnavailable)

func (s *memory) set(f func(*memory)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *memory) Load(_ context.Context, model string) (rollout.State, error) {
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
	s.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err() // a bare error: a store need not wrap ErrUnavailable
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
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

func (s *memory) LoadProgress(_ context.Context, model string) (rollout.Progress, error) {
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

// journal is an audit log in memory.
type journal struct {
	mu      sync.Mutex
	broken  bool
	entries []string
}

func (j *journal) Change(before, after rollout.State, e rollout.Event, _ rollout.Figures) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken {
		return errors.New("the audit file can't be written")
	}
	j.entries = append(j.entries, fmt.Sprintf("%s by %s: %s to %s", e.Kind, e.Actor, before.Mode, after.Mode))
	return nil
}

func (j *journal) set(broken bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = broken
}

func (j *journal) last() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.entries) == 0 {
		return ""
	}
	return j.entries[len(j.entries)-1]
}

// house is a conductor with all that it plays in.
type house struct {
	*Conductor
	t        *testing.T
	store    *memory
	journal  *journal
	registry *prometheus.Registry
	wall     time.Duration // by which the wall clock is wrong

	mu        sync.Mutex
	published []Live
	withdrawn []string
	stop      context.CancelFunc
	stopped   chan struct{}
}

// newHouse returns a house over store that is configured, and runs until stopRun or the
// test's end.
func newHouse(t *testing.T, store *memory, all ...Settings) *house {
	t.Helper()
	select {
	case <-store.watched: // an earlier house's
	default:
	}
	h := &house{t: t, store: store, journal: &journal{}, registry: prometheus.NewRegistry(), stopped: make(chan struct{})}
	h.Conductor = NewConductor(Options{
		Store: store, Audit: h.journal, Registerer: h.registry,
		Publish: func(l Live) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.published = append(h.published, l)
		},
		Withdraw: func(model string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.withdrawn = append(h.withdrawn, model)
		},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:    func() time.Time { return time.Now().Add(h.wall) },
	})
	if err := h.Configure(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	go func() {
		defer close(h.stopped)
		h.Run(ctx)
	}()
	t.Cleanup(h.stopRun)
	if !store.down {
		<-store.watched // from here on nothing that others store is missed
	}
	return h
}

func (h *house) stopRun() {
	h.stop()
	<-h.stopped
}

// live is what was published last of the model fraud.
func (h *house) live() Live {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.published[len(h.published)-1]
}

func (h *house) view() rollout.View {
	h.t.Helper()
	v, err := h.Get("fraud")
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

// do applies an event to the state as it is.
func (h *house) do(e rollout.Event) (rollout.View, error) {
	h.t.Helper()
	revision := h.view().Revision
	if e.Actor == "" {
		e.Actor = "ci"
	}
	return h.Apply(h.t.Context(), "fraud", e, &revision)
}

func (h *house) must(e rollout.Event) rollout.View {
	h.t.Helper()
	v, err := h.do(e)
	if err != nil {
		h.t.Fatalf("%s: %v", e.Kind, err)
	}
	return v
}

// wants checks mode and weight as played, as stored and as seen.
func (h *house) wants(mode rollout.Mode, weight rollout.Weight) {
	h.t.Helper()
	v, l, s := h.view(), h.live().State, h.store.state("fraud")
	if v.Mode != mode || v.Weight != weight || l.Mode != mode || l.Weight != weight || s.Mode != mode || s.Weight != weight {
		h.t.Fatalf("want %s %s; seen %s %s, played %s %s, stored %s %s", mode, weight, v.Mode, v.Weight, l.Mode, l.Weight, s.Mode, s.Weight)
	}
}

// rehearse feeds n mirrored pairs, and perform n live requests on each arm.
func (h *house) rehearse(n int) {
	l := h.live()
	for range n {
		l.Evidence.Observe(rollout.Outcome{Arm: rollout.Challenger, Mirrored: true, Paired: true, Entered: l.State.Entered})
	}
}

func (h *house) perform(n int) {
	l := h.live()
	for range n {
		l.Evidence.Observe(rollout.Outcome{Arm: rollout.Champion, Entered: l.State.Entered})
		l.Evidence.Observe(rollout.Outcome{Arm: rollout.Challenger, Entered: l.State.Entered})
	}
}

// trip lets the challenger fail until its breaker trips.
func (h *house) trip() {
	b := h.live().Breaker
	for range 10 {
		call(b, failing)
	}
}

// after lets d pass, and all that is then due happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var (
	v1   = rollout.Spec{Target: "dns:///fraud-v1:8081", Model: "fraud", Version: "1"}
	plan = rollout.Plan{
		{Kind: rollout.StepShadow, Bake: time.Minute, MinRequests: 100},
		{Kind: rollout.StepSetWeight, Weight: 500},
		{Kind: rollout.StepPause, Bake: time.Minute, MinRequests: 100},
		{Kind: rollout.StepSetWeight, Weight: 5000},
		{Kind: rollout.StepPause, Bake: time.Minute, MinRequests: 100},
	}
)

func fraud() Settings {
	return Settings{Configured: rollout.Configured{Model: "fraud", Champion: v1, Challenger: v2, Plan: plan}, Breaker: usual()}
}

func toCanary(w rollout.Weight) rollout.Event {
	return rollout.Event{Kind: rollout.EventSetMode, Mode: rollout.ModeCanary, Weight: w}
}
