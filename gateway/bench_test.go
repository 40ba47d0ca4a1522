package gateway

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// still answers at once, always the same.
type still struct{ bytes []byte }

func (u still) Call(context.Context, string, *rollout.Payload, rollout.Metadata) rollout.Reply {
	return rollout.Reply{Payload: rollout.NewPayload([][]byte{u.bytes}, nil), Header: rollout.Metadata{"a": {"b"}}}
}

type nothing struct{}

func (nothing) Accept()                              {}
func (nothing) Offer(x *rollout.Exchange)            { x.Free() }
func (nothing) Route(rollout.Routing) rollout.Stamp  { return 0 }
func (nothing) Observe(rollout.Outcome)              {}
func (nothing) Allow() (func(rollout.Outcome), bool) { return func(rollout.Outcome) {}, true }

// BenchmarkInfer is the gateway's own share of a request: everything but gRPC and the
// arms.
func BenchmarkInfer(b *testing.B) {
	for _, mode := range []rollout.Mode{rollout.ModeChampion, rollout.ModeShadow, rollout.ModeCanary} {
		for name, size := range map[string]int{"200B": 100, "600KB": 600_000} {
			b.Run(mode.String()+"/"+name, func(b *testing.B) { benchmarkInfer(b, mode, size) })
		}
	}
}

func benchmarkInfer(b *testing.B, mode rollout.Mode, size int) {
	infer := inferring(b, mode, size)
	b.ReportAllocs()
	for b.Loop() {
		infer()
	}
}

// inferring returns one request through a gateway whose arms answer at once.
func inferring(t testing.TB, mode rollout.Mode, size int) func() {
	t.Helper()
	answer, err := proto.Marshal(&inference.ModelInferResponse{ModelName: "inner", ModelVersion: "1", Id: "x", RawOutputContents: [][]byte{make([]byte, size)}})
	if err != nil {
		t.Fatal(err)
	}
	m := request()
	m.RawInputContents = [][]byte{make([]byte, size)}
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.server.Stop)
	table, err := g.NewTable(Route{
		Model: "fraud", Mode: mode, RoutingKey: []KeySource{{KeyParameter, "user_id"}},
		Champion:   Arm{rollout.Spec{Model: "inner", Version: "1"}, still{answer}},
		Challenger: Arm{rollout.Spec{Model: "inner", Version: "2"}, still{answer}},
		Pick:       func(string) rollout.Arm { return rollout.Challenger },
		Breaker:    nothing{}, Observer: nothing{}, Recorder: nothing{},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.SetTable(table)
	req := rollout.NewPayload([][]byte{body}, nil)
	ctx := t.Context()
	return func() {
		md := rollout.Metadata{"content-type": {"application/grpc"}, "user-agent": {"bench"}, "authorization": {"Bearer t"}, "traceparent": {"00-11"}}
		reply := g.infer(ctx, req, md)
		if reply.Status.Code != rollout.OK {
			t.Fatal(reply.Status)
		}
		reply.Payload.Free()
	}
}

// TestInferAllocations holds the path to what it allocates now, whatever the size of the
// request; eleven are the test's own, for the metadata and the arms' answers. Fewer are
// welcome: lower the ceiling then.
func TestInferAllocations(t *testing.T) {
	for _, c := range []struct {
		mode    rollout.Mode
		ceiling float64
	}{{rollout.ModeChampion, 17}, {rollout.ModeShadow, 19}, {rollout.ModeCanary, 19}} {
		for _, size := range []int{100, 600_000} {
			if got := testing.AllocsPerRun(200, inferring(t, c.mode, size)); got > c.ceiling {
				t.Errorf("%s, %d bytes: %.0f allocations a request, at most %.0f", c.mode, size, got, c.ceiling)
			}
		}
	}
}
