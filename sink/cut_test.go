package sink

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// large is an exchange whose request has n bytes of raw contents.
func large(t testing.TB, c *tally, id string, n int) *rollout.Exchange {
	x := exchange(t, c, id)
	x.Request.Free()
	b := marshal(t, request(n))
	x.Request = c.payload(b[:len(b)/3], b[len(b)/3:])
	return x
}

func TestCutLeavesTheLargestOut(t *testing.T) {
	var c tally
	x := large(t, &c, id(1), 40_000)
	payload := x.Request.Bytes()
	whole, _ := (&encoder{limit: 1 << 30}).encode(x)
	got, cut := encoded(t, 20_000, x)
	sum := sha256.Sum256(payload)
	want := prediction(id(1))
	want.Request = nil
	want.Cut = &recordv1.Cut{OriginalBytes: uint64(len(whole)), Request: &recordv1.Digest{
		Bytes: uint64(len(payload)), Sha256: sum[:], Head: payload[:256],
		Tensors: []*recordv1.TensorShape{{Name: "features", Datatype: "FP32", Shape: []int64{1, 10_000}}}}}
	same(t, got, want)
	if !cut {
		t.Error("not called cut")
	}
	c.check(t)
}

func TestCutAtTheLimit(t *testing.T) {
	var c tally
	whole, _ := (&encoder{limit: 1 << 30}).encode(exchange(t, &c, id(1)))
	for _, tt := range []struct {
		limit int
		cut   bool
	}{{len(whole), false}, {len(whole) - 1, true}} {
		if _, cut := (&encoder{limit: tt.limit}).encode(exchange(t, &c, id(1))); cut != tt.cut {
			t.Errorf("limit %d of %d bytes: cut %v", tt.limit, len(whole), cut)
		}
	}
}

func TestCutAll(t *testing.T) {
	var c tally
	x := large(t, &c, id(1), 40_000)
	for _, call := range []*rollout.Call{&x.Champion, &x.Challenger} {
		call.Response.Free()
		r := response("m", 1)
		r.RawOutputContents = [][]byte{make([]byte, 30_000)}
		call.Response = c.payload(marshal(t, r))
	}
	got, _ := encoded(t, minRecordBytes, x)
	if got.Request != nil || got.Champion.Response != nil || got.Challenger.Response != nil {
		t.Error("a payload is left")
	}
	for i, d := range []*recordv1.Digest{got.Cut.Request, got.Cut.ChampionResponse, got.Cut.ChallengerResponse} {
		if d.GetBytes() < 30_000 || len(d.GetTensors()) != 1 {
			t.Errorf("digest %d: %v", i, d)
		}
	}
	if got.Champion.Absent != "" {
		t.Errorf("absent %q: the arm did answer", got.Champion.Absent)
	}
}

// What is left of a record can be too large in itself; the id never goes.
func TestCutHard(t *testing.T) {
	var c tally
	x := exchange(t, &c, id(1))
	x.RequestID = strings.Repeat("é", 400_000)
	x.Champion.Status.Message = strings.Repeat("m", 400_000)
	for i := range 2000 {
		x.Comparison.Outputs = append(x.Comparison.Outputs, rollout.OutputComparison{Output: fmt.Sprintf("%0500d", i), ChampionClass: x.RequestID[:1000]})
	}
	got, cut := encoded(t, minRecordBytes, x)
	if got.Id != id(1) || !cut || len(got.RequestId) != clippedBytes || len(got.Comparison.Outputs) != keptOutputs {
		t.Errorf("id %q, cut %v, %d bytes of request id, %d outputs", got.Id, cut, len(got.RequestId), len(got.Comparison.Outputs))
	}
	c.check(t)
}

// A record that is in the spool already is cut from its wire form, and the digest is
// still the one of the bytes as they were received.
func TestRecut(t *testing.T) {
	odd := append(field(3, 'i'), append(field(99, 0xff), field(1, 'm')...)...)
	var c tally
	x := exchange(t, &c, id(1))
	x.Request.Free()
	x.Request = c.payload(odd)
	record, _ := (&encoder{limit: defaultRecordBytes}).encode(x)
	soft, err := recut(record, false)
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, soft)
	sum := sha256.Sum256(odd)
	if !bytes.Equal(got.Cut.GetRequest().GetSha256(), sum[:]) || got.Cut.OriginalBytes != uint64(len(record)) {
		t.Errorf("cut %v", got.Cut)
	}
	if got.Request != nil || got.Champion.Response != nil || got.Cut.ChampionResponse == nil || len(got.Cut.ChampionResponse.Tensors) != 1 {
		t.Errorf("got %v", got)
	}
	hard, err := recut(soft, true)
	if err != nil {
		t.Fatal(err)
	}
	got = decode(t, hard)
	if d := got.Cut.GetChampionResponse(); d.GetHead() != nil || d.GetTensors() != nil || d.GetSha256() == nil || got.Cut.OriginalBytes != uint64(len(record)) {
		t.Errorf("cut hard %v", got.Cut)
	}
	if _, err := recut([]byte{0xff}, false); err == nil {
		t.Error("no error for what is no record")
	}
}

func TestTensorShapes(t *testing.T) {
	r := &inference.ModelInferRequest{}
	for range digestTensors + 5 {
		r.Inputs = append(r.Inputs, &inference.ModelInferRequest_InferInputTensor{Name: strings.Repeat("n", 1000), Datatype: "FP32",
			Shape: make([]int64, 100), Contents: &inference.InferTensorContents{Fp32Contents: []float32{1}}})
	}
	got := tensorShapes(marshal(t, r))
	if len(got) != digestTensors || len(got[0].Name) != clippedBytes || len(got[0].Shape) != digestDims {
		t.Errorf("%d tensors, first %v", len(got), got[0])
	}
	unpacked := field(5, append(field(1, 'a', 0xff), 0x18, 0x02, 0x18, 0x03)...)
	if got := tensorShapes(append(unpacked, 0xff)); len(got) != 1 || !proto.Equal(got[0], &recordv1.TensorShape{Name: "a\uFFFD", Shape: []int64{2, 3}}) {
		t.Errorf("unpacked shape, bad name, garbage behind: %v", got)
	}
}
