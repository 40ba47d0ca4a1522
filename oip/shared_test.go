package oip

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// Whatever the bytes, Shared stops before the first difference, at most a block early, and
// counts as wild what Floats reads as such.
func TestSharedCountsAsTheReadersDo(t *testing.T) {
	chance := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		typ := []Datatype{FP16, BF16, FP32, FP64, Int8, Int64, Bool, Uint16}[chance.IntN(8)]
		size, n := typ.Size(), chance.IntN(3*sharedBlock)
		a := make([]byte, n*size)
		for i := range a {
			a[i] = []byte{0, 0x7c, 0x7f, 0x80, 0xf0, 0xff, 1, byte(chance.Uint32())}[chance.IntN(8)]
		}
		b := append([]byte(nil), a...)
		differs := n
		if n > 0 && chance.IntN(3) > 0 {
			differs = chance.IntN(n)
			b[differs*size] ^= 1
		}
		x, y := Elements{typ: typ, data: a}, Elements{typ: typ, data: b}
		shared, wild := x.Shared(&y)
		if shared > differs || differs-shared >= sharedBlock || differs == n && shared != n {
			t.Fatalf("%s: %d of %d shared, the first difference is at %d", typ, shared, n, differs)
		}
		if len(x.data) != len(y.data) || len(x.data) != (n-shared)*size {
			t.Fatalf("%s: %d and %d bytes left", typ, len(x.data), len(y.data))
		}
		want := 0
		read := Elements{typ: typ, data: a[:shared*size]}
		floats := make([]float64, shared)
		for _, v := range floats[:read.Floats(floats)] {
			if v-v != 0 {
				want++
			}
		}
		if wild != want {
			t.Fatalf("%s: %d wild, want %d", typ, wild, want)
		}
	}
}

func TestSharedNeedsOneWayOfWriting(t *testing.T) {
	a, b := Elements{typ: Int32, data: []byte{1, 0, 0, 0}}, Elements{typ: Int32, data: []byte{1, 0, 0, 0}, varints: true}
	if n, _ := a.Shared(&b); n != 0 {
		t.Errorf("%d shared of raw and varints", n)
	}
	c := Elements{typ: Uint32, data: []byte{1, 0, 0, 0}}
	if n, _ := a.Shared(&c); n != 0 {
		t.Errorf("%d shared of two datatypes", n)
	}
}

// All 65,536 halves, by the definition of IEEE 754.
func TestHalvesByDefinition(t *testing.T) {
	raw := make([]byte, 0, 2<<16)
	for bits := range 1 << 16 {
		raw = binary.LittleEndian.AppendUint16(raw, uint16(bits))
	}
	got := make([]float64, 1<<16)
	e := Elements{typ: FP16, data: raw}
	if n := e.Floats(got); n != 1<<16 {
		t.Fatalf("%d read", n)
	}
	for bits, v := range got {
		exponent, fraction := bits>>10&31, float64(bits&1023)
		want := math.Ldexp(1+fraction/1024, exponent-15)
		switch {
		case exponent == 0:
			want = math.Ldexp(fraction, -24)
		case exponent == 31 && fraction == 0:
			want = math.Inf(1)
		case exponent == 31:
			want = math.NaN()
		}
		if bits >= 1<<15 {
			want = -want
		}
		if v != want && !(v != v && want != want) || want == want && math.Signbit(v) != math.Signbit(want) {
			t.Fatalf("%04x is %v, want %v", bits, v, want)
		}
	}
}
