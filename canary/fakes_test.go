package canary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/rollout"
)

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

// count returns how many entries begin with prefix.
func (j *journal) count(prefix string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.entries {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

func (j *journal) last() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.entries) == 0 {
		return ""
	}
	return j.entries[len(j.entries)-1]
}

// lines is what was logged.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(line))
	return len(line), nil
}

// count returns how many lines contain text.
func (l *lines) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// house is a conductor with all that it plays in.
type house struct {
	*Conductor
	t        *testing.T
	store    *memory
	journal  *journal
	registry *prometheus.Registry
	log      *lines
	wall     time.Duration // by which the wall clock is wrong

	mu        sync.Mutex
	published []Live
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
	h := &house{t: t, store: store, journal: &journal{}, registry: prometheus.NewRegistry(), log: &lines{}, stopped: make(chan struct{})}
	h.Conductor = NewConductor(Options{
		Store: store, Audit: h.journal, Registerer: h.registry,
		Publish: func(l Live) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.published = append(h.published, l)
		},
		Logger:     slog.New(slog.NewTextHandler(h.log, nil)),
		Reports:    &store.desk,
		JudgeEvery: time.Second, // days pass in these tests
		Now:        func() time.Time { return time.Now().Add(h.wall) },
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
