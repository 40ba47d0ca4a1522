package shadow

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// Upstream is the mirror's own connection to the challenger.
type Upstream interface {
	Call(ctx context.Context, method string, req *rollout.Payload, md rollout.Metadata) rollout.Reply
}

// Breaker stands between the mirror and a failing challenger. done must be called
// once with how the call ended.
type Breaker interface {
	Allow() (done func(rollout.Outcome), ok bool)
}

// Observer gathers the evidence of the rehearsal.
type Observer interface {
	Observe(rollout.Outcome)
	Skipped(rollout.Reason)
}

// Recorder takes an exchange over and gives it exactly one record or counted drop.
type Recorder interface {
	Record(*rollout.Exchange)
}

// Options says what a Mirror works with. All fields are required.
type Options struct {
	Model    string
	Spec     rollout.Spec
	Upstream Upstream
	Breaker  Breaker
	Observer Observer
	Recorder Recorder
	Comparer *Comparer
	Logger   *slog.Logger
	Metrics  *Metrics

	// Sampled tells by routing key whether a request is copied.
	Sampled func(key string) bool
	// Busy tells that the gateway is in need of what copies cost: they are shed.
	Busy func() bool
	// Outgoing makes the copy's metadata from the client's: marked, without credentials.
	Outgoing func(rollout.Metadata) rollout.Metadata
	// Timeout bounds each copy; the client's deadline does not.
	Timeout time.Duration
	// MaxInFlight and MaxBytes bound the copies in flight, in calls and in bytes of
	// payload held for them: requests and both arms' answers. A request over either is
	// shed. So is a challenger's answer over MaxBytes, whose size nobody knows before it
	// is there: while answers arrive, each call may hold one more message for the moment,
	// up to the size that Upstream takes. Let that be MaxBytes at most.
	MaxInFlight int64
	MaxBytes    int64

	// Repeat asks the champion a second time; nil is never.
	Repeat *Repeat
	// Inputs has the inputs of all requests looked at; nil is none.
	Inputs *Inputs
}

// Repeat finds out how often a champion disagrees with itself.
type Repeat struct {
	// Spec and Upstream are the champion's, on a connection that no client waits for.
	Spec     rollout.Spec
	Upstream Upstream
	// Sampled tells by the gateway's id whether a request that was copied is repeated.
	Sampled func(id string) bool
}

// Mirror sends copies to one rollout's challenger. Safe for concurrent use.
type Mirror struct {
	o        Options
	metrics  modelMetrics
	inFlight atomic.Int64
	bytes    atomic.Int64
	stopped  atomic.Bool
	reading  reading
	work     chan rehearsal
	// idle gets a token whenever a stopped mirror's last copy ends.
	idle   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	times  deadlines
}

// NewMirror returns a mirror that is ready for Offer. Close it.
func NewMirror(o Options) *Mirror {
	ctx, cancel := context.WithCancel(context.Background())
	return &Mirror{o: o, metrics: o.Metrics.forModel(o.Model), idle: make(chan struct{}, 1), work: make(chan rehearsal), ctx: ctx, cancel: cancel,
		times: deadlines{parent: ctx, timeout: o.Timeout}}
}

// Offer takes over an exchange that the client has its answer to. It never blocks:
// the copy is made in the background, or not at all. Either way the exchange reaches
// the Recorder exactly once.
func (m *Mirror) Offer(x *rollout.Exchange) {
	m.look(x)
	if x.Assigned == rollout.Challenger {
		// The challenger's own requests are not copied to the champion, and a diverted
		// one was kept from the challenger for a reason.
		m.o.Recorder.Record(x)
		return
	}
	size := x.Size()
	done, why := m.enter(x.Key, size)
	if why != "" {
		x.Challenger.Absent = why
		m.o.Observer.Skipped(why)
		m.metrics.skipped(why)
		m.o.Recorder.Record(x)
		return
	}
	r := rehearsal{x, size, done}
	select {
	case m.work <- r:
	default:
		go m.worker(r)
	}
}

// rehearsal is one copy that is to be made.
type rehearsal struct {
	x    *rollout.Exchange
	size int64
	done func(rollout.Outcome)
}

// worker makes copies until the mirror is closed: there are as many as there were copies at a time
// once, for a stack that has grown is worth keeping.
func (m *Mirror) worker(r rehearsal) {
	for {
		m.rehearse(r.x, r.size, r.done)
		select {
		case r = <-m.work:
		case <-m.ctx.Done():
			return
		}
	}
}

// enter admits an exchange and reserves its place, or says why not. The breaker comes
// last, for it gives out probes that must be used.
func (m *Mirror) enter(key string, size int64) (done func(rollout.Outcome), why rollout.Reason) {
	if !m.o.Sampled(key) {
		return nil, rollout.NotSampled
	}
	if m.o.Busy() || !m.reserve(size) {
		return nil, rollout.Shed
	}
	// Looked at behind the reservation: Close stops first and then waits for what is reserved.
	if m.stopped.Load() {
		m.release(size)
		return nil, rollout.NotCalled
	}
	done, ok := m.o.Breaker.Allow()
	if !ok {
		m.release(size)
		return nil, rollout.BreakerOpen
	}
	return done, ""
}

func (m *Mirror) reserve(size int64) bool {
	if m.inFlight.Add(1) > m.o.MaxInFlight {
		m.inFlight.Add(-1)
		return false
	}
	if !m.hold(size) {
		m.inFlight.Add(-1)
		return false
	}
	m.metrics.inFlight.Inc()
	return true
}

// hold reserves bytes for a copy on its way, which release gives back.
func (m *Mirror) hold(size int64) bool {
	if m.bytes.Add(size) > m.o.MaxBytes {
		m.bytes.Add(-size)
		return false
	}
	m.metrics.bytes.Add(float64(size))
	return true
}

func (m *Mirror) release(size int64) {
	m.metrics.inFlight.Dec()
	m.metrics.bytes.Sub(float64(size))
	m.bytes.Add(-size)
	if m.inFlight.Add(-1) == 0 && m.stopped.Load() {
		select {
		case m.idle <- struct{}{}:
		default:
		}
	}
}

// rehearse makes the copy, compares, and hands the exchange on.
func (m *Mirror) rehearse(x *rollout.Exchange, size int64, done func(rollout.Outcome)) {
	outcome := rollout.Outcome{Arm: rollout.Challenger, Mirrored: true, Weight: x.Weight, Entered: x.Entered, Stamp: x.Stamp,
		ID: x.ID, Code: rollout.Internal, Blame: rollout.OnCaller}
	x.Challenger.Absent = rollout.Failed
	defer func() {
		if r := recover(); r != nil {
			m.o.Logger.Error("the mirror panicked; the request is recorded without a comparison: please report this",
				"model", m.o.Model, "id", x.ID, "panic", r, "stack", string(debug.Stack()))
		}
		done(outcome)
		m.o.Observer.Observe(outcome)
		m.metrics.ended(outcome)
		size += int64(x.Challenger.Response.Len()) // held since it came
		m.repeat(x)
		m.o.Recorder.Record(x)
		m.release(size)
	}()
	outcome = m.call(x, outcome)
	if !x.Champion.Answered() || !x.Challenger.Answered() {
		return
	}
	outcome.Paired = true
	x.Comparison = m.o.Comparer.Compare(x.Champion.Response, x.Challenger.Response)
	outcome.Comparison = x.Comparison
	m.metrics.compared(x.Comparison)
}

// repeat asks the champion again what it has answered, where that request is sampled. It is
// the first to be shed: it needs half of all room to be free.
func (m *Mirror) repeat(x *rollout.Exchange) {
	r := m.o.Repeat
	if r == nil || x.Comparison == nil || !r.Sampled(x.ID) {
		return
	}
	if 2*m.inFlight.Load() > m.o.MaxInFlight || 2*m.bytes.Load() > m.o.MaxBytes || m.o.Busy() {
		m.metrics.repeated("shed")
		return
	}
	defer func() {
		if p := recover(); p != nil {
			m.o.Logger.Error("the mirror panicked over a repeated request: please report this", "model", m.o.Model, "id", x.ID, "panic", p)
		}
	}()
	req, err := oip.RenameRequest(x.Request, r.Spec.Model, r.Spec.Version)
	if err != nil {
		return
	}
	defer req.Free()
	ctx := m.times.begin(time.Now())
	reply := r.Upstream.Call(ctx, oip.MethodModelInfer, req, m.o.Outgoing(x.Metadata))
	defer reply.Payload.Free()
	if reply.Status.Code != rollout.OK {
		m.metrics.repeated("failed")
		return
	}
	c := m.o.Comparer.Compare(x.Champion.Response, reply.Payload)
	m.metrics.repeated(resultOf(c))
	m.o.Observer.Observe(rollout.Outcome{Arm: rollout.Champion, Mirrored: true, Stamp: x.Stamp, Age: time.Since(x.ReceivedAt), Comparison: c})
}

// call sends the copy, fills x.Challenger and returns how it ended.
func (m *Mirror) call(x *rollout.Exchange, outcome rollout.Outcome) rollout.Outcome {
	x.Challenger.Spec = m.o.Spec
	req, err := oip.RenameRequest(x.Request, m.o.Spec.Model, m.o.Spec.Version)
	if err != nil { // the gateway took it, so this is no client's doing
		x.Challenger.Status = rollout.Status{Code: rollout.Internal, Message: err.Error()}
		return outcome
	}
	defer req.Free()
	start := time.Now()
	ctx := m.times.begin(start)
	reply := m.o.Upstream.Call(ctx, oip.MethodModelInfer, req, m.o.Outgoing(x.Metadata))
	outcome.Latency = time.Since(start)
	outcome.Age = time.Since(x.ReceivedAt)

	ending := m.judge(ctx, &reply, outcome.Latency)
	outcome.Code = reply.Status.Code
	outcome.Blame = rollout.Judge(ending).Settle(x.Champion.Answered())

	x.Challenger.Status, x.Challenger.Latency = reply.Status, outcome.Latency
	x.Challenger.Absent = ending.Absent()
	if x.Challenger.Absent == "" && !m.hold(int64(reply.Payload.Len())) {
		// A good answer and no room for it: neither a failure nor a success.
		x.Challenger.Absent, outcome.Blame = rollout.Shed, rollout.OnCaller
		m.metrics.shed.Inc()
	}
	if x.Challenger.Absent == "" {
		x.Challenger.Response = reply.Payload
	} else {
		reply.Payload.Free()
	}
	return outcome
}

// judge looks at how a call under ctx ended.
func (m *Mirror) judge(ctx context.Context, reply *rollout.Reply, took time.Duration) rollout.Ending {
	e := rollout.Ending{Code: reply.Status.Code, CallerGone: m.ctx.Err() != nil}
	if e.Code == rollout.OK {
		e.Malformed = oip.CheckResponse(reply.Payload) != nil
	}
	if e.CallerGone {
		return e
	}
	over := errors.Is(ctx.Err(), context.DeadlineExceeded)
	switch e.Code {
	case rollout.DeadlineExceeded:
		// The server knows the deadline too, and its word of it may be here before our own
		// timer runs out. One that speaks of a deadline much earlier means some other.
		e.OwnBudget = over || took >= m.o.Timeout-m.o.Timeout/20
	case rollout.Canceled:
		e.OwnBudget = over
	}
	return e
}

// Stop ends the rehearsal: from its return on no new copy is sent. Those on their way
// go on.
func (m *Mirror) Stop() { m.stopped.Store(true) }

// Close stops the mirror and waits for the copies on their way. Where ctx ends first
// they are cancelled; their exchanges are recorded all the same.
func (m *Mirror) Close(ctx context.Context) {
	m.Stop()
	defer m.cancel()
	cut := ctx.Done()
	for m.inFlight.Load() > 0 {
		select {
		case <-m.idle:
		case <-cut:
			m.cancel()
			cut = nil
		}
	}
}
