package oip

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/understudy-serving/understudy/proto/inference"
)

// textOf is a parameter's text by the generated code.
func textOf(p *pb.InferParameter) (string, bool) {
	switch v := p.GetParameterChoice().(type) {
	case *pb.InferParameter_BoolParam:
		return fmt.Sprint(v.BoolParam), true
	case *pb.InferParameter_Int64Param:
		return fmt.Sprint(v.Int64Param), true
	case *pb.InferParameter_StringParam:
		return v.StringParam, true
	case *pb.InferParameter_DoubleParam:
		return fmt.Sprint(v.DoubleParam), true
	case *pb.InferParameter_Uint64Param:
		return fmt.Sprint(v.Uint64Param), true
	}
	return "", false
}

func sameParameters(t testing.TB, r Request, want map[string]*pb.InferParameter) {
	t.Helper()
	for name, p := range want {
		wantText, wantOK := textOf(p)
		if got, ok := r.Parameter(name); got != wantText || ok != wantOK {
			t.Fatalf("parameter %q is %q, %v; want %q, %v", name, got, ok, wantText, wantOK)
		}
	}
	if got, ok := r.Parameter("no such parameter"); ok {
		t.Fatalf("a parameter that there is not: %q", got)
	}
}

func TestParametersAreReadAsProtobufWould(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 2000 {
		var wire []byte
		for range 1 + rng.IntN(3) { // merged messages: entries repeat, in several places
			wire = append(wire, disturb(t, rng, marshal(t, randomRequest(rng)))...)
		}
		var want pb.ModelInferRequest
		if err := proto.Unmarshal(wire, &want); err != nil {
			t.Fatal(err)
		}
		r, err := PeekRequest(chunked(rng, wire, nil))
		if err != nil {
			t.Fatal(err)
		}
		sameParameters(t, r, want.Parameters)
	}
}

// field builds a field of wire type bytes.
func bytesField(num protowire.Number, b string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), b))
}

func TestOddParameterEntries(t *testing.T) {
	text := func(s string) string { return bytesField(entryValue, bytesField(stringParam, s)) }
	key := bytesField(entryKey, "k")
	entry := func(s string) string { return bytesField(4, s) }
	truth := bytesField(entryValue, "\x08\x01")
	cases := map[string]struct {
		wire, want string
		ok         bool
	}{
		"value before key":            {entry(text("v") + key), "v", true},
		"no key is the empty one":     {entry(text("v")), "", false},
		"no value":                    {entry(key), "", false},
		"empty value":                 {entry(key + bytesField(entryValue, "")), "", false},
		"value twice: the last":       {entry(key + text("a") + text("b")), "b", true},
		"values of two kinds":         {entry(key + text("a") + truth), "true", true},
		"an empty value merges":       {entry(key + text("a") + bytesField(entryValue, "")), "a", true},
		"key twice: the last":         {entry(bytesField(entryKey, "x") + key + text("v")), "v", true},
		"key twice: not the last":     {entry(key + bytesField(entryKey, "x") + text("v")), "", false},
		"entry twice: the last":       {entry(key+text("a")) + entry(key+text("b")), "b", true},
		"the last has no value":       {entry(key+text("a")) + entry(key), "", false},
		"another one behind":          {entry(key+text("a")) + entry(bytesField(entryKey, "x")+text("b")), "a", true},
		"unknown fields within":       {entry(key + "\x50\x07" + text("v") + bytesField(9, "zzz")), "v", true},
		"foreign wire type of value":  {entry(key + "\x10\x07" + text("v")), "v", true},
		"foreign wire type of choice": {entry(key + bytesField(entryValue, "\x18\x05"+bytesField(stringParam, "v"))), "v", true},
		"negative integer":            {entry(key + bytesField(entryValue, "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), "-1", true},
		"largest unsigned":            {entry(key + bytesField(entryValue, "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), "18446744073709551615", true},
		"bool of two bytes":           {entry(key + bytesField(entryValue, "\x08\x80\x01")), "true", true},
		"false":                       {entry(key + bytesField(entryValue, "\x08\x00")), "false", true},
		"text is no UTF-8":            {entry(key + text("\xff")), "", false},
		"choice cut off":              {entry(key + bytesField(entryValue, "\x1a\x05v")), "", false},
		"entry cut off":               {entry(key + "\x12\x05"), "", false},
		"double cut off":              {entry(key + bytesField(entryValue, "\x21\x01")), "", false},
		"group within":                {entry(key + text("v") + "\x53\x54"), "", false},
		"malformed one behind":        {entry(key+text("v")) + entry("\x0a\x09"), "", false},
	}
	for what, c := range cases {
		for size := 1; size <= len(c.wire); size++ {
			r, err := PeekRequest(inChunksOf(size, "\x0a\x01m"+c.wire+"\x1a\x017"))
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if got, ok := r.Parameter("k"); got != c.want || ok != c.ok {
				t.Errorf("%s in chunks of %d: %q, %v; want %q, %v", what, size, got, ok, c.want, c.ok)
			}
		}
	}
	r := mustPeek(t, whole([]byte(entry(text("v")))))
	if got, ok := r.Parameter(""); !ok || got != "v" {
		t.Errorf("entry without key: %q, %v, want it under the empty name", got, ok)
	}
}

func TestNumbersAsText(t *testing.T) {
	for want, v := range map[string]float64{"0.1": 0.1, "1e+21": 1e21, "-0": math.Copysign(0, -1), "NaN": math.NaN(), "+Inf": math.Inf(1), "3": 3} {
		m := &pb.ModelInferRequest{Parameters: map[string]*pb.InferParameter{"k": {ParameterChoice: &pb.InferParameter_DoubleParam{DoubleParam: v}}}}
		if got, ok := mustPeek(t, whole(marshal(t, m))).Parameter("k"); !ok || got != want {
			t.Errorf("%v as text: %q, %v", v, got, ok)
		}
	}
}
