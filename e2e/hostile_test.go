package e2e

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/oip/rawgrpc"
	"github.com/understudy-serving/understudy/proto/inference"
)

// raw sends bytes as they are.
func (th *theatre) raw(b []byte) error {
	var answer mem.BufferSlice
	err := th.conn.Invoke(context.Background(), oip.MethodModelInfer, rawgrpc.Message(b), &answer, grpc.ForceCodecV2(rawgrpc.Codec{}))
	answer.Free()
	return err
}

// Bad requests are refused with a reason, cost nobody else anything, and leave no trace
// on the challenger.
func TestBadRequests(t *testing.T) {
	th := open(t, stub(t), func(p *play) { p.MaxMessage = "64KiB" })
	for name, b := range map[string][]byte{
		"not protobuf":            {0xff, 0xff, 0xff},
		"length past the end":     {0x0a, 0x7f, 'x'},
		"a group":                 {0x0b},
		"a name that is no UTF-8": {0x0a, 0x02, 0xc3, 0x28},
	} {
		err := th.raw(b)
		wantCode(t, err, codes.InvalidArgument)
		if !strings.Contains(status.Convert(err).Message(), "ModelInferRequest") && !strings.Contains(status.Convert(err).Message(), "malformed") {
			t.Errorf("%s: %q does not say what is wrong", name, status.Convert(err).Message())
		}
	}
	big := th.request(1)
	big.RawInputContents = [][]byte{make([]byte, 128<<10)}
	_, err := th.client.ModelInfer(context.Background(), big)
	wantCode(t, err, codes.ResourceExhausted)

	_, err = th.client.ModelInfer(context.Background(), &inference.ModelInferRequest{ModelName: "nobody"})
	wantCode(t, err, codes.NotFound)
	if !strings.Contains(status.Convert(err).Message(), "risk") {
		t.Errorf("%q does not name the models there are", status.Convert(err).Message())
	}
	_, err = th.client.ModelInfer(context.Background(), &inference.ModelInferRequest{ModelName: "risk", ModelVersion: "2"})
	wantCode(t, err, codes.NotFound)

	stream, err := th.conn.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		"/inference.GRPCInferenceService/ModelStreamInfer")
	if err == nil {
		err = stream.RecvMsg(&inference.ModelInferResponse{})
	}
	wantCode(t, err, codes.Unimplemented)

	th.mustServe(0, 50)
	if records := th.records(); len(records) != 50 {
		t.Errorf("%d records, want those of the 50 good requests", len(records))
	}
}

// Clients that send bad tensors get the champion's refusal, and nothing trips.
func TestBadTensorsTripNothing(t *testing.T) {
	th := open(t, stub(t), nil)
	bad := th.request(0)
	bad.Inputs[0].Shape = []int64{1, 3}
	refusals := func() {
		for range 100 {
			_, err := th.client.ModelInfer(context.Background(), bad)
			wantCode(t, err, codes.InvalidArgument)
		}
	}
	refusals()
	th.canary(100)
	refusals()
	th.mustServe(0, 20)
	if r := th.rollout(); r.Breaker != "closed" || r.WeightPercent != 100 {
		t.Errorf("breaker %s at %v%%: bad tensors must trip nothing", r.Breaker, r.WeightPercent)
	}
}
