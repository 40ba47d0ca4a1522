package oip

import (
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/understudy-serving/understudy/proto/inference"
)

// protobuf merges an embedded message that is written in pieces, and takes repeated
// numbers packed, unpacked and mixed.
func TestContentsInPieces(t *testing.T) {
	head := bytesField(1, "y")
	packed := func(num protowire.Number, v ...uint64) string {
		var b []byte
		for _, x := range v {
			b = protowire.AppendVarint(b, x)
		}
		return bytesField(num, string(b))
	}
	single := func(num protowire.Number, v uint64) string {
		return string(protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v))
	}
	fixed := func(num protowire.Number, v float32) string {
		return string(protowire.AppendFixed32(protowire.AppendTag(nil, num, protowire.Fixed32Type), math.Float32bits(v)))
	}
	minus := uint64(math.MaxUint64)
	cases := map[string]struct {
		wire string
		want any
	}{
		"INT32": {packed(3, 2, 2) + bytesField(5, packed(2, 1, minus)) + bytesField(5, single(2, 3)+packed(2)+packed(2, 4)), []int64{1, -1, 3, 4}},
		// Two's complement cut to 32 bits, as protobuf reads an int32.
		"INT8":  {single(3, 1) + bytesField(5, single(2, 1<<32|5)), []int64{5}},
		"UINT8": {single(3, 2) + single(3, 1) + bytesField(5, packed(4, 1<<40|200, 0)), []uint64{200, 0}},
		"BOOL":  {single(3, 3) + bytesField(5, packed(1, 256, 0)+single(1, 1)), []uint64{1, 0, 1}},
		"FP32":  {single(3, 3) + bytesField(5, fixed(6, 1)) + bytesField(5, bytesField(6, "\x00\x00\x00\x40")+fixed(6, 3)), []float64{1, 2, 3}},
		"BYTES": {single(3, 3) + bytesField(5, bytesField(8, "ab")) + bytesField(5, bytesField(8, "")+"\x50\x01"+bytesField(8, "c")), [][]byte{[]byte("ab"), {}, []byte("c")}},
		// A number's field with a foreign wire type is an unknown field.
		"INT64": {single(3, 1) + bytesField(5, fixed(3, 9)+single(3, 7)), []int64{7}},
	}
	for datatype, c := range cases {
		wire := []byte(bytesField(5, head+bytesField(2, datatype)+c.wire))
		before := string(wire)
		got, err := Outputs(whole(wire))
		if err != nil {
			t.Errorf("%s: %v", datatype, err)
			continue
		}
		if v := readAll(t, &got[0], 3); !same(v, c.want) {
			t.Errorf("%s: %v, want %v", datatype, v, c.want)
		}
		if string(wire) != before {
			t.Errorf("%s: the payload's bytes were changed", datatype)
		}
		var m pb.ModelInferResponse
		if err := proto.Unmarshal(wire, &m); err != nil {
			t.Errorf("%s: the case itself is malformed: %v", datatype, err)
		}
	}
}

func TestContentsThatDoNotFit(t *testing.T) {
	ints := func(v ...int32) *pb.InferTensorContents { return &pb.InferTensorContents{IntContents: v} }
	cases := map[string]struct {
		datatype string
		shape    []int64
		contents *pb.InferTensorContents
		raw      string
		says     string
	}{
		"too few raw bytes":       {"FP32", []int64{2}, nil, "1234567", "7 bytes for 2 elements of FP32"},
		"too many raw bytes":      {"INT8", []int64{2}, nil, "123", "3 bytes for 2 elements"},
		"half an element":         {"FP64", []int64{}, nil, "1234", "4 bytes for 1 elements"},
		"negative dimension":      {"INT8", []int64{3, -1}, nil, "123", "dimension 1 is negative"},
		"negative beside zero":    {"INT8", []int64{0, -1}, nil, "1", "dimension 1 is negative"},
		"too many elements":       {"INT8", []int64{1 << 32, 1 << 32}, nil, "1", "more elements than can be counted"},
		"elements of 2^63":        {"INT8", []int64{1 << 62, 2}, nil, "1", "more elements than can be counted"},
		"bytes that overflow":     {"FP64", []int64{1 << 61}, nil, "1", "1 bytes for"},
		"overflow to zero":        {"INT8", []int64{1 << 32, 1 << 32, 4}, nil, "1", "more elements"},
		"BYTES length cut off":    {"BYTES", []int64{1}, nil, "\x01\x00", "element 0 reaches beyond"},
		"BYTES beyond the end":    {"BYTES", []int64{2}, nil, "\x01\x00\x00\x00a\x02\x00\x00\x00b", "element 1 reaches beyond"},
		"BYTES of 4 GiB":          {"BYTES", []int64{1}, nil, "\xff\xff\xff\xffa", "element 0 reaches beyond"},
		"too many BYTES":          {"BYTES", []int64{1}, nil, "\x00\x00\x00\x00\x00\x00\x00\x00", "2 elements of BYTES for shape [1], which has 1"},
		"too few BYTES":           {"BYTES", []int64{2}, nil, "\x00\x00\x00\x00", "1 elements of BYTES"},
		"typed beside raw":        {"INT32", []int64{1}, ints(1), "1234", "int_contents beside raw contents"},
		"too few values":          {"INT32", []int64{2}, ints(1), "", "1 elements of INT32 for shape [2], which has 2"},
		"too many values":         {"INT32", []int64{}, ints(1, 2), "", "2 elements"},
		"no values":               {"INT32", []int64{1}, nil, "", "0 elements"},
		"no floats":               {"FP32", []int64{1}, nil, "", "0 bytes for 1 elements"},
		"values of another field": {"INT64", []int64{1}, ints(1), "", "int_contents in a tensor of datatype INT64"},
		"values of two fields":    {"INT8", []int64{1}, &pb.InferTensorContents{IntContents: []int32{1}, BoolContents: []bool{true}}, "", "bool_contents in"},
		"over INT8":               {"INT8", []int64{2}, ints(1, 128), "", "element 1 is out of the range of INT8"},
		"under INT16":             {"INT16", []int64{1}, ints(-32769), "", "out of the range of INT16"},
		"over UINT8":              {"UINT8", []int64{1}, &pb.InferTensorContents{UintContents: []uint32{256}}, "", "out of the range of UINT8"},
		"over UINT16":             {"UINT16", []int64{1}, &pb.InferTensorContents{UintContents: []uint32{1 << 16}}, "", "out of the range of UINT16"},
		"typed FP16":              {"FP16", []int64{1}, &pb.InferTensorContents{Fp32Contents: []float32{1}}, "", "fp32_contents in a tensor of datatype FP16"},
		"BF16 without contents":   {"BF16", []int64{1}, nil, "", "none but raw ones"},
	}
	for what, c := range cases {
		m := &pb.ModelInferResponse{Outputs: []*outputTensor{
			{Name: "good", Datatype: "INT8", Shape: []int64{0}},
			{Name: "bad", Datatype: c.datatype, Shape: c.shape, Contents: c.contents}}}
		if c.raw != "" {
			m.RawOutputContents = [][]byte{{}, []byte(c.raw)}
		}
		got, err := outputs(t, m)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), `output "bad"`) {
			t.Errorf("%s: %v, want ErrMalformed that says %q", what, err, c.says)
		}
		if len(got) != 2 || got[0].Err() != nil || got[1].Err() != err || got[1].Len() != 0 {
			t.Errorf("%s: %+v", what, got)
			continue
		}
		if v := readAll(t, &got[1], 4); lenOf(v) != 0 {
			t.Errorf("%s: elements %v", what, v)
		}
	}
}
