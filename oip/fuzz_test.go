package oip

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/understudy-serving/understudy/proto/inference"
)

// groups tells whether a message, or a part of it that could be one, has a group: what
// protobuf takes and this package refuses.
func groups(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		if typ == protowire.StartGroupType || typ == protowire.EndGroupType {
			return true
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return false
		}
		if inner, k := protowire.ConsumeBytes(b[n:]); typ == protowire.BytesType && k > 0 && groups(inner) {
			return true
		}
		b = b[n+m:]
	}
	return false
}

// FuzzPeekRequest sees that reading never panics and that it agrees with the generated
// code on every message that this takes. The generated code refuses more, in the tensors
// and parameters that a peek skips, but nothing less, groups aside.
func FuzzPeekRequest(f *testing.F) {
	rng := rand.New(rand.NewPCG(15, 16))
	for range 4 {
		f.Add(disturb(f, rng, marshal(f, randomRequest(rng))), uint64(3))
	}
	f.Add([]byte("\x0a\x01m\x1a\x017\x0a\x01n\x1a\x018\x12\x01v\x1a\x019\x0a\x01o"), uint64(1))
	f.Add([]byte("\x0a\x09"), uint64(0))
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		var want pb.ModelInferRequest
		refused := proto.Unmarshal(wire, &want)
		p := chunked(rand.New(rand.NewPCG(seed, seed)), wire, nil)
		r, err := PeekRequest(p)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || refused == nil && !errors.Is(err, errGroup) {
				t.Fatalf("peek: %v; generated code: %v", err, refused)
			}
			return
		}
		r.Parameter("")
		name := "model"
		if r.Model == name { // an edit that changes nothing would leave it in its place
			name = "other"
		}
		edited := r.WithNames(name, "")
		defer edited.Free()
		if got, want := edited.Bytes(), append([]byte("\x0a\x05"+name), without(t, wire, 2)...); !bytes.Equal(got, want) {
			t.Fatalf("edited to %x, want %x", got, want)
		}
		if refused != nil {
			return
		}
		if r.Model != want.ModelName || r.Version != want.ModelVersion || r.ID != want.Id {
			t.Fatalf("read %q %q %q, want %v", r.Model, r.Version, r.ID, &want)
		}
		if !groups(wire) {
			sameParameters(t, r, want.Parameters)
		}
		var m pb.ModelInferRequest
		if err := proto.Unmarshal(edited.Bytes(), &m); err != nil || m.ModelName != name || m.ModelVersion != "" || m.Id != want.Id {
			t.Fatalf("edited to %v (%v), want %v", &m, err, &want)
		}
	})
}

// FuzzOutputs sees that reading tensors never panics, and that every tensor that is
// taken has the elements of the generated code.
func FuzzOutputs(f *testing.F) {
	for _, s := range samples() {
		n := int64(lenOf(s.want))
		if s.typed != nil {
			f.Add(marshal(f, &pb.ModelInferResponse{Outputs: []*outputTensor{{Name: "y", Datatype: s.typ.String(), Shape: []int64{n}, Contents: s.typed}}}))
		}
		f.Add(marshal(f, &pb.ModelInferResponse{Outputs: []*outputTensor{{Name: "y", Datatype: s.typ.String(), Shape: []int64{1, n}}}, RawOutputContents: [][]byte{s.raw}}))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		got, err := Outputs(whole(wire))
		var want pb.ModelInferResponse
		refused := proto.Unmarshal(wire, &want)
		if got == nil && err != nil {
			return
		}
		for i := range got {
			v := readAll(t, &got[i], 7)
			if got[i].Err() == nil && lenOf(v) != got[i].Len() {
				t.Fatalf("output %d: %d elements, want %d", i, lenOf(v), got[i].Len())
			}
			// Parameters are not read here, so that more may be wrong than is seen.
			if refused != nil || got[i].Err() != nil || len(want.RawOutputContents) > 0 {
				continue
			}
			if w := typedElements(want.Outputs[i]); !same(v, w) {
				t.Fatalf("output %d: %v, want %v", i, v, w)
			}
		}
	})
}

// typedElements returns typed contents as the generated code reads them, widened.
func typedElements(o *outputTensor) any {
	c := o.GetContents()
	var floats []float64
	var ints []int64
	var uints []uint64
	switch o.Datatype {
	case "BOOL":
		for _, v := range c.GetBoolContents() {
			uints = append(uints, map[bool]uint64{true: 1}[v])
		}
		return uints
	case "INT8", "INT16", "INT32":
		for _, v := range c.GetIntContents() {
			ints = append(ints, int64(v))
		}
		return ints
	case "INT64":
		return append(ints, c.GetInt64Contents()...)
	case "UINT8", "UINT16", "UINT32":
		for _, v := range c.GetUintContents() {
			uints = append(uints, uint64(v))
		}
		return uints
	case "UINT64":
		return append(uints, c.GetUint64Contents()...)
	case "FP32":
		for _, v := range c.GetFp32Contents() {
			floats = append(floats, float64(v))
		}
		return floats
	case "FP64":
		return append(floats, c.GetFp64Contents()...)
	case "BYTES":
		return c.GetBytesContents()
	}
	return floats
}
