package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a gateway between scripted arms, with everything around it listening.
type rig struct {
	t          *testing.T
	g          *Gateway
	registry   *prometheus.Registry
	champion   *arm
	challenger *arm
	breaker    *breaker
	observed   *observer
	recorder   *recorder
	// live counts payloads that nobody has given back.
	live atomic.Int64
	// events are the order of things.
	mu     sync.Mutex
	events []string
}

func newRig(t *testing.T) *rig {
	s := &rig{t: t, registry: prometheus.NewRegistry()}
	g, err := New(Options{Version: "test", Registerer: s.registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.server.Stop)
	s.g = g
	s.champion = &arm{s: s, name: "champion", does: s.says("inner-1", "1")}
	s.challenger = &arm{s: s, name: "challenger", does: s.says("inner-2", "2")}
	s.breaker = &breaker{s: s}
	s.observed = &observer{s: s}
	s.recorder = &recorder{s: s}
	t.Cleanup(func() {
		for _, x := range s.recorder.offered {
			x.Free()
		}
		if n := s.live.Load(); n != 0 {
			t.Errorf("%d payloads were never given back", n)
		}
		if s.recorder.accepted != len(s.recorder.offered) {
			t.Errorf("%d requests accepted, %d offered", s.recorder.accepted, len(s.recorder.offered))
		}
		if s.breaker.allowed != len(s.breaker.told) {
			t.Errorf("the breaker allowed %d calls and heard of %d", s.breaker.allowed, len(s.breaker.told))
		}
	})
	return s
}

func (s *rig) event(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

// route is the model "fraud" in a mode; in canary everything goes to the challenger.
func (s *rig) route(mode rollout.Mode) Route {
	return Route{
		Model: "fraud", Revision: 7, Entered: 5, Mode: mode, Weight: 2500,
		Champion:   Arm{rollout.Spec{Target: "c:1", Model: "inner-1", Version: "1"}, s.champion},
		Challenger: Arm{rollout.Spec{Target: "c:2", Model: "inner-2", Version: "2"}, s.challenger},
		Pick:       func(string) rollout.Arm { return rollout.Challenger },
		Breaker:    s.breaker, Observer: s.observed, Recorder: s.recorder,
		ChallengerTimeout: time.Second, ChallengerInFlight: NewInFlight(1),
	}
}

func (s *rig) serve(routes ...Route) {
	s.t.Helper()
	table, err := s.g.NewTable(routes...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.g.SetTable(table)
}

func (s *rig) payload(m proto.Message) *rollout.Payload {
	s.t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.bytes(b)
}

func (s *rig) bytes(b []byte) *rollout.Payload {
	s.live.Add(1)
	return rollout.NewPayload([][]byte{b}, func() { s.live.Add(-1) })
}

// infer sends a request and returns its reply, and its message if there is one.
func (s *rig) infer(ctx context.Context, m *inference.ModelInferRequest, md rollout.Metadata) (rollout.Reply, *inference.ModelInferResponse) {
	s.t.Helper()
	req := s.payload(m)
	defer req.Free()
	reply := s.g.infer(ctx, req, md)
	if (reply.Payload != nil) != (reply.Status.Code == rollout.OK) {
		s.t.Errorf("code %s with payload %v", reply.Status.Code, reply.Payload)
	}
	if reply.Payload == nil {
		return reply, nil
	}
	out := new(inference.ModelInferResponse)
	if err := proto.Unmarshal(reply.Payload.Bytes(), out); err != nil {
		s.t.Errorf("the client can't read its answer: %v", err)
	}
	reply.Payload.Free()
	return reply, out
}

// request is a good one.
func request() *inference.ModelInferRequest {
	return &inference.ModelInferRequest{
		ModelName: "fraud", Id: "client-1",
		Parameters: map[string]*inference.InferParameter{
			"user_id": {ParameterChoice: &inference.InferParameter_StringParam{StringParam: "u-1"}},
			"empty":   {ParameterChoice: &inference.InferParameter_StringParam{}},
		},
		RawInputContents: [][]byte{{1, 2, 3, 4}},
	}
}

// arm is a scripted model server.
type arm struct {
	s     *rig
	name  string
	does  func(ctx context.Context, req *inference.ModelInferRequest) rollout.Reply
	mu    sync.Mutex
	calls []call
}

type call struct {
	method   string
	req      *inference.ModelInferRequest
	md       rollout.Metadata
	deadline time.Duration // left, 0 for none
}

func (a *arm) Call(ctx context.Context, method string, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
	a.s.event("call %s", a.name)
	c := call{method: method, req: new(inference.ModelInferRequest), md: md}
	if err := proto.Unmarshal(req.Bytes(), c.req); err != nil {
		a.s.t.Errorf("%s can't read its request: %v", a.name, err)
	}
	if at, ok := ctx.Deadline(); ok {
		c.deadline = time.Until(at)
	}
	a.mu.Lock()
	a.calls = append(a.calls, c)
	a.mu.Unlock()
	return a.does(ctx, c.req)
}

// says answers well, under the arm's own names and an id of its own.
func (s *rig) says(model, version string) func(context.Context, *inference.ModelInferRequest) rollout.Reply {
	return func(_ context.Context, req *inference.ModelInferRequest) rollout.Reply {
		return rollout.Reply{
			Payload: s.payload(&inference.ModelInferResponse{ModelName: model, ModelVersion: version, Id: "server-made",
				RawOutputContents: req.RawInputContents}),
			Header:  rollout.Metadata{"served-by": {model}},
			Trailer: rollout.Metadata{"cost-bin": {"\x00\xff"}},
		}
	}
}

// fails answers with a status.
func fails(code rollout.Code) func(context.Context, *inference.ModelInferRequest) rollout.Reply {
	return func(context.Context, *inference.ModelInferRequest) rollout.Reply {
		return rollout.Reply{Status: rollout.Status{Code: code, Message: "as the server said", Details: []byte("details")},
			Trailer: rollout.Metadata{"retry-after": {"1"}}}
	}
}

// failsAfter answers with a status when it took that long.
func failsAfter(d time.Duration, code rollout.Code) func(context.Context, *inference.ModelInferRequest) rollout.Reply {
	return func(ctx context.Context, req *inference.ModelInferRequest) rollout.Reply {
		time.Sleep(d)
		return fails(code)(ctx, req)
	}
}

// garbles answers OK with bytes that are no message.
func (s *rig) garbles(context.Context, *inference.ModelInferRequest) rollout.Reply {
	return rollout.Reply{Payload: s.bytes([]byte{0x0a, 0xff})}
}

// hangs answers when its context ends, as a client library does.
func hangs(ctx context.Context, _ *inference.ModelInferRequest) rollout.Reply {
	<-ctx.Done()
	return rollout.Reply{Status: gone(ctx.Err())}
}

func panics(context.Context, *inference.ModelInferRequest) rollout.Reply { panic("lost its lines") }

type breaker struct {
	s       *rig
	open    bool
	allowed int
	told    []rollout.Outcome
}

func (b *breaker) Allow() (func(rollout.Outcome), bool) {
	if b.open {
		return nil, false
	}
	b.allowed++
	return func(o rollout.Outcome) {
		b.s.event("breaker told")
		b.told = append(b.told, o)
	}, true
}

type observer struct {
	s    *rig
	seen []rollout.Outcome
}

func (o *observer) Route(rollout.Routing) rollout.Stamp { return 0 }

func (o *observer) Observe(x rollout.Outcome) {
	o.s.event("observed")
	o.seen = append(o.seen, x)
}

type recorder struct {
	s        *rig
	accepted int
	offered  []*rollout.Exchange
}

func (r *recorder) Accept() {
	r.s.event("accepted")
	r.accepted++
}

func (r *recorder) Offer(x *rollout.Exchange) {
	r.s.event("offered")
	r.offered = append(r.offered, x)
}

// metric returns the samples of a counter or gauge, or the counts of a histogram, by
// label values in the order of their names.
func (s *rig) metric(name string) map[string]float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			out[strings.Join(labels, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

// answersModel answers any method with one message.
func (s *rig) answersModel(m proto.Message) func(context.Context, *inference.ModelInferRequest) rollout.Reply {
	return func(context.Context, *inference.ModelInferRequest) rollout.Reply {
		return rollout.Reply{Payload: s.payload(m)}
	}
}

// read decodes and frees a reply that should be OK.
func (s *rig) read(reply rollout.Reply, m proto.Message) bool {
	s.t.Helper()
	if reply.Status.Code != rollout.OK {
		s.t.Errorf("status %+v", reply.Status)
		return false
	}
	defer reply.Payload.Free()
	if err := proto.Unmarshal(reply.Payload.Bytes(), m); err != nil {
		s.t.Error(err)
	}
	return true
}
