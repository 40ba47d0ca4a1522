package oip

import (
	"encoding/binary"
	"math"
	"testing"
)

// Where elements are decoded many at a time, each is what it is alone.
func TestFloatsInBlocksAreThoseOneByOne(t *testing.T) {
	for _, typ := range []Datatype{FP16, BF16, FP32, FP64} {
		var raw []byte
		for bits := range uint64(1 << 16) {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], bits<<48|bits*0x9e3779b97f4a>>16) // sign, exponent and some of the fraction
			raw = append(raw, b[8-typ.Size():]...)
		}
		want := make([]float64, 0, 1<<16)
		one := make([]float64, 1)
		for e := (Elements{typ: typ, data: raw}); e.Floats(one) > 0; {
			want = append(want, one[0])
		}
		if len(want) != 1<<16 {
			t.Fatalf("%s: %d elements", typ, len(want))
		}
		for _, size := range []int{2, 7, 8, 9, 15, 16, 128, 1 << 17} {
			block := make([]float64, size)
			read := 0
			for e := (Elements{typ: typ, data: raw}); ; {
				n := e.Floats(block)
				if n == 0 {
					break
				}
				for i, v := range block[:n] {
					if w := want[read+i]; math.Float64bits(v) != math.Float64bits(w) && !(math.IsNaN(v) && math.IsNaN(w)) {
						t.Fatalf("%s in blocks of %d: element %d is %v, alone %v", typ, size, read+i, v, w)
					}
				}
				read += n
			}
			if read != len(want) {
				t.Errorf("%s in blocks of %d: %d elements", typ, size, read)
			}
		}
	}
}
