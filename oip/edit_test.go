package oip

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

func TestEditedMessageHoldsTheOriginal(t *testing.T) {
	wire := marshal(t, &pb.ModelInferRequest{ModelName: "fraud", Id: "7"})
	p, released := counted(wire[:3], wire[3:])
	r := mustPeek(t, p)
	first, second := r.WithNames("a", "1"), r.WithNames("b", "")
	p.Free()
	first.Free()
	if *released != 0 {
		t.Fatal("the original was released while an edited message still needed it")
	}
	if got := string(second.Bytes()); got != "\x0a\x01b\x1a\x017" {
		t.Errorf("edited to %q", got)
	}
	second.Ref().Free()
	second.Free()
	if *released != 1 {
		t.Errorf("the original was released %d times, want once", *released)
	}
}

func TestEditWithoutChangeIsTheOriginal(t *testing.T) {
	cases := map[string]struct {
		wire string
		same bool
	}{
		"names in their shortest form": {"\x0a\x01m\x12\x011\x1a\x00", true},
		"in another place":             {"\x1a\x00\x12\x011\x0a\x01m", true},
		"name twice":                   {"\x0a\x01n\x0a\x01m\x12\x011", false},
		"length in two bytes":          {"\x0a\x81\x00m\x12\x011", false},
		"another version":              {"\x0a\x01m\x12\x012", false},
	}
	for what, c := range cases {
		p, released := counted([]byte(c.wire))
		e := mustPeek(t, p).WithNames("m", "1")
		if (e == p) != c.same {
			t.Errorf("%s: the original itself: %v, want %v", what, e == p, c.same)
		}
		e.Free()
		p.Free()
		if *released != 1 {
			t.Errorf("%s: released %d times", what, *released)
		}
	}
	if e := mustPeek(t, whole([]byte("\x12\x00\x1a\x00"))).WithNames("", ""); string(e.Bytes()) != "\x1a\x00" {
		t.Errorf("an empty version stays: %q", e.Bytes())
	}
}

// The tensors of an edited message are the very bytes of the original.
func TestEditSharesChunks(t *testing.T) {
	p := inChunksOf(16<<10, string(benchRequest(t, 600<<10)))
	e := mustPeek(t, p).WithNames(strings.Repeat("long", 50), "2")
	from, edited := p.Chunks(), e.Chunks()
	if len(edited) != len(from)+1 {
		t.Fatalf("%d chunks became %d, want one more", len(from), len(edited))
	}
	for i, c := range from[1:] {
		if unsafe.SliceData(edited[i+2]) != unsafe.SliceData(c) {
			t.Errorf("chunk %d was copied", i+1)
		}
	}
}

// A sender who scatters names over the message gets the same edit, without the gateway
// keeping book of every place.
func TestScatteredNames(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for n := range 12 {
		var wire []byte
		for range n {
			wire = protowire.AppendString(protowire.AppendTag(wire, 1, protowire.BytesType), randomText(rng))
			wire = protowire.AppendString(protowire.AppendTag(wire, 3, protowire.BytesType), randomText(rng))
			wire = protowire.AppendString(protowire.AppendTag(wire, 50, protowire.BytesType), randomText(rng))
		}
		p, released := counted(chunked(rng, wire, nil).Chunks()...)
		e := mustPeek(t, p).WithNames("m", "2")
		if got, want := string(e.Bytes()), "\x0a\x01m\x12\x012"+string(without(t, wire, 2)); got != want {
			t.Errorf("%d scattered names: %q, want %q", n, got, want)
		}
		e.Free()
		p.Free()
		if *released != 1 {
			t.Errorf("%d scattered names: released %d times", n, *released)
		}
	}
}

func TestEditOfAnEditedMessage(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	want := randomRequest(rng)
	p, released := counted(marshal(t, want))
	for _, name := range []string{"a", "", "fraud"} {
		next := mustPeek(t, p).WithNames(name, name)
		p.Free()
		p = next
	}
	want.ModelName, want.ModelVersion = "fraud", "fraud"
	var got pb.ModelInferRequest
	if err := proto.Unmarshal(p.Bytes(), &got); err != nil || !proto.Equal(&got, want) {
		t.Errorf("edited to %v (%v), want %v", &got, err, want)
	}
	if p.Free(); *released != 1 {
		t.Errorf("released %d times", *released)
	}
}

func TestCutsKeepNothingOfEmptyChunks(t *testing.T) {
	wire := []byte("\x0a\x01m\x1a\x017")
	e := mustPeek(t, rollout.NewPayload([][]byte{{}, wire[:3], {}, wire[3:], {}}, nil)).WithNames("n", "")
	if got := len(e.Chunks()); got != 2 {
		t.Errorf("%d chunks %q, want the name and the rest", got, e.Chunks())
	}
}
