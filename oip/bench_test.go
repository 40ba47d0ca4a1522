package oip

import (
	"fmt"
	"testing"

	pb "github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// benchRequest is a request with raw contents, of size bytes in all or a few more.
func benchRequest(t testing.TB, size int) []byte {
	m := &pb.ModelInferRequest{ModelName: "fraud", ModelVersion: "1", Id: "3f2a9c",
		Parameters: map[string]*pb.InferParameter{"user_id": {ParameterChoice: &pb.InferParameter_StringParam{StringParam: "u-1234567"}}},
		Inputs:     []*pb.ModelInferRequest_InferInputTensor{{Name: "features", Datatype: "FP32", Shape: []int64{1, 30}}}}
	m.RawInputContents = [][]byte{make([]byte, max(0, size-len(marshal(t, m))))}
	return marshal(t, m)
}

// benchPayloads are a small message in one chunk, and a large one as the transport cuts
// it.
func benchPayloads(b *testing.B) map[string]*rollout.Payload {
	return map[string]*rollout.Payload{
		"200B":  whole(benchRequest(b, 200)),
		"600KB": inChunksOf(16<<10, string(benchRequest(b, 600<<10))),
	}
}

func BenchmarkPeekRequest(b *testing.B) {
	for size, p := range benchPayloads(b) {
		b.Run(size, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mustPeek(b, p)
			}
		})
	}
}

func BenchmarkParameter(b *testing.B) {
	for size, p := range benchPayloads(b) {
		r := mustPeek(b, p)
		for _, name := range []string{"user_id", "absent"} {
			b.Run(fmt.Sprintf("%s/%s", size, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					r.Parameter(name)
				}
			})
		}
	}
}

func BenchmarkWithNames(b *testing.B) {
	for size, p := range benchPayloads(b) {
		r := mustPeek(b, p)
		b.Run(size, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.WithNames("fraud-v2", "2").Free()
			}
		})
	}
}

func BenchmarkElements(b *testing.B) {
	const n = 1 << 16
	for _, d := range []Datatype{FP16, BF16, FP32, FP64, Int64, Uint8} {
		raw := make([]byte, n*d.Size())
		for i := range raw {
			raw[i] = byte(i * 7)
		}
		m := &pb.ModelInferResponse{Outputs: []*outputTensor{{Datatype: d.String(), Shape: []int64{n}}}, RawOutputContents: [][]byte{raw}}
		got, err := Outputs(whole(marshal(b, m)))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(d.String(), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			var floats [512]float64
			var ints [512]int64
			var uints [512]uint64
			for b.Loop() {
				for e := got[0].Elements(); e.Floats(floats[:])+e.Ints(ints[:])+e.Uints(uints[:]) > 0; {
				}
			}
		})
	}
}
