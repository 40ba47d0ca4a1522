package shadow

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// compareOut is an output for tests: values are []bool, []int64, []uint64, []float64 or
// []string, after its datatype.
type compareOut struct {
	name, datatype string
	shape          []int64
	values         any
	typed          bool
}

// compareResponse is a response with raw contents, or with typed ones where every output
// asks for them.
func compareResponse(t testing.TB, outs ...compareOut) *rollout.Payload {
	t.Helper()
	m := &inference.ModelInferResponse{ModelName: "m"}
	for _, o := range outs {
		out := &inference.ModelInferResponse_InferOutputTensor{Name: o.name, Datatype: o.datatype, Shape: o.shape}
		if o.typed {
			out.Contents = compareContents(o)
		} else {
			m.RawOutputContents = append(m.RawOutputContents, compareRaw(o))
		}
		m.Outputs = append(m.Outputs, out)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return rollout.NewPayload([][]byte{b}, nil)
}

// compareHalves are the float16s that tests need.
var compareHalves = map[string]uint16{"0": 0, "-0": 0x8000, "0.25": 0x3400, "0.5": 0x3800, "1": 0x3c00, "2": 0x4000,
	"-2": 0xc000, "+Inf": 0x7c00, "-Inf": 0xfc00, "NaN": 0x7e00}

func compareRaw(o compareOut) (b []byte) {
	le := binary.LittleEndian
	number := func(bits uint64) {
		switch o.datatype {
		case "BOOL", "INT8", "UINT8":
			b = append(b, byte(bits))
		case "INT16", "UINT16":
			b = le.AppendUint16(b, uint16(bits))
		case "INT32", "UINT32":
			b = le.AppendUint32(b, uint32(bits))
		default:
			b = le.AppendUint64(b, bits)
		}
	}
	switch values := o.values.(type) {
	case []bool:
		for _, v := range values {
			number(map[bool]uint64{true: 1}[v])
		}
	case []int64:
		for _, v := range values {
			number(uint64(v))
		}
	case []uint64:
		for _, v := range values {
			number(v)
		}
	case []float64:
		for _, v := range values {
			switch o.datatype {
			case "FP16":
				half, ok := compareHalves[fmt.Sprint(v)]
				if !ok {
					panic(v)
				}
				b = le.AppendUint16(b, half)
			case "BF16":
				b = le.AppendUint16(b, uint16(math.Float32bits(float32(v))>>16))
			case "FP32":
				b = le.AppendUint32(b, math.Float32bits(float32(v)))
			default:
				b = le.AppendUint64(b, math.Float64bits(v))
			}
		}
	case []string:
		for _, v := range values {
			b = append(le.AppendUint32(b, uint32(len(v))), v...)
		}
	}
	return b
}

func compareContents(o compareOut) *inference.InferTensorContents {
	c := &inference.InferTensorContents{}
	switch values := o.values.(type) {
	case []bool:
		c.BoolContents = values
	case []int64:
		if o.datatype == "INT64" {
			c.Int64Contents = values
			break
		}
		for _, v := range values {
			c.IntContents = append(c.IntContents, int32(v))
		}
	case []uint64:
		if o.datatype == "UINT64" {
			c.Uint64Contents = values
			break
		}
		for _, v := range values {
			c.UintContents = append(c.UintContents, uint32(v))
		}
	case []float64:
		if o.datatype == "FP64" {
			c.Fp64Contents = values
			break
		}
		for _, v := range values {
			c.Fp32Contents = append(c.Fp32Contents, float32(v))
		}
	case []string:
		for _, v := range values {
			c.BytesContents = append(c.BytesContents, []byte(v))
		}
	}
	return c
}

func newComparer(t testing.TB, rules ...rollout.CompareRule) *Comparer {
	t.Helper()
	c, err := NewComparer(rules)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// compareOne compares two outputs named y and returns what became of them.
func compareOne(t testing.TB, rule rollout.CompareRule, a, b compareOut) rollout.OutputComparison {
	t.Helper()
	rule.Output = "y"
	a.name, b.name = "y", "y"
	got := newComparer(t, rule).Compare(compareResponse(t, a), compareResponse(t, b))
	if got.Error != "" || len(got.Outputs) != 1 || got.Agree != got.Outputs[0].Agree {
		t.Fatalf("comparison of %v and %v: %+v", a, b, got)
	}
	o := got.Outputs[0]
	if o.Output != "y" || o.Kind != rule.Kind || o.Agree != (o.Finding == "") {
		t.Fatalf("comparison of %v and %v: %+v", a, b, o)
	}
	return o
}
