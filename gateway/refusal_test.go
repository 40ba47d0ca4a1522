package gateway

import (
	"maps"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// TestRefusals are requests that no arm sees, and nobody records or observes.
func TestRefusals(t *testing.T) {
	version := func(v string) []byte {
		b, _ := proto.Marshal(&inference.ModelInferRequest{ModelName: "fraud", ModelVersion: v})
		return b
	}
	for _, tc := range []struct {
		name   string
		body   []byte
		md     rollout.Metadata
		code   rollout.Code
		says   string
		count  string
		withID bool
	}{
		{"malformed", []byte{0x0a, 0x7f, 'x'}, nil, rollout.InvalidArgument, "malformed", "none INVALID_ARGUMENT ", false},
		{"empty", nil, nil, rollout.NotFound, `model "" is not served here; models: fraud, spam`, "none NOT_FOUND ", false},
		{"unknown model", []byte("\x0a\x04mail"), nil, rollout.NotFound, `model "mail" is not served here; models: fraud, spam`, "none NOT_FOUND ", false},
		{"the challenger by name", version("2"), nil, rollout.NotFound, `model "fraud" has no version "2"; served: "1", or leave the version empty`, "none NOT_FOUND fraud", true},
		{"metadata that gRPC can't carry", version(""), rollout.Metadata{"x-user": {"J\xf6rg"}}, rollout.InvalidArgument, `metadata "x-user"`, "none INVALID_ARGUMENT fraud", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newRig(t)
			other := s.route(rollout.ModeShadow)
			other.Model = "spam"
			s.serve(s.route(rollout.ModeCanary), other)
			req := s.bytes(tc.body)
			defer req.Free()
			reply := s.g.infer(t.Context(), req, tc.md)
			if reply.Status.Code != tc.code || !strings.Contains(reply.Status.Message, tc.says) {
				t.Errorf("status %s %q, want %s %q", reply.Status.Code, reply.Status.Message, tc.code, tc.says)
			}
			if _, ok := reply.Header.Get(IDHeader); ok != tc.withID {
				t.Errorf("header %v", reply.Header)
			}
			if len(s.events) != 0 {
				t.Errorf("events %v, want none", s.events)
			}
			if got, want := s.metric("understudy_requests_total"), map[string]float64{tc.count: 1}; !maps.Equal(got, want) {
				t.Errorf("requests %v, want %v", got, want)
			}
		})
	}
}

// A panic in what stands around the arms does not end the process either, and every
// accepted request is offered.
func TestPanicsElsewhere(t *testing.T) {
	s := newRig(t)
	r := s.route(rollout.ModeCanary)
	r.Pick = func(string) rollout.Arm { panic("split") }
	s.serve(r)
	if reply, _ := s.infer(t.Context(), request(), nil); reply.Status.Code != rollout.Internal {
		t.Errorf("status %s", reply.Status.Code)
	}
	if s.recorder.accepted != 0 {
		t.Error("accepted before it was routed")
	}
	r = s.route(rollout.ModeShadow)
	r.Observer = badObserver{}
	s.serve(r)
	func() {
		defer func() { _ = recover() }() // the gRPC layer's
		s.infer(t.Context(), request(), nil)
	}()
	s.live.Store(0) // the answer was lost on the way
	if len(s.recorder.offered) != 1 {
		t.Errorf("%d offered, want 1", len(s.recorder.offered))
	}
	s.recorder.offered[0].Free()
	s.recorder.accepted, s.recorder.offered = 0, nil
	s.live.Store(0)
}

type badObserver struct{}

func (badObserver) Route(rollout.Routing) rollout.Stamp { return 0 }
func (badObserver) Observe(rollout.Outcome)             { panic("observer") }
