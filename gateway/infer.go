package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// visit is one ModelInfer on its way through the gateway.
type visit struct {
	g        *Gateway
	route    *route
	head     oip.Request
	request  *rollout.Payload
	md       rollout.Metadata
	uuid     uuid.UUID
	id       string // uuid in text form
	ticket   string // empty where there is none
	key      string
	received time.Time

	// calling is the arm whose call is under way, if any: where a panic would strike.
	calling rollout.Arm
	served  rollout.Arm
	// outcome is observed in close, whatever happens.
	outcome rollout.Outcome
	// record is nil unless the request was accepted for one.
	record *rollout.Exchange
}

// infer answers a ModelInferRequest. The caller keeps its reference to req, gives md away
// and owns the reply; the payload is there exactly if the code is OK.
func (g *Gateway) infer(ctx context.Context, req *rollout.Payload, md rollout.Metadata) (reply rollout.Reply) {
	v := visit{g: g, request: req, md: md, received: g.now()}
	defer func() {
		if p := recover(); p != nil {
			reply = v.panicked(p)
		}
		v.close(&reply)
	}()
	if refused := v.admit(ctx); refused.Code != rollout.OK {
		return rollout.Reply{Status: refused}
	}
	if v.outcome.Arm == rollout.Challenger && v.route.Mode == rollout.ModeCanary {
		return v.perform(ctx)
	}
	return v.serve(ctx, v.outcome.Arm)
}

// admit finds the route and assigns an arm.
func (v *visit) admit(ctx context.Context) rollout.Status {
	var err error
	if v.head, err = oip.PeekRequest(v.request); err != nil {
		return rollout.Status{Code: rollout.InvalidArgument, Message: err.Error()}
	}
	var refused rollout.Status
	if v.route, refused = v.g.table.Load().find(v.head.Model, v.head.Version); v.route != nil {
		v.uuid = newID(v.received)
		v.id = v.uuid.String()
	}
	if refused.Code != rollout.OK {
		return refused
	}
	if err := forward(v.md); err != nil {
		return rollout.Status{Code: rollout.InvalidArgument, Message: err.Error()}
	}
	v.assign(ctx)
	return rollout.Status{}
}

// assign is where a request becomes the rollout's: from here on it has an outcome, and
// a record if it is eligible.
func (v *visit) assign(ctx context.Context) {
	r := v.route
	arm := r.answering
	keyed := false
	if r.recorded() || r.Mode == rollout.ModeCanary {
		if v.key, keyed = v.first(r.RoutingKey); !keyed {
			v.key = v.id // else all who have no key would share one arm
		}
	}
	if r.Mode == rollout.ModeCanary && r.Pick(v.key) == rollout.Challenger {
		arm = rollout.Challenger
	}
	v.outcome = rollout.Outcome{Arm: arm, Weight: r.Weight, Entered: r.Entered}
	if !r.recorded() {
		return
	}
	routing := v.routing(ctx, keyed)
	if r.Observer != nil {
		v.outcome.Stamp = r.Observer.Route(routing)
	}
	if r.Tickets != nil {
		v.ticket = v.issue(&routing)
	}
	v.record = &rollout.Exchange{
		ID: v.id, RequestID: v.head.ID, Key: v.key, Metadata: v.md,
		Model: r.Model, Revision: r.Revision, Entered: r.Entered, Stamp: v.outcome.Stamp, Mode: r.Mode, Weight: r.Weight,
		Assigned: arm, ReceivedAt: v.received, Segments: v.segments(&routing), Request: v.request.Ref(),
		Champion:   rollout.Call{Spec: r.Champion.Spec, Absent: rollout.NotCalled},
		Challenger: rollout.Call{Spec: r.Challenger.Spec, Absent: rollout.NotCalled},
	}
	r.Recorder.Accept()
}

// routing is what the evidence has to know of the request now. One whose caller leaves the
// challenger no time is none, whichever arm it is assigned to.
func (v *visit) routing(ctx context.Context, keyed bool) rollout.Routing {
	r := rollout.Routing{At: v.received, Key: v.key, Keyed: keyed, Arm: v.outcome.Arm, Weight: v.outcome.Weight, Entered: v.outcome.Entered}
	if deadline, ok := ctx.Deadline(); ok {
		r.Hasty = time.Until(deadline)/2 < leastBudget
	}
	for i := range v.route.Segments {
		r.Segments[i], _ = v.first(v.route.Segments[i : i+1])
	}
	return r
}

// issue makes the ticket with which the client reports an outcome. Clients choose the values
// of segments, and the ticket is metadata of their answer: one that is too long for a cohort
// of its own is cut, but stays too long.
func (v *visit) issue(routing *rollout.Routing) string {
	segments := routing.Segments
	for i, value := range segments {
		segments[i] = value[:min(len(value), rollout.MaxSegmentValue+1)]
	}
	return v.route.Tickets.Issue(rollout.Ticket{
		ID: v.uuid, Model: v.route.Model, Rollout: v.route.Rollout, At: v.received.Truncate(time.Millisecond),
		Arm: routing.Arm, Entered: routing.Entered, Index: v.route.Step, Weight: routing.Weight,
		Vote: v.outcome.Stamp.Vote(), Segments: segments,
	})
}

// segments are the cohorts of routing, for the record; nil where there are none.
func (v *visit) segments(routing *rollout.Routing) (all []rollout.Segment) {
	for i, source := range v.route.Segments {
		if value := routing.Segments[i]; value != "" {
			all = append(all, rollout.Segment{Parameter: source.Kind != KeyHeader, Name: source.Name, Value: value[:min(len(value), rollout.MaxSegmentValue)]})
		}
	}
	return all
}

// first returns the first value that the sources name; an empty one is none.
func (v *visit) first(sources []KeySource) (value string, ok bool) {
	for _, source := range sources {
		if source.Kind == KeyHeader {
			value, _ = v.md.Get(source.Name)
		} else {
			value, _ = v.head.Parameter(source.Name)
		}
		if value != "" {
			return value, true
		}
	}
	return "", false
}

// serve lets the assigned arm answer: one attempt, and whatever it says goes to the
// client.
func (v *visit) serve(ctx context.Context, arm rollout.Arm) rollout.Reply {
	e := v.call(ctx, arm, 0)
	v.settle(&e)
	return v.answer(ctx, arm, &e)
}

// ended is a call to an arm and what is to be said of it.
type ended struct {
	rollout.Ending
	reply    rollout.Reply
	response oip.Response
	blame    rollout.Blame
	latency  time.Duration
}

// errNoMessage is what an OK without a message is.
var errNoMessage = errors.New("OK without a message")

// call calls an arm and writes down what came of it. The arm has the budget for it, which
// ends before the caller's time; 0 is none of its own.
func (v *visit) call(caller context.Context, arm rollout.Arm, budget time.Duration) ended {
	own, cancel := caller, context.CancelFunc(func() {})
	if budget > 0 {
		own, cancel = context.WithTimeout(caller, budget)
	}
	defer cancel()
	to := v.route.arm(arm)
	request := v.head.WithNames(to.Spec.Model, to.Spec.Version)
	defer request.Free()
	v.calling = arm
	began := v.g.now()
	reply := to.Upstream.Call(own, oip.MethodModelInfer, request, v.md)
	e := ended{reply: reply, latency: v.g.now().Sub(began)}
	v.calling = rollout.NoArm
	e.CallerGone = caller.Err() != nil
	e.OwnBudget = !e.CallerGone && budget > 0 && e.ranOut(own, budget)
	e.judge()
	v.note(arm, &e)
	return e
}

// judge looks at how the call ended and lays the blame.
func (e *ended) judge() {
	e.Code = e.reply.Status.Code
	if e.Code == rollout.OK {
		err := errNoMessage
		if e.reply.Payload != nil {
			e.response, err = oip.PeekResponse(e.reply.Payload)
		}
		e.Malformed = err != nil
	}
	e.blame = rollout.Judge(e.Ending)
}

// ranOut tells whether the call ended because its budget did. The server knows the
// deadline too, and its word of it may be here before our own timer runs out: within the
// last twentieth it is believed. One that speaks of a deadline earlier means some other.
func (e *ended) ranOut(own context.Context, budget time.Duration) bool {
	over := errors.Is(own.Err(), context.DeadlineExceeded)
	switch e.reply.Status.Code {
	case rollout.DeadlineExceeded:
		return over || e.latency >= budget-budget/20
	case rollout.Canceled:
		return over
	}
	return false
}

// note writes the call into the record.
func (v *visit) note(arm rollout.Arm, e *ended) {
	if v.record == nil {
		return
	}
	call := v.recordOf(arm)
	call.Status, call.Latency, call.Absent = e.reply.Status, e.latency, e.Absent()
	if call.Absent == "" {
		call.Response = e.reply.Payload.Ref()
	}
}

func (v *visit) recordOf(arm rollout.Arm) *rollout.Call {
	if arm == rollout.Challenger {
		return &v.record.Challenger
	}
	return &v.record.Champion
}

// settle fixes the outcome of the assigned arm's call.
func (v *visit) settle(e *ended) {
	v.outcome.Code, v.outcome.Blame, v.outcome.Latency = e.Code, e.blame, e.latency
}

// answer makes the client's reply of an arm's: with the public name, the version of the
// arm and the client's id.
func (v *visit) answer(ctx context.Context, arm rollout.Arm, e *ended) rollout.Reply {
	reply := e.reply
	if e.Code != rollout.OK || e.Malformed {
		reply.Payload.Free()
		reply.Payload = nil
		if e.Malformed {
			reply.Status = v.malformed(ctx, arm)
		}
		if !e.CallerGone {
			v.served = arm
		}
		return reply
	}
	v.served = arm
	version, id := v.route.arm(arm).Spec.Version, v.head.ID
	if version == "" {
		version = e.response.Version
	}
	if id == "" {
		id = e.response.ID // some servers make one up
	}
	reply.Payload = e.response.WithNames(v.route.Model, version, id)
	e.reply.Payload.Free()
	return reply
}

func (v *visit) malformed(ctx context.Context, arm rollout.Arm) rollout.Status {
	if err := ctx.Err(); err != nil {
		return gone(err)
	}
	return rollout.Status{Code: rollout.Internal,
		Message: fmt.Sprintf("the answer of model %q (%s) is not a well-formed ModelInferResponse", v.route.Model, arm)}
}

// gone is the status for a caller who no longer waits.
func gone(err error) rollout.Status {
	if errors.Is(err, context.DeadlineExceeded) {
		return rollout.Status{Code: rollout.DeadlineExceeded, Message: err.Error()}
	}
	return rollout.Status{Code: rollout.Canceled, Message: err.Error()}
}

// panicked makes what is left of a request into an INTERNAL.
func (v *visit) panicked(p any) rollout.Reply {
	reply := rollout.Reply{Status: v.g.recovered(p, v.head.Model)}
	v.served = rollout.NoArm
	if v.record != nil && v.calling != rollout.NoArm {
		call := v.recordOf(v.calling)
		call.Status, call.Absent = reply.Status, rollout.Failed
	}
	if v.outcome.Blame != rollout.OnChallenger {
		v.outcome.Code, v.outcome.Blame = rollout.Internal, rollout.OnCaller
	}
	return reply
}

// close counts, observes and offers: once for each request, however it ended.
func (v *visit) close(reply *rollout.Reply) {
	code := reply.Status.Code
	if v.route == nil {
		v.g.metrics.unrouted.inc(code)
		return
	}
	if reply.Header == nil {
		reply.Header = make(rollout.Metadata, 1)
	}
	reply.Header[IDHeader] = []string{v.id}
	if v.ticket != "" {
		reply.Header[TicketHeader] = []string{v.ticket}
	}
	v.outcome.Age = v.g.now().Sub(v.received)
	v.route.metrics.answered(v.served, code, v.outcome.Age)
	defer v.offer()
	if v.outcome.Arm != rollout.NoArm && v.route.Observer != nil {
		v.route.Observer.Observe(v.outcome)
	}
}

func (v *visit) offer() {
	if v.record != nil {
		v.record.Served, v.record.Diverted = v.served, v.outcome.Diverted
		v.route.Recorder.Offer(v.record)
	}
}
