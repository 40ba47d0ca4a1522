package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/understudy-serving/understudy/canary"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/gateway"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/shadow"
	"github.com/understudy-serving/understudy/sink"
	"github.com/understudy-serving/understudy/upstream"
)

// settings are one model's part of the file, with all that could fail done.
type settings struct {
	config.Model
	comparer *shadow.Comparer
	// arms says how the file's arms are reached.
	arms map[rollout.Spec]access
}

func prepare(m config.Model) (settings, error) {
	s := settings{Model: m, arms: map[rollout.Spec]access{}}
	var err error
	if s.comparer, err = shadow.NewComparer(m.Compare); err != nil {
		return settings{}, fmt.Errorf("model %s: compare: %w", m.Name, err)
	}
	if s.arms[m.Champion.Spec], err = newAccess(m.Champion.TLS); err != nil {
		return settings{}, fmt.Errorf("model %s: champion.tls: %w", m.Name, err)
	}
	if m.Challenger == nil {
		return s, nil
	}
	if s.arms[m.Challenger.Spec], err = newAccess(m.Challenger.TLS); err != nil {
		return settings{}, fmt.Errorf("model %s: challenger.tls: %w", m.Name, err)
	}
	return s, nil
}

// routes turns what the conductor publishes into the gateway's table. It runs off the
// data path; the lock is held for the microseconds of a swap.
type routes struct {
	gateway *gateway.Gateway
	sink    *sink.Sink // nil where no model records
	pool    *pool
	logger  *slog.Logger
	mirrors *shadow.Metrics
	tickets gateway.Tickets // nil where no outcomes are taken
	// maxMessageBytes bounds a model server's response.
	maxMessageBytes int
	// drain is how long copies on their way get when their mirror ends.
	drain time.Duration

	mu       sync.Mutex
	settings []settings
	models   map[string]*model
	ending   sync.WaitGroup
	closed   bool
}

// model is what a public name is made of now.
type model struct {
	settings settings
	// known is how every spec is reached that the file has named since the start: the
	// state may lag behind the file, and a promoted spec may have left it.
	known    map[rollout.Spec]access
	live     canary.Live
	inFlight *gateway.InFlight
	// mirror is nil outside shadow and canary. rehearsed says for which rollout and
	// settings it was made.
	mirror    *shadow.Mirror
	rehearsed rehearsal
}

type rehearsal struct {
	rollout  uint64
	conn     connKey
	settings config.Model
}

// configure takes over the file's settings and returns those before; routes follow as
// the conductor publishes.
func (r *routes) configure(all []settings) (before []settings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, r.settings = r.settings, all
	old := r.models
	r.models = make(map[string]*model, len(all))
	for _, s := range all {
		m := old[s.Name]
		if m == nil {
			m = &model{inFlight: gateway.NewInFlight(0), known: map[rollout.Spec]access{}}
		}
		delete(old, s.Name)
		m.settings = s
		maps.Copy(m.known, s.arms)
		if s.Challenger != nil {
			m.inFlight.SetLimit(s.Challenger.MaxInFlight)
		}
		r.models[s.Name] = m
	}
	for _, gone := range old {
		r.endMirror(gone)
	}
	r.rebuild()
	return before
}

// publish makes the state of one model the one that serves.
func (r *routes) publish(live canary.Live) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Behind close nothing is routed any more, and no mirror may start.
	if m := r.models[live.State.Model]; m != nil && !r.closed {
		m.live = live
		r.rebuild()
	}
}

// rebuild makes the table of all models that have a state and swaps it in.
func (r *routes) rebuild() {
	var table []gateway.Route
	used := map[connKey]bool{}
	for _, m := range r.models {
		if m.live.Evidence == nil {
			continue // not published yet
		}
		route, err := r.route(m, used)
		if err != nil {
			r.logger.Error("a model can't be routed and is not served: mend its settings and reload", "model", m.settings.Name, "error", err)
			continue
		}
		table = append(table, route)
	}
	t, err := r.gateway.NewTable(table...)
	if err != nil {
		r.logger.Error("the routes are invalid; the old ones keep serving: please report this", "error", err)
		return
	}
	r.gateway.SetTable(t)
	r.pool.keep(used)
}

// route makes one model's route, and its mirror where the mode has one. A challenger
// that can't be reached for want of its files leaves the champion serving alone.
func (r *routes) route(m *model, used map[connKey]bool) (gateway.Route, error) {
	s := m.live.State
	out := gateway.Route{
		Model: s.Model, Revision: s.Revision, Entered: s.Entered, Mode: s.Mode, Weight: s.Weight,
		ChallengerInFlight: m.inFlight,
		Observer:           m.live.Evidence,
	}
	for _, k := range m.settings.RoutingKey {
		out.RoutingKey = append(out.RoutingKey, gateway.KeySource{Kind: k.Kind, Name: k.Name})
	}
	for _, source := range s.Rules.Segments {
		kind, name, _ := strings.Cut(source, ":")
		out.Segments = append(out.Segments, gateway.KeySource{Kind: kind, Name: name})
	}
	if m.settings.Challenger != nil {
		out.ChallengerTimeout = m.settings.Challenger.Timeout
	}
	var err error
	if out.Champion, err = r.arm(m, s.Champion, used); err != nil {
		return out, err
	}
	if !s.Recorded() {
		r.endMirror(m)
	}
	if !s.HasChallenger() {
		return out, nil
	}
	if err := r.cast(m, &out, used); err != nil {
		if s.Mode == rollout.ModePromoted {
			return out, err
		}
		r.logger.Error("the challenger can't be reached and gets nothing, the champion serves alone: mend its settings and reload",
			"model", s.Model, "error", err)
		r.endMirror(m)
		out.Mode, out.Weight, out.Challenger, out.Recorder = rollout.ModeChampion, 0, gateway.Arm{}, nil
	}
	return out, nil
}

// cast adds the challenger to a route.
func (r *routes) cast(m *model, out *gateway.Route, used map[connKey]bool) (err error) {
	s := m.live.State
	if out.Challenger, err = r.arm(m, s.Challenger, used); err != nil {
		return err
	}
	out.Breaker = m.live.Breaker
	out.Pick = func(key string) rollout.Arm { return canary.Pick(s.Model, s.Challenger, key, s.Weight) }
	if !s.Recorded() {
		return nil
	}
	if err := r.ensureMirror(m, used); err != nil {
		return err
	}
	out.Recorder = recorder{r.sink, m.mirror}
	if s.Mode == rollout.ModeCanary && s.Rules.Outcomes() != nil { // in shadow no outcome counts
		out.Tickets, out.Rollout, out.Step = r.tickets, s.Rollout, s.PlanIndex()
	}
	return nil
}

func (r *routes) arm(m *model, spec rollout.Spec, used map[connKey]bool) (gateway.Arm, error) {
	key := connKey{target: spec.Target, access: r.access(m, spec), maxMessageBytes: r.maxMessageBytes}
	used[key] = true
	client, err := r.pool.get(key)
	if err != nil {
		return gateway.Arm{}, err
	}
	return gateway.Arm{Spec: spec, Upstream: client}, nil
}

// access returns how a spec is reached. One that no file has named since the start (a
// promoted one whose block was taken out before a restart) is taken to be reached as
// the champion is.
func (r *routes) access(m *model, spec rollout.Spec) access {
	if a, ok := m.known[spec]; ok {
		return a
	}
	r.logger.Warn("the file does not say how this arm is reached; it is called as the champion is: name it in the file, with its tls",
		"model", m.settings.Name, "arm", spec.String())
	return m.known[m.settings.Champion.Spec]
}

// ensureMirror keeps the mirror where rollout and settings are what it was made for,
// and else replaces it.
func (r *routes) ensureMirror(m *model, used map[connKey]bool) error {
	s := m.live.State
	set := m.settings.Shadow
	key := r.mirrorKey(m, s.Challenger)
	used[key] = true
	if set.Repeat > 0 {
		used[r.mirrorKey(m, s.Champion)] = true
	}
	want := rehearsal{rollout: s.Rollout, conn: key, settings: m.settings.Model}
	if m.mirror != nil && reflect.DeepEqual(m.rehearsed, want) {
		return nil
	}
	client, err := r.pool.get(key)
	if err != nil {
		return err
	}
	repeat, err := r.repeat(m)
	if err != nil {
		return err
	}
	r.endMirror(m)
	var strip []string
	if len(set.StripHeaders) > 0 {
		strip = append(upstream.Credentials(), set.StripHeaders...)
	}
	m.rehearsed = want
	m.mirror = shadow.NewMirror(shadow.Options{
		Model: s.Model, Spec: s.Challenger, Upstream: client, Breaker: m.live.Breaker, Observer: m.live.Evidence,
		Recorder: r.sink, Comparer: m.settings.comparer, Logger: r.logger, Metrics: r.mirrors,
		Sampled:  func(key string) bool { return canary.Sampled(s.Model, s.Challenger, key, set.Sample) },
		Busy:     r.gateway.Busy,
		Outgoing: func(md rollout.Metadata) rollout.Metadata { return upstream.ForMirror(md, strip) },
		Timeout:  set.Timeout, MaxInFlight: int64(set.MaxInFlight), MaxBytes: set.MaxBytes, Repeat: repeat,
		Inputs: watched(s.Rules.Inputs, m.live.Evidence),
	})
	return nil
}

// watched is nil where no inputs are.
func watched(inputs []rollout.WatchedInput, evidence *canary.Evidence) *shadow.Inputs {
	if len(inputs) == 0 {
		return nil
	}
	return &shadow.Inputs{Watched: inputs, Observer: evidence}
}

// mirrorKey is of a connection for copies.
func (r *routes) mirrorKey(m *model, to rollout.Spec) connKey {
	return connKey{target: to.Target, access: r.access(m, to), mirror: true,
		maxMessageBytes: int(min(int64(r.maxMessageBytes), m.settings.Shadow.MaxBytes))}
}

// repeat is how the champion is asked twice; nil where it is not.
func (r *routes) repeat(m *model) (*shadow.Repeat, error) {
	s, share := m.live.State, m.settings.Shadow.Repeat
	if share == 0 {
		return nil, nil
	}
	client, err := r.pool.get(r.mirrorKey(m, s.Champion))
	if err != nil {
		return nil, err
	}
	return &shadow.Repeat{Spec: s.Champion, Upstream: client,
		Sampled: func(id string) bool { return canary.Sampled(s.Model, s.Challenger, id, share) }}, nil
}

// endMirror stops a model's mirror at once and lets its copies end in the background.
func (r *routes) endMirror(m *model) {
	mirror := m.mirror
	if mirror == nil {
		return
	}
	m.mirror = nil
	mirror.Stop()
	r.ending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), r.drain)
		defer cancel()
		mirror.Close(ctx)
	})
}

// close ends all mirrors and waits for them, until ctx ends at the latest.
func (r *routes) close(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	for _, m := range r.models {
		if m.mirror != nil {
			mirror := m.mirror
			m.mirror = nil
			mirror.Stop()
			r.ending.Go(func() { mirror.Close(ctx) })
		}
	}
	r.mu.Unlock()
	r.ending.Wait()
}

// recorder is the gateway's way to the ledger and the mirror.
type recorder struct {
	sink   *sink.Sink
	mirror *shadow.Mirror
}

func (r recorder) Accept()                   { r.sink.Accept() }
func (r recorder) Offer(x *rollout.Exchange) { r.mirror.Offer(x) }
