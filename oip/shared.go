package oip

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// sharedBlock is how many elements are compared at a time as bytes.
const sharedBlock = 128

// Shared moves two readers of the same datatype past elements that both have before them,
// byte by byte the same, and returns how many; wild of them are infinite or no number. It
// goes by blocks, so that elements it stops at may be equal too.
func (e *Elements) Shared(other *Elements) (n, wild int) {
	size := e.typ.Size()
	if size == 0 || e.typ != other.typ || e.varints || other.varints {
		return 0, 0
	}
	for {
		block := min(sharedBlock*size, len(e.data))
		if block == 0 || len(other.data) < block || !bytes.Equal(e.data[:block], other.data[:block]) {
			return n, wild
		}
		n += block / size
		wild += wildIn(e.typ, e.data[:block])
		e.data, other.data = e.data[block:], other.data[block:]
	}
}

// exponents has for each Float datatype the bits of the exponent, and the lowest one, in
// every lane of a word.
var exponents = [...]struct{ all, lowest uint64 }{
	FP16: {0x7c00_7c00_7c00_7c00, 0x0400_0400_0400_0400},
	BF16: {0x7f80_7f80_7f80_7f80, 0x0080_0080_0080_0080},
	FP32: {0x7f800000_7f800000, 0x00800000_00800000},
	FP64: {0x7ff00000_00000000, 0x00100000_00000000},
}

// wildIn counts what is infinite or no number: its exponent is all ones, and adding one
// carries into the place of the sign, which was masked.
func wildIn(typ Datatype, b []byte) (n int) {
	if typ.Family() != Float {
		return 0
	}
	x := exponents[typ]
	for ; len(b) >= 8; b = b[8:] {
		n += bits.OnesCount64((binary.LittleEndian.Uint64(b)&x.all + x.lowest) &^ x.all)
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		n += wildIn(typ, last[:])
	}
	return n
}
