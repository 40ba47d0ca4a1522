package oip

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// whole is a payload of one chunk.
func whole(b []byte) *rollout.Payload { return rollout.NewPayload([][]byte{b}, nil) }

// chunked cuts b at random places, each chunk in memory of its own and some of them
// empty, so that a read beyond a chunk shows.
func chunked(rng *rand.Rand, b []byte, release func()) *rollout.Payload {
	var chunks [][]byte
	for len(b) > 0 {
		n := min(len(b), rng.IntN(1+1<<rng.IntN(8)))
		chunks = append(chunks, bytes.Clone(b[:n:n]))
		b = b[n:]
	}
	return rollout.NewPayload(chunks, release)
}

// counted is a payload that counts its releases.
func counted(chunks ...[]byte) (*rollout.Payload, *int) {
	n := new(int)
	return rollout.NewPayload(chunks, func() { *n++ }), n
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fieldsOf splits a message into its top-level fields, tags included.
func fieldsOf(t testing.TB, b []byte) (out [][]byte) {
	t.Helper()
	for len(b) > 0 {
		_, _, n := protowire.ConsumeField(b)
		if n < 0 {
			t.Fatalf("field: %v", protowire.ParseError(n))
		}
		out = append(out, b[:n])
		b = b[n:]
	}
	return out
}

// without drops the string fields 1 to n, as an edit must.
func without(t testing.TB, b []byte, n int) (out []byte) {
	t.Helper()
	for _, f := range fieldsOf(t, b) {
		num, typ, _ := protowire.ConsumeTag(f)
		if int(num) > n || typ != protowire.BytesType {
			out = append(out, f...)
		}
	}
	return out
}

func randomText(rng *rand.Rand) string {
	runes := []rune("abcXYZ019-_ /é漢🎭")
	out := make([]rune, rng.IntN(12))
	for i := range out {
		out[i] = runes[rng.IntN(len(runes))]
	}
	return string(out)
}

func randomParameter(rng *rand.Rand) *pb.InferParameter {
	switch rng.IntN(6) {
	case 0:
		return &pb.InferParameter{ParameterChoice: &pb.InferParameter_BoolParam{BoolParam: rng.IntN(2) == 0}}
	case 1:
		return &pb.InferParameter{ParameterChoice: &pb.InferParameter_Int64Param{Int64Param: int64(rng.Uint64())}}
	case 2:
		return &pb.InferParameter{ParameterChoice: &pb.InferParameter_StringParam{StringParam: randomText(rng)}}
	case 3:
		return &pb.InferParameter{ParameterChoice: &pb.InferParameter_DoubleParam{DoubleParam: rng.NormFloat64()}}
	case 4:
		return &pb.InferParameter{ParameterChoice: &pb.InferParameter_Uint64Param{Uint64Param: rng.Uint64()}}
	}
	return &pb.InferParameter{}
}

func randomParameters(rng *rand.Rand) map[string]*pb.InferParameter {
	out := map[string]*pb.InferParameter{}
	for range rng.IntN(4) {
		out[randomText(rng)] = randomParameter(rng)
	}
	return out
}

func randomRequest(rng *rand.Rand) *pb.ModelInferRequest {
	m := &pb.ModelInferRequest{
		ModelName: randomText(rng), ModelVersion: randomText(rng), Id: randomText(rng),
		Parameters: randomParameters(rng),
	}
	for range rng.IntN(3) {
		m.Inputs = append(m.Inputs, &pb.ModelInferRequest_InferInputTensor{
			Name: randomText(rng), Datatype: "FP32", Shape: []int64{1, rng.Int64N(300)}, Parameters: randomParameters(rng)})
		m.RawInputContents = append(m.RawInputContents, make([]byte, rng.IntN(600)))
	}
	return m
}

func randomResponse(rng *rand.Rand) *pb.ModelInferResponse {
	m := &pb.ModelInferResponse{
		ModelName: randomText(rng), ModelVersion: randomText(rng), Id: randomText(rng),
		Parameters: randomParameters(rng),
	}
	for range rng.IntN(3) {
		m.Outputs = append(m.Outputs, &pb.ModelInferResponse_InferOutputTensor{
			Name: randomText(rng), Datatype: "FP32", Shape: []int64{2},
			Contents: &pb.InferTensorContents{Fp32Contents: []float32{rng.Float32(), rng.Float32()}}})
	}
	return m
}

// disturb does to a message what protobuf allows: fields in another order, scalars more
// than once, unknown fields, known numbers with foreign wire types.
func disturb(t testing.TB, rng *rand.Rand, b []byte) []byte {
	fields := fieldsOf(t, b)
	add := func(f []byte) { fields = append(fields, f) }
	for range rng.IntN(4) {
		num := protowire.Number(1 + rng.IntN(3))
		add(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), randomText(rng)))
	}
	for range rng.IntN(3) {
		num := []protowire.Number{1, 2, 3, 4, 9, 15, 16, 5000, protowire.MaxValidNumber}[rng.IntN(9)]
		switch rng.IntN(3) {
		case 0:
			add(protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), rng.Uint64()>>rng.IntN(64)))
		case 1:
			add(protowire.AppendFixed32(protowire.AppendTag(nil, num, protowire.Fixed32Type), rng.Uint32()))
		default:
			add(protowire.AppendFixed64(protowire.AppendTag(nil, num, protowire.Fixed64Type), rng.Uint64()))
		}
	}
	add(protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), make([]byte, rng.IntN(300))))
	rng.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return bytes.Join(fields, nil)
}
