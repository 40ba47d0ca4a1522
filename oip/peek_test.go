package oip

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// Whatever protobuf allows a sender to write, and however the transport cuts it, Peek
// reads what the generated code reads, and an edit is what setting the fields of the
// generated message would be, byte for byte the same elsewhere.
func TestRequestsAreReadAndEditedAsProtobufWould(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		wire := disturb(t, rng, marshal(t, randomRequest(rng)))
		var want pb.ModelInferRequest
		if err := proto.Unmarshal(wire, &want); err != nil {
			t.Fatal(err)
		}
		got, err := PeekRequest(chunked(rng, wire, nil))
		if err != nil {
			t.Fatalf("%x: %v", wire, err)
		}
		if got.Model != want.ModelName || got.Version != want.ModelVersion || got.ID != want.Id {
			t.Fatalf("%x: read %q %q %q, want %q %q %q", wire, got.Model, got.Version, got.ID, want.ModelName, want.ModelVersion, want.Id)
		}
		want.ModelName, want.ModelVersion = randomText(rng), randomText(rng)
		edited := got.WithNames(want.ModelName, want.ModelVersion)
		var m pb.ModelInferRequest
		if err := proto.Unmarshal(edited.Bytes(), &m); err != nil {
			t.Fatalf("%x: edited: %v", wire, err)
		}
		if !proto.Equal(&m, &want) {
			t.Fatalf("%x: edited to %v, want %v", wire, &m, &want)
		}
		if got, want := without(t, edited.Bytes(), 2), without(t, wire, 2); !bytes.Equal(got, want) {
			t.Fatalf("%x: other fields became %x, want %x", wire, got, want)
		}
	}
}

func TestResponsesAreReadAndEditedAsProtobufWould(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1500 {
		wire := disturb(t, rng, marshal(t, randomResponse(rng)))
		var want pb.ModelInferResponse
		if err := proto.Unmarshal(wire, &want); err != nil {
			t.Fatal(err)
		}
		got, err := PeekResponse(chunked(rng, wire, nil))
		if err != nil {
			t.Fatalf("%x: %v", wire, err)
		}
		if got.Model != want.ModelName || got.Version != want.ModelVersion || got.ID != want.Id {
			t.Fatalf("%x: read %q %q %q, want %v", wire, got.Model, got.Version, got.ID, &want)
		}
		want.ModelName, want.ModelVersion, want.Id = randomText(rng), randomText(rng), randomText(rng)
		edited := got.WithNames(want.ModelName, want.ModelVersion, want.Id)
		var m pb.ModelInferResponse
		if err := proto.Unmarshal(edited.Bytes(), &m); err != nil || !proto.Equal(&m, &want) {
			t.Fatalf("%x: edited to %v (%v), want %v", wire, &m, err, &want)
		}
		if got, want := without(t, edited.Bytes(), 3), without(t, wire, 3); !bytes.Equal(got, want) {
			t.Fatalf("%x: other fields became %x, want %x", wire, got, want)
		}
	}
}

func TestModelRequestsAreReadAndEdited(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		want := &pb.ModelMetadataRequest{Name: randomText(rng), Version: randomText(rng)}
		got, err := PeekModel(chunked(rng, marshal(t, want), nil))
		if err != nil || got.Name != want.Name || got.Version != want.Version {
			t.Fatalf("read %+v (%v), want %v", got, err, want)
		}
		want.Name, want.Version = randomText(rng), randomText(rng)
		var m pb.ModelReadyRequest
		if err := proto.Unmarshal(got.WithNames(want.Name, want.Version).Bytes(), &m); err != nil || m.Name != want.Name || m.Version != want.Version {
			t.Fatalf("edited to %v (%v), want %v", &m, err, want)
		}
	}
}

func TestRenameMetadataChangesTheNameAlone(t *testing.T) {
	want := &pb.ModelMetadataResponse{Name: "fraud-v1", Versions: []string{"1", "2"}, Platform: "xgboost",
		Inputs:     []*pb.ModelMetadataResponse_TensorMetadata{{Name: "x", Datatype: "FP32", Shape: []int64{-1, 30}}},
		Properties: map[string]string{"a": "b"}}
	got, err := RenameMetadata(whole(marshal(t, want)), "fraud")
	if err != nil {
		t.Fatal(err)
	}
	want.Name = "fraud"
	var m pb.ModelMetadataResponse
	if err := proto.Unmarshal(got.Bytes(), &m); err != nil || !proto.Equal(&m, want) {
		t.Errorf("renamed to %v (%v), want %v", &m, err, want)
	}
	if _, err := RenameMetadata(whole([]byte{0x0a, 9}), "x"); !errors.Is(err, ErrMalformed) {
		t.Errorf("truncated metadata: %v, want ErrMalformed", err)
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	name := "\x0a\x05fraud"
	cases := map[string]struct{ wire, says string }{
		"tag cut off":             {name + "\x80", "at byte 7"},
		"tag without value":       {name + "\x12", "model_version at byte 7"},
		"length beyond the end":   {"\x0a\x06fraud", "length of 6 where 5 bytes are left"},
		"length of 2^63":          {"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "where 0 bytes are left"},
		"tensor beyond the end":   {name + "\x2a\x05abc", "field 5 at byte 7"},
		"varint of 11 bytes":      {"\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "more than 64 bits"},
		"varint over 64 bits":     {"\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "more than 64 bits"},
		"varint cut off":          {"\x50\xff", "middle of a field"},
		"four bytes cut off":      {"\x55\x01\x02\x03", "middle of a field"},
		"eight bytes cut off":     {"\x51\x01\x02\x03\x04\x05\x06\x07", "middle of a field"},
		"field number 0":          {"\x02\x00", "field number"},
		"field number over 2^29":  {"\x82\x80\x80\x80\x10\x00", "field number"},
		"group":                   {"\x53\x54", "group"},
		"end of a group":          {"\x54", "group"},
		"wire type 6":             {"\x56", "wire type"},
		"wire type 7":             {"\x57", "wire type"},
		"name no UTF-8":           {"\x0a\x02\xc3\x28", "model_name at byte 0: not valid UTF-8"},
		"name no UTF-8, replaced": {"\x0a\x01\xff\x0a\x01a", "not valid UTF-8"},
		"version no UTF-8":        {"\x12\x01\x80", "model_version at byte 0: not valid UTF-8"},
		"id no UTF-8":             {"\x1a\x01\x80", "id at byte 0: not valid UTF-8"},
	}
	for what, c := range cases {
		for size := 1; size <= len(c.wire); size++ {
			p := inChunksOf(size, c.wire)
			if _, err := PeekRequest(p); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s in chunks of %d: %v, want ErrMalformed that says %q", what, size, err, c.says)
			}
			if err := CheckResponse(p); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s as response that is checked: %v, want ErrMalformed", what, err)
			}
			if _, err := PeekResponse(p); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s as response: %v, want ErrMalformed", what, err)
			}
		}
	}
	if _, err := PeekModel(whole([]byte("\x0a\x05ab"))); !errors.Is(err, ErrMalformed) {
		t.Errorf("PeekModel of a truncated name: %v", err)
	}
}

func inChunksOf(size int, wire string) *rollout.Payload {
	var chunks [][]byte
	for b := []byte(wire); len(b) > 0; {
		n := min(size, len(b))
		chunks = append(chunks, b[:n:n])
		b = b[n:]
	}
	return rollout.NewPayload(chunks, nil)
}

func TestEmptyMessages(t *testing.T) {
	for what, p := range map[string]*rollout.Payload{
		"no payload": nil, "no chunk": rollout.NewPayload(nil, nil), "an empty chunk": whole(nil),
	} {
		r, err := PeekRequest(p)
		if err != nil || r.Model != "" || r.Version != "" || r.ID != "" {
			t.Errorf("%s: %+v (%v)", what, r, err)
		}
		if v, ok := r.Parameter("x"); ok {
			t.Errorf("%s: has parameter x: %q", what, v)
		}
		if got := r.WithNames("m", "").Bytes(); string(got) != "\x0a\x01m" {
			t.Errorf("%s: edited to %x", what, got)
		}
		if got := r.WithNames("", "").Len(); got != 0 {
			t.Errorf("%s: edited to %d bytes", what, got)
		}
	}
}

func TestPeekAllocates(t *testing.T) {
	small, large := whole(benchRequest(t, 200)), benchRequest(t, 600<<10)
	if n := testing.AllocsPerRun(100, func() { mustPeek(t, small) }); n > 1 {
		t.Errorf("200 B in one chunk: %v allocations, want the one of the names", n)
	}
	p := inChunksOf(16<<10, string(large))
	if n := testing.AllocsPerRun(100, func() { mustPeek(t, p) }); n > 1 {
		t.Errorf("600 KB in 16 KB chunks: %v allocations, want the one of the names", n)
	}
	r := mustPeek(t, p)
	if n := testing.AllocsPerRun(100, func() { r.WithNames("fraud-v2", "2").Free() }); n > 4 {
		t.Errorf("edit of 600 KB: %v allocations, want at most 4", n)
	}
}

func mustPeek(t testing.TB, p *rollout.Payload) Request {
	r, err := PeekRequest(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A name field that is one byte into the next chunk is still that name; a tag may be cut
// as well.
func TestEveryCutOfASmallRequest(t *testing.T) {
	wire := marshal(t, &pb.ModelInferRequest{ModelName: "fräud", ModelVersion: "12", Id: "id-7",
		Parameters: map[string]*pb.InferParameter{"user_id": {ParameterChoice: &pb.InferParameter_StringParam{StringParam: "ü-42"}}}})
	wire = protowire.AppendVarint(protowire.AppendTag(wire, 5000, protowire.VarintType), 1<<40)
	for i := range wire {
		for j := i; j <= len(wire); j++ {
			r, err := PeekRequest(rollout.NewPayload([][]byte{wire[:i:i], wire[i:j:j], wire[j:]}, nil))
			if err != nil || r.Model != "fräud" || r.Version != "12" || r.ID != "id-7" {
				t.Fatalf("cut at %d and %d: %+v (%v)", i, j, r, err)
			}
			if v, ok := r.Parameter("user_id"); !ok || v != "ü-42" {
				t.Fatalf("cut at %d and %d: user_id is %q, %v", i, j, v, ok)
			}
			want := "\x0a\x01m" + string(without(t, wire, 2))
			if got := r.WithNames("m", "").Bytes(); string(got) != want {
				t.Fatalf("cut at %d and %d: edited to %q, want %q", i, j, got, want)
			}
		}
	}
}
