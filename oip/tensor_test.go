package oip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	pb "github.com/understudy-serving/understudy/proto/inference"
)

type outputTensor = pb.ModelInferResponse_InferOutputTensor

// sample is a tensor's elements with both ways to write them.
type sample struct {
	typ   Datatype
	raw   []byte
	typed *pb.InferTensorContents // nil where there is none
	want  any
}

// samples has each datatype once, with the ends of its range.
func samples() []sample {
	le := binary.LittleEndian
	rawOf := func(v any) []byte {
		b, err := binary.Append(nil, le, v)
		if err != nil {
			panic(err)
		}
		return b
	}
	inf, nan := math.Inf(1), math.NaN()
	texts := [][]byte{[]byte("a"), {}, []byte("\xff\x00é")}
	var rawTexts []byte
	for _, b := range texts {
		rawTexts = append(le.AppendUint32(rawTexts, uint32(len(b))), b...)
	}
	f32 := []float32{0, -1.5, float32(inf), float32(nan), math.MaxFloat32}
	f64 := []float64{math.Copysign(0, -1), -1.5, -inf, nan, math.MaxFloat64}
	i32 := func(v ...int32) *pb.InferTensorContents { return &pb.InferTensorContents{IntContents: v} }
	u32 := func(v ...uint32) *pb.InferTensorContents { return &pb.InferTensorContents{UintContents: v} }
	i64 := []int64{math.MinInt64, -1, 0, 1<<53 + 1, math.MaxInt64}
	u64 := []uint64{0, 1<<53 + 1, math.MaxUint64}
	return []sample{
		{Bool, []byte{1, 0, 7}, &pb.InferTensorContents{BoolContents: []bool{true, false, true}}, []uint64{1, 0, 1}},
		{Int8, rawOf([]int8{-128, -1, 127}), i32(-128, -1, 127), []int64{-128, -1, 127}},
		{Int16, rawOf([]int16{-32768, 32767}), i32(-32768, 32767), []int64{-32768, 32767}},
		{Int32, rawOf([]int32{math.MinInt32, math.MaxInt32}), i32(math.MinInt32, math.MaxInt32), []int64{math.MinInt32, math.MaxInt32}},
		{Int64, rawOf(i64), &pb.InferTensorContents{Int64Contents: i64}, i64},
		{Uint8, []byte{0, 255}, u32(0, 255), []uint64{0, 255}},
		{Uint16, rawOf([]uint16{0, 65535}), u32(0, 65535), []uint64{0, 65535}},
		{Uint32, rawOf([]uint32{0, math.MaxUint32}), u32(0, math.MaxUint32), []uint64{0, math.MaxUint32}},
		{Uint64, rawOf(u64), &pb.InferTensorContents{Uint64Contents: u64}, u64},
		// One, −2, the smallest subnormal, infinity, NaN.
		{FP16, rawOf([]uint16{0x3c00, 0xc000, 0x0001, 0x7c00, 0x7e00}), nil, []float64{1, -2, 1.0 / (1 << 24), inf, nan}},
		{BF16, rawOf([]uint16{0x3f80, 0xc000, 0xff80, 0x7fc0}), nil, []float64{1, -2, -inf, nan}},
		{FP32, rawOf(f32), &pb.InferTensorContents{Fp32Contents: f32}, []float64{0, -1.5, inf, nan, math.MaxFloat32}},
		{FP64, rawOf(f64), &pb.InferTensorContents{Fp64Contents: f64}, f64},
		{Bytes, rawTexts, &pb.InferTensorContents{BytesContents: texts}, texts},
	}
}

// readAll reads a tensor in blocks of size with its family's method, and sees that the
// other methods find nothing.
func readAll(t testing.TB, x *Tensor, size int) any {
	t.Helper()
	var floats []float64
	var ints []int64
	var uints []uint64
	var texts [][]byte
	f, i, u := make([]float64, size), make([]int64, size), make([]uint64, size)
	e := x.Elements()
	for {
		from := e
		nf, ni, nu := e.Floats(f), e.Ints(i), e.Uints(u)
		b, nb := e.Next()
		if x.Len() > 0 && nf+ni+nu == 0 && !nb && len(from.data) > 0 {
			t.Fatalf("%s: nobody reads the rest", x.Datatype)
		}
		floats, ints, uints = append(floats, f[:nf]...), append(ints, i[:ni]...), append(uints, u[:nu]...)
		if nb {
			texts = append(texts, b)
		}
		if nf+ni+nu == 0 && !nb {
			break
		}
	}
	return map[Family]any{Float: floats, Signed: ints, Unsigned: uints, Text: texts, NoFamily: nil}[x.Type().Family()]
}

// same compares what readAll returned, NaN being NaN.
func same(a, b any) bool { return fmt.Sprintf("%T %v", a, a) == fmt.Sprintf("%T %v", b, b) }

// outputs reads the outputs of a response in several chunkings.
func outputs(t testing.TB, m *pb.ModelInferResponse) ([]Tensor, error) {
	t.Helper()
	return Outputs(chunked(rand.New(rand.NewPCG(1, 1)), marshal(t, m), nil))
}

func TestEveryDatatypeRawAndTyped(t *testing.T) {
	for _, s := range samples() {
		n := int64(lenOf(s.want))
		typed := []*outputTensor{{Name: "y", Datatype: s.typ.String(), Shape: []int64{1, n}, Contents: s.typed}}
		raw := []*outputTensor{{Name: "y", Datatype: s.typ.String(), Shape: []int64{n, 1, 1}}}
		for what, m := range map[string]*pb.ModelInferResponse{
			"typed": {Outputs: typed}, "raw": {Outputs: raw, RawOutputContents: [][]byte{s.raw}},
		} {
			if what == "typed" && s.typed == nil {
				continue
			}
			got, err := outputs(t, m)
			if err != nil || len(got) != 1 {
				t.Errorf("%s %s: %v", what, s.typ, err)
				continue
			}
			x := &got[0]
			if x.Name != "y" || x.Datatype != s.typ.String() || x.Type() != s.typ || x.Len() != int(n) || x.Err() != nil {
				t.Errorf("%s %s: %+v", what, s.typ, x)
			}
			for _, size := range []int{1, 2, 100} {
				if v := readAll(t, x, size); !same(v, s.want) {
					t.Errorf("%s %s in blocks of %d: %v, want %v", what, s.typ, size, v, s.want)
				}
			}
		}
	}
}

func lenOf(v any) int {
	switch v := v.(type) {
	case []float64:
		return len(v)
	case []int64:
		return len(v)
	case []uint64:
		return len(v)
	}
	return len(v.([][]byte))
}

func TestSeveralTensorsTakeRawContentsInOrder(t *testing.T) {
	in := func(name, datatype string, shape ...int64) *pb.ModelInferRequest_InferInputTensor {
		return &pb.ModelInferRequest_InferInputTensor{Name: name, Datatype: datatype, Shape: shape, Contents: &pb.InferTensorContents{}}
	}
	wire := marshal(t, &pb.ModelInferRequest{ModelName: "m",
		Inputs:           []*pb.ModelInferRequest_InferInputTensor{in("scalar", "INT8"), in("none", "FP32", 3, 0), in("two", "UINT16", 2)},
		RawInputContents: [][]byte{{5}, {}, {1, 0, 2, 0}}})
	fields := fieldsOf(t, wire)
	rawFirst := bytes.Join(slices.Concat(fields[4:], fields[:4]), nil)
	for _, w := range [][]byte{wire, rawFirst} {
		got, err := Inputs(whole(w))
		if err != nil || len(got) != 3 {
			t.Fatalf("%v (%v)", got, err)
		}
		for i, want := range []any{[]int64{5}, []float64(nil), []uint64{1, 2}} {
			if v := readAll(t, &got[i], 8); !same(v, want) {
				t.Errorf("%s is %v, want %v", got[i].Name, v, want)
			}
		}
	}
}

func TestUnknownDatatype(t *testing.T) {
	for _, datatype := range []string{"", "fp32", "FP8", "STRING"} {
		got, err := outputs(t, &pb.ModelInferResponse{Outputs: []*outputTensor{{Name: "y", Datatype: datatype, Shape: []int64{1}}}, RawOutputContents: [][]byte{{1}}})
		if !errors.Is(err, ErrDatatype) || errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), fmt.Sprintf("%q", datatype)) {
			t.Errorf("%q: %v, want ErrDatatype alone", datatype, err)
		}
		if len(got) != 1 || got[0].Type() != 0 || got[0].Len() != 0 || readAll(t, &got[0], 4) != nil {
			t.Errorf("%q: %+v", datatype, got)
		}
	}
}

func TestUnreadableTensors(t *testing.T) {
	tensor := func(s string) string { return bytesField(5, s) }
	cases := map[string]struct{ wire, says string }{
		"message cut off":         {"\x2a\x05abc", "byte 0"},
		"name is no UTF-8":        {tensor(bytesField(1, "\xff")), "not valid UTF-8"},
		"datatype is no UTF-8":    {tensor(bytesField(2, "\xff")), "not valid UTF-8"},
		"tensor cut off":          {tensor("a") + tensor("\x0a\x05x"), "byte"},
		"shape cut off":           {tensor(bytesField(3, "\x01\x80")), "shape"},
		"shape without end":       {tensor(bytesField(3, strings.Repeat("\x01", maxDims+1))), "dimensions"},
		"group in a tensor":       {tensor("\x53\x54"), "group"},
		"reserved wire type":      {"\x57", "wire type"},
		"field number 0":          {"\x02\x00", "field number"},
		"field number over 2^29":  {"\x80\x80\x80\x80\x10\x00", "field number"},
		"more raws than tensors":  {tensor("") + bytesField(6, "") + bytesField(6, ""), "2 raw contents for 1 tensors"},
		"fewer raws than tensors": {tensor("") + tensor("") + bytesField(6, ""), "1 raw contents for 2 tensors"},
		"raw without tensors":     {bytesField(6, ""), "1 raw contents for 0 tensors"},
		"too many tensors":        {strings.Repeat(tensor(""), maxTensors+1), "more than 16384 tensors"},
		"too many raws":           {strings.Repeat(bytesField(6, ""), maxTensors+1), "more than 16384 tensors"},
	}
	for what, c := range cases {
		got, err := Outputs(whole([]byte(c.wire)))
		if got != nil || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (%v), want ErrMalformed that says %q", what, got, err, c.says)
		}
	}
	contents := map[string]string{
		"contents cut off":          "\x32\x08abc",
		"packed floats cut off":     bytesField(6, "abc"),
		"packed varints cut off":    bytesField(2, "\x01\x80"),
		"a varint over 64 bits":     bytesField(2, strings.Repeat("\xff", 10)+"\x01"),
		"a group within":            "\x53\x54",
		"a varint straddles pieces": bytesField(2, "\x80") + bytesField(2, "\x01"),
	}
	for what, c := range contents {
		datatype := "INT32"
		if strings.Contains(what, "floats") {
			datatype = "FP32"
		}
		got, err := Outputs(whole([]byte(tensor(bytesField(2, datatype) + "\x18\x01" + bytesField(5, c)))))
		if len(got) != 1 || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v (%v)", what, got, err)
		}
	}
}

func TestIdentical(t *testing.T) {
	read := func(contents *pb.InferTensorContents, raw []byte) Elements {
		m := &pb.ModelInferResponse{Outputs: []*outputTensor{{Datatype: "INT32", Shape: []int64{2}, Contents: contents}}}
		if raw != nil {
			m.RawOutputContents = [][]byte{raw}
		}
		got, err := outputs(t, m)
		if err != nil {
			t.Fatal(err)
		}
		return got[0].Elements()
	}
	raw := read(nil, []byte{1, 0, 0, 0, 2, 0, 0, 0})
	again, other := raw, read(nil, []byte{1, 0, 0, 0, 3, 0, 0, 0})
	typed := read(&pb.InferTensorContents{IntContents: []int32{1, 2}}, nil)
	if !raw.Identical(&again) || raw.Identical(&other) || raw.Identical(&typed) {
		t.Error("want identity with the same bytes in the same layout alone")
	}
	again.Ints(make([]int64, 1))
	if raw.Identical(&again) {
		t.Error("a reader further on is not identical")
	}
}

func TestDatatypes(t *testing.T) {
	for _, s := range samples() {
		if d, ok := ParseDatatype(s.typ.String()); !ok || d != s.typ {
			t.Errorf("%s: parsed to %v, %v", s.typ, d, ok)
		}
		if n := lenOf(s.want); s.typ != Bytes && s.typ.Size()*n != len(s.raw) {
			t.Errorf("%s: size %d", s.typ, s.typ.Size())
		}
	}
	if d := Datatype(99); d.String() != "unknown" || d.Size() != 0 || d.Family() != NoFamily {
		t.Errorf("datatype 99: %v, %d bytes, family %d", d, d.Size(), d.Family())
	}
}

func TestEveryHalfIsWhatItsDefinitionSays(t *testing.T) {
	for bits := range uint32(1 << 16) {
		e := Elements{typ: FP16, data: []byte{byte(bits), byte(bits >> 8)}}
		var got [1]float64
		e.Floats(got[:])
		sign, exp, frac := 1-2*float64(bits>>15), int(bits>>10&31), float64(bits&1023)
		want := sign * math.Ldexp(1+frac/1024, exp-15)
		switch {
		case exp == 31 && frac != 0:
			want = math.NaN()
		case exp == 31:
			want = sign * math.Inf(1)
		case exp == 0:
			want = sign * math.Ldexp(frac, -24)
		}
		if math.Float64bits(got[0]) != math.Float64bits(want) && !(math.IsNaN(got[0]) && math.IsNaN(want)) {
			t.Fatalf("%#04x is %v, want %v", bits, got[0], want)
		}
	}
}
