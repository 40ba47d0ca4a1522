package sink

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
)

// everyField is a request that uses every field of the protocol that a request can.
func everyField() *inference.ModelInferRequest {
	p := func(c *inference.InferParameter) map[string]*inference.InferParameter {
		return map[string]*inference.InferParameter{"k": c}
	}
	return &inference.ModelInferRequest{
		ModelName: "m", ModelVersion: "é", Id: "i",
		Parameters: p(&inference.InferParameter{ParameterChoice: &inference.InferParameter_DoubleParam{DoubleParam: 0.5}}),
		Inputs: []*inference.ModelInferRequest_InferInputTensor{{
			Name: "in", Datatype: "BYTES", Shape: []int64{-1, 1 << 40},
			Parameters: p(&inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: "s"}}),
			Contents: &inference.InferTensorContents{
				BoolContents: []bool{true}, IntContents: []int32{-1}, Int64Contents: []int64{-1}, UintContents: []uint32{300},
				Uint64Contents: []uint64{1 << 63}, Fp32Contents: []float32{1, 2}, Fp64Contents: []float64{3}, BytesContents: [][]byte{{0xff, 0xfe}},
			}}},
		Outputs: []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "out",
			Parameters: p(&inference.InferParameter{ParameterChoice: &inference.InferParameter_Uint64Param{Uint64Param: 7}})}},
		RawInputContents: [][]byte{{0xff}},
	}
}

func field(n protowire.Number, v ...byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), v)
}

func TestDecodable(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		want bool
	}{
		{"empty", nil, true},
		{"every field", marshal(t, everyField()), true},
		{"unknown field", field(99, 0xff), true},
		{"known field of another wire type is unknown", protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), 3), true},
		{"unpacked shape", field(5, protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 3)...), true},
		{"raw contents are not looked into", field(7, 0xff, 0xff), true},
		{"model name is no UTF-8", field(1, 0xff), false},
		{"tensor name is no UTF-8", field(5, field(1, 'a', 0xc3)...), false},
		{"parameter key is no UTF-8", field(4, field(1, 0xff)...), false},
		{"string parameter is no UTF-8", field(4, field(2, field(3, 0xff)...)...), false},
		{"parameter of an output is no UTF-8", field(6, field(2, field(2, field(3, 0xff)...)...)...), false},
		{"tensor is cut off", field(5, 0x0a, 0x05, 'x'), false},
		{"contents cut off", field(5, field(5, 0x32, 0x04)...), false},
		{"packed floats are no multiple of four", field(5, field(5, field(6, 1, 2, 3)...)...), false},
		{"packed doubles are no multiple of eight", field(5, field(5, field(7, 1, 2, 3, 4)...)...), false},
		{"packed varint has no end", field(5, field(3, 0x01, 0x80)...), false},
		{"varint over 64 bits", append(protowire.AppendTag(nil, 20, protowire.VarintType), bytes.Repeat([]byte{0xff}, 11)...), false},
		{"field number 0", []byte{0x02, 0x00}, false},
		{"field number over the largest", append(protowire.AppendVarint(nil, 1<<32|2), 0), false},
		{"group", []byte{0xa3, 0x06, 0xa4, 0x06}, false},
		{"end of no group", []byte{0xa4, 0x06}, false},
		{"wire type 7", []byte{0x0f}, false},
		{"length beyond the end", []byte{0x0a, 0x7f}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := decodable(tt.b, inferRequest); got != tt.want {
				t.Errorf("decodable = %v, want %v", got, tt.want)
			}
			if err := proto.Unmarshal(tt.b, &inference.ModelInferRequest{}); tt.want && err != nil {
				t.Errorf("the stub refuses it: %v", err)
			}
		})
	}
}

// What is decodable decodes, and what the stub writes is decodable.
func FuzzDecodable(f *testing.F) {
	f.Add(marshal(f, everyField()))
	f.Add(marshal(f, response("m", 1)))
	f.Add([]byte{0x0a, 0x01, 0xff})
	f.Add(field(5, field(5, field(1, 0x80)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, as := range []struct {
			shape   shape
			message proto.Message
		}{{inferRequest, &inference.ModelInferRequest{}}, {inferResponse, &inference.ModelInferResponse{}}} {
			err := proto.Unmarshal(b, as.message)
			if decodable(b, as.shape) && err != nil {
				t.Errorf("called decodable, but %T: %v", as.message, err)
			}
			if err != nil {
				continue
			}
			proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, as.message)
			if !decodable(marshal(t, as.message), as.shape) {
				t.Errorf("%T as the stub writes it is called undecodable", as.message)
			}
		}
	})
}
