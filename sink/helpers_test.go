package sink

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(realKafka.Around(m)) }

// tally counts payloads that are out: each payload made is to be freed once, and
// freeing it twice panics in rollout.
type tally struct{ made, freed atomic.Int64 }

func (c *tally) payload(chunks ...[]byte) *rollout.Payload {
	c.made.Add(1)
	return rollout.NewPayload(chunks, func() { c.freed.Add(1) })
}

func (c *tally) check(t *testing.T) {
	t.Helper()
	if made, freed := c.made.Load(), c.freed.Load(); made != freed {
		t.Errorf("%d payloads made, %d freed", made, freed)
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// request is a ModelInferRequest with one raw input of n bytes.
func request(n int) *inference.ModelInferRequest {
	return &inference.ModelInferRequest{
		ModelName: "fraud", Id: "client-7",
		Parameters: map[string]*inference.InferParameter{"user_id": {ParameterChoice: &inference.InferParameter_StringParam{StringParam: "u1"}}},
		Inputs: []*inference.ModelInferRequest_InferInputTensor{
			{Name: "features", Datatype: "FP32", Shape: []int64{1, int64(n / 4)}}},
		RawInputContents: [][]byte{make([]byte, n)},
	}
}

// response is a ModelInferResponse with one typed output.
func response(model string, score float32) *inference.ModelInferResponse {
	return &inference.ModelInferResponse{ModelName: model, ModelVersion: "1",
		Outputs: []*inference.ModelInferResponse_InferOutputTensor{{Name: "probability", Datatype: "FP32", Shape: []int64{1, 1},
			Contents: &inference.InferTensorContents{Fp32Contents: []float32{score}}}}}
}

var receivedAt = time.Date(2026, 11, 23, 6, 28, 1, 250_000_000, time.UTC)

// exchange returns a complete exchange whose payloads c counts.
func exchange(t testing.TB, c *tally, id string) *rollout.Exchange {
	t.Helper()
	return &rollout.Exchange{
		ID: id, RequestID: "client-7", Model: "fraud", Revision: 12, Mode: rollout.ModeShadow,
		Assigned: rollout.Champion, Served: rollout.Champion, ReceivedAt: receivedAt,
		Request: c.payload(marshal(t, request(64))),
		Champion: rollout.Call{Spec: rollout.Spec{Target: "dns:///fraud-v1:8081", Model: "fraud", Version: "1"},
			Latency: 3 * time.Millisecond, Response: c.payload(marshal(t, response("fraud", 0.25)))},
		Challenger: rollout.Call{Spec: rollout.Spec{Target: "dns:///fraud-v2:8081", Model: "fraud", Version: "2"},
			Latency: 1500 * time.Millisecond, Response: c.payload(marshal(t, response("fraud2", 0.5)))},
		Comparison: &rollout.Comparison{Outputs: []rollout.OutputComparison{{Output: "probability", Kind: rollout.CompareScore,
			Finding: rollout.DiffersInValues, Elements: 1, Differing: 1, MaxAbsDiff: 0.25, MeanAbsDiff: 0.25}}},
	}
}

func id(i int) string { return fmt.Sprintf("0193577e-0000-7000-8000-%012d", i) }

// logs keeps what is logged.
type logs struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(b)
}

func (l *logs) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.lines.String(), part)
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// balanced fails unless the ledger's equation holds, no term is negative, and the
// totals are as wanted.
func balanced(t *testing.T, c Counts) {
	t.Helper()
	if c.Eligible+c.Recovered != c.Delivered+c.Spooled+c.InFlight+c.DroppedTotal() {
		t.Errorf("the ledger does not balance: %+v", c)
	}
	if c.Delivered < 0 || c.Spooled < 0 || c.InFlight < 0 {
		t.Errorf("negative: %+v", c)
	}
}

// eventually waits until ok, for what happens outside of the test's reach.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// idle waits, in a bubble of its own time, until the sink has done what it can do now: its
// pauses to gather records are over, no pause to try again is.
func idle() {
	time.Sleep(gatherMoment + gatherTime + time.Millisecond)
	synctest.Wait()
}

// closeIn closes s and gives the flush at most d.
func closeIn(t *testing.T, s *Sink, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return s.Close(ctx)
}
