// Package reporttest makes records as the gateway writes them, for tests of what reads them.
package reporttest

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/understudy-serving/understudy/proto/inference"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// Noon is when the first record was received.
var Noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// ID is the id of the i-th record.
func ID(i int) string { return fmt.Sprintf("0193577e-0000-7000-8000-%012d", i) }

// Response has a score as raw contents and the label that follows from it, typed.
func Response(score float32) *inference.ModelInferResponse {
	label := "good"
	if score >= 0.5 {
		label = "bad"
	}
	raw := binary.LittleEndian.AppendUint32(nil, math.Float32bits(score))
	text := append(binary.LittleEndian.AppendUint32(nil, uint32(len(label))), label...)
	return &inference.ModelInferResponse{ModelName: "risk", Outputs: []*inference.ModelInferResponse_InferOutputTensor{
		{Name: "probability", Datatype: "FP32", Shape: []int64{1, 1}}, {Name: "label", Datatype: "BYTES", Shape: []int64{1}},
	}, RawOutputContents: [][]byte{raw, text}}
}

// Prediction is the i-th record: a pair whose scores are given.
func Prediction(i int, champion, challenger float32) *recordv1.Prediction {
	at := Noon.Add(time.Duration(i) * 100 * time.Millisecond)
	region := [...]string{"eu", "us", "apac"}[i%3]
	return &recordv1.Prediction{
		Id: ID(i), RequestId: "client", Model: "risk", Revision: 3, Mode: recordv1.Mode_MODE_SHADOW,
		Assigned: recordv1.Arm_ARM_CHAMPION, Served: recordv1.Arm_ARM_CHAMPION, ReceivedAt: timestamppb.New(at),
		Request: &inference.ModelInferRequest{ModelName: "risk", Parameters: map[string]*inference.InferParameter{
			"region": {ParameterChoice: &inference.InferParameter_StringParam{StringParam: region}}}},
		Champion: &recordv1.ArmResult{Target: "dns:///risk-v1:8081", Model: "risk", Version: "1",
			Response: Response(champion), Latency: durationpb.New(time.Duration(2+i%5) * time.Millisecond)},
		Challenger: &recordv1.ArmResult{Target: "dns:///risk-v2:8081", Model: "risk", Version: "2",
			Response: Response(challenger), Latency: durationpb.New(time.Duration(3+i%7) * time.Millisecond)},
	}
}

// Traffic is all of Stream.
func Traffic(n int) (all []*recordv1.Prediction) {
	for _, p := range Stream(n) {
		all = append(all, p)
	}
	return all
}

// Stream makes n records of a challenger that is a little off, more so in apac; some of its
// copies fail, are shed or are not sampled, and from the middle on it serves 5 %. They are
// the same each time.
func Stream(n int) iter.Seq2[int, *recordv1.Prediction] {
	return func(yield func(int, *recordv1.Prediction) bool) {
		r := rand.New(rand.NewPCG(1, 2))
		for i := range n {
			if !yield(i, one(r, i, i >= n/2)) {
				return
			}
		}
	}
}

func one(r *rand.Rand, i int, canary bool) *recordv1.Prediction {
	score, off := r.Float64(), 0.01*r.NormFloat64()
	if i%3 == 2 && r.Float64() < 0.2 {
		off += 0.3
	}
	p := Prediction(i, float32(score), float32(min(max(score+off, 0), 1)))
	p.Champion.Latency, p.Challenger.Latency = latency(r, 4), latency(r, 5)
	p.Comparison = &recordv1.Comparison{Agree: math.Abs(off) <= 0.05, Outputs: []*recordv1.OutputComparison{
		{Output: "probability", Kind: "score", Agree: math.Abs(off) <= 0.05, Elements: 1, MaxAbsDiff: math.Abs(off), MeanAbsDiff: math.Abs(off)},
		{Output: "label", Kind: "class", Agree: true, Elements: 1}}}
	if canary {
		p.Mode, p.Weight, p.Revision = recordv1.Mode_MODE_CANARY, 500, 5
		if r.Float64() < 0.05 {
			p.Assigned, p.Served = recordv1.Arm_ARM_CHALLENGER, recordv1.Arm_ARM_CHALLENGER
			Lose(p, p.Champion, 0, rollout.NotCalled)
			return p
		}
	}
	switch u := r.Float64(); {
	case u < 0.01:
		Lose(p, p.Challenger, rollout.Unavailable, rollout.Failed)
	case u < 0.02:
		Lose(p, p.Challenger, rollout.DeadlineExceeded, rollout.Timeout)
	case u < 0.04:
		Lose(p, p.Challenger, 0, rollout.Shed)
	case u < 0.08:
		Lose(p, p.Challenger, 0, rollout.NotSampled)
	}
	return p
}

// latency is log-normal, to the microsecond, with a median in milliseconds.
func latency(r *rand.Rand, median float64) *durationpb.Duration {
	return durationpb.New(time.Duration(median*1000*math.Exp(0.5*r.NormFloat64())) * time.Microsecond)
}

// Lose takes an arm's prediction out of a record, and says why.
func Lose(p *recordv1.Prediction, arm *recordv1.ArmResult, code rollout.Code, why rollout.Reason) {
	p.Comparison = nil
	arm.Response, arm.Code, arm.Absent = nil, uint32(code), string(why)
	if why != rollout.Failed && why != rollout.Timeout {
		arm.Latency = nil
	}
}

// Wire is the record in protobuf.
func Wire(t testing.TB, p *recordv1.Prediction) []byte {
	t.Helper()
	b, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
