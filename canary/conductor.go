package canary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/rollout"
)

// Store keeps states where they outlive the process. Errors other than
// rollout.ErrStale and rollout.ErrNotFound mean that nothing is known for now.
type Store interface {
	Load(ctx context.Context, model string) (rollout.State, error)
	CompareAndSwap(ctx context.Context, expected uint64, next rollout.State) error
	SaveProgress(ctx context.Context, model string, p rollout.Progress) error
	LoadProgress(ctx context.Context, model string) (rollout.Progress, error)
	// SaveEvidence stores next in place of the version expected, 0 for none, or returns
	// rollout.ErrStale.
	SaveEvidence(ctx context.Context, model string, expected uint64, next rollout.StoredEvidence) error
	LoadEvidence(ctx context.Context, model string) (rollout.StoredEvidence, error)
	// Watch calls back with every stored state and every change until ctx ends.
	Watch(ctx context.Context, changed func(rollout.State)) error
}

// Auditor writes changes down. An operator's change other than a rollback is not made
// where it fails; the entries of the other changes follow them, and the plan holds until
// they are written.
type Auditor interface {
	Change(before, after rollout.State, e rollout.Event, f rollout.Figures) error
}

// Options are a Conductor's dependencies and settings.
type Options struct {
	Store Store
	// Publish puts a model on stage as it now is. It is called once a change, in order
	// for each model, with the model's lock held: it must return within microseconds
	// and not call the Conductor.
	Publish func(Live)
	// Audit, Logger and Registerer may be nil.
	Audit      Auditor
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// Reports are what gates on outcomes judge; they hold where it is nil.
	Reports Reports

	// Now is the wall clock, for people and for outcomes that are reported hours later, past
	// restarts; time.Now where nil. Nothing else is decided by it.
	Now func() time.Time
	// Elapsed is a monotonic clock from any origin; the process's own where nil.
	Elapsed func() time.Duration
	// Tick is how often plans are looked at and failed writes retried; 1 s where 0.
	Tick time.Duration
	// JudgeEvery is how often gates look for a reason to roll back; 200 ms where 0.
	JudgeEvery time.Duration
	// SaveEvery is how often progress and evidence are stored; 5 s where 0.
	SaveEvery time.Duration
	// StoreTimeout bounds each visit to the store; 3 s where 0.
	StoreTimeout time.Duration
	// SettleWithin is how long Configure waits for the store, for all models together;
	// 250 ms where 0.
	SettleWithin time.Duration
	// Brief leaves out of judgements what only people read: estimates, intervals and
	// forecasts.
	Brief bool
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Elapsed == nil {
		origin := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(origin) }
	}
	if o.Audit == nil {
		o.Audit = unaudited{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Tick = cmp.Or(o.Tick, time.Second)
	o.JudgeEvery = cmp.Or(o.JudgeEvery, 200*time.Millisecond)
	o.SaveEvery = cmp.Or(o.SaveEvery, 5*time.Second)
	o.StoreTimeout = cmp.Or(o.StoreTimeout, 3*time.Second)
	o.SettleWithin = cmp.Or(o.SettleWithin, 250*time.Millisecond)
	return o
}

type unaudited struct{}

func (unaudited) Change(_, _ rollout.State, _ rollout.Event, _ rollout.Figures) error { return nil }

// Live is a model as it is played: what the data path needs to serve it.
type Live struct {
	State rollout.State
	// Breaker belongs to State.Rollout; nil where the model has no challenger in play.
	Breaker *Breaker
	// Evidence belongs to State.Rollout too; never nil.
	Evidence *Evidence
}

// Settings are one model's part of the config file.
type Settings struct {
	rollout.Configured
	// Breaker's OnTrip is the Conductor's own. Changes apply to the next rollout or retry.
	Breaker BreakerOptions
}

// Conductor owns each model's rollout.State. It runs off the data path.
//
// Each model has two locks. mu guards what is known of it and is never held over I/O;
// a rollback needs no other, so it waits for nothing. planned admits one planned change
// at a time and is held over audit and store; a planned change that comes back from the
// store to find a rollback has lost.
type Conductor struct {
	o       Options
	metrics *conductorMetrics

	// tripped, owing and unsettled wake the loops that answer trips, store rollbacks, and
	// let the file have its effect.
	tripped, owing, unsettled chan struct{}
	news                      subscribers
	// closed refuses changes from Close on.
	closed atomic.Bool

	// auditing is held over each entry that follows its change; it guards auditDown,
	// which says that the log has been told of the outage.
	auditing  sync.Mutex
	auditDown bool

	configuring sync.Mutex
	mu          sync.RWMutex
	models      map[string]*model
}

// NewConductor returns a conductor of no models; Configure gives it some.
func NewConductor(o Options) *Conductor {
	c := &Conductor{
		o:         o.withDefaults(),
		tripped:   make(chan struct{}, 1),
		owing:     make(chan struct{}, 1),
		unsettled: make(chan struct{}, 1),
		models:    make(map[string]*model),
	}
	c.metrics = newConductorMetrics(c, o.Registerer)
	return c
}

// Run moves the models along their plans until ctx ends, and answers trips of their
// breakers and failed gates at once. Let it run until the data path has stopped, then Close.
func (c *Conductor) Run(ctx context.Context) {
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context){c.answerTrips, c.judgeAll, c.hearAll, c.payDebts, c.watch, c.keepTime} {
		loops.Go(func() { loop(ctx) })
	}
	loops.Wait()
}

// Look does what Run would have done by now, once, for those who keep their own time: it
// takes the place of Run. Clocks are those of the Options.
func (c *Conductor) Look(ctx context.Context) {
	for _, m := range c.all() {
		c.answerTrip(m)
		c.judge(m)
	}
	c.tick(ctx)
	for _, m := range c.all() {
		c.pay(ctx, m)
	}
}

// closeWithin is what Close has at least, however late its caller is: a rollback that
// gets forgotten is worse than an end that comes a moment later.
const closeWithin = 500 * time.Millisecond

// errClosed refuses what Close could not store any more.
var errClosed = fmt.Errorf("%w: the gateway is about to end; try again once it is back", rollout.ErrUnavailable)

// Close refuses further changes, lets those under way end, and stores what is not stored
// yet, once Run has returned. It takes until ctx ends, or half a second where ctx leaves
// less. The error names rollbacks that are not stored, so that a restart would not
// remember them, and changes that are not audited.
func (c *Conductor) Close(ctx context.Context) error {
	c.closed.Store(true)
	if left, bounded := ctx.Deadline(); ctx.Err() != nil || (bounded && time.Until(left) < closeWithin) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
	}
	var failed []error
	for _, m := range c.all() {
		failed = append(failed, c.finish(ctx, m))
	}
	return errors.Join(failed...)
}

// finish brings what is known of the model to store and audit.
func (c *Conductor) finish(ctx context.Context, m *model) error {
	if m.lock(ctx) == nil { // the change under way, if any, has ended
		m.unlock()
	}
	c.answerTrip(m)
	m.mu.Lock()
	asked := m.asked != nil
	m.mu.Unlock()
	if asked {
		_ = c.settle(ctx, m) // the rollback that waits for the state
	}
	c.pay(ctx, m)
	c.saveProgress(ctx, m)
	c.saveEvidence(ctx, m)
	m.mu.Lock()
	defer m.mu.Unlock()
	var failed []error
	if m.owed != nil {
		failed = append(failed, fmt.Errorf("%w: the rollback of model %s is not stored: %s", rollout.ErrUnavailable, m.name, m.owed.trouble))
	}
	if m.asked != nil {
		failed = append(failed, fmt.Errorf("%w: the rollback of model %s is not stored, for its state could not be read: %s",
			rollout.ErrUnavailable, m.name, m.trouble))
	}
	if len(m.unaudited) > 0 {
		failed = append(failed, fmt.Errorf("model %s: not in the audit log: %s: %s", m.name, m.entriesDue(), m.auditTrouble))
	}
	return errors.Join(failed...)
}

// List returns every configured model's view, by model name.
func (c *Conductor) List() []rollout.View {
	views := []rollout.View{}
	for _, m := range c.all() {
		if v, ok := c.view(m); ok {
			views = append(views, v)
		}
	}
	return views
}

// Get returns one model's view. The error wraps rollout.ErrUnknownModel and names the
// models there are.
func (c *Conductor) Get(name string) (rollout.View, error) {
	if m := c.find(name); m != nil {
		if v, ok := c.view(m); ok {
			return v, nil
		}
	}
	return rollout.View{}, c.unknown(name)
}

// Subscribe gives a tick on changed whenever any model changes; ticks that nobody has
// taken yet are one. cancel ends it.
func (c *Conductor) Subscribe() (changed <-chan struct{}, cancel func()) { return c.news.add() }

func (c *Conductor) find(name string) *model {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.models[name]
}

// all returns the models by name, withdrawn ones included.
func (c *Conductor) all() []*model {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]*model, 0, len(c.models))
	for _, m := range c.models {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *model) int { return strings.Compare(a.name, b.name) })
	return all
}

func (c *Conductor) unknown(name string) error {
	var names []string
	for _, v := range c.List() {
		names = append(names, v.Model)
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: %q; none is configured", rollout.ErrUnknownModel, name)
	}
	return fmt.Errorf("%w: %q; there are: %s", rollout.ErrUnknownModel, name, strings.Join(names, ", "))
}

// nudge wakes the reader of a channel with room for one.
func nudge(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// subscribers are told that something changed.
type subscribers struct {
	mu  sync.Mutex
	all map[chan struct{}]struct{}
}

func (s *subscribers) add() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[chan struct{}]struct{})
	}
	s.all[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, ch)
	}
}

func (s *subscribers) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.all {
		nudge(ch)
	}
}
