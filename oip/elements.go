package oip

import (
	"bytes"
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Elements reads a tensor's elements in row-major order. Which of its methods reads them
// is the datatype's Family; the others find none. Numbers come in blocks, so that a loop
// over them allocates nothing and calls nothing. Each reader is for one goroutine.
type Elements struct {
	typ     Datatype
	varints bool
	data    []byte
}

// Floats reads the next elements of a Float tensor into dst and returns how many; 0 at
// the end.
func (e *Elements) Floats(dst []float64) int {
	b := e.data
	var n int
	switch e.typ {
	case FP32:
		n = min(len(dst), len(b)/4)
		floats32(dst[:n], b[:4*n])
	case FP64:
		n = min(len(dst), len(b)/8)
		for i, b := 0, b; i < n && len(b) >= 8; i, b = i+1, b[8:] {
			dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
	case FP16:
		n = min(len(dst), len(b)/2)
		halves(dst[:n], b[:2*n])
	case BF16:
		n = min(len(dst), len(b)/2)
		upperHalves(dst[:n], b[:2*n])
	}
	e.data = b[n*e.typ.Size():]
	return n
}

// The loops below take eight bytes at a time, and what is left over one by one.

func floats32(dst []float64, b []byte) {
	for len(dst) >= 2 && len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		dst[0] = float64(math.Float32frombits(uint32(w)))
		dst[1] = float64(math.Float32frombits(uint32(w >> 32)))
		dst, b = dst[2:], b[8:]
	}
	for i := range dst {
		dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
	}
}

func halves(dst []float64, b []byte) {
	for len(dst) >= 4 && len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		dst[0], dst[1] = half(uint16(w)), half(uint16(w>>16))
		dst[2], dst[3] = half(uint16(w>>32)), half(uint16(w>>48))
		dst, b = dst[4:], b[8:]
	}
	for i := range dst {
		dst[i] = half(binary.LittleEndian.Uint16(b[2*i:]))
	}
}

// half returns an IEEE 754 binary16 as float64. Exponent and fraction move to where that
// has them, and a product moves the exponent's bias from 15 to 1023; zeros and subnormal
// ones come out right with it.
func half(bits uint16) float64 {
	if bits&0x7c00 == 0x7c00 {
		return wildHalf(bits)
	}
	size := math.Float64frombits(uint64(bits&0x7fff)<<42) * 0x1p1008
	return math.Float64frombits(math.Float64bits(size) | uint64(bits&0x8000)<<48)
}

// wildHalf is half for infinities and what is no number.
func wildHalf(bits uint16) float64 {
	return math.Float64frombits(uint64(bits&0x8000)<<48 | uint64(bits&0x7fff)<<42 | 0x7ff<<52)
}

// upperHalves reads BF16, which is the upper half of a float32.
func upperHalves(dst []float64, b []byte) {
	for len(dst) >= 4 && len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		dst[0], dst[1] = upperHalf(w<<16), upperHalf(w)
		dst[2], dst[3] = upperHalf(w>>16), upperHalf(w>>32)
		dst, b = dst[4:], b[8:]
	}
	for i := range dst {
		dst[i] = upperHalf(uint64(binary.LittleEndian.Uint16(b[2*i:])) << 16)
	}
}

// upperHalf is the number whose 16 bits stand at the upper end of the lower 32.
func upperHalf(word uint64) float64 {
	return float64(math.Float32frombits(uint32(word) & 0xffff0000))
}

// Ints reads the next elements of a Signed tensor into dst and returns how many; 0 at
// the end.
func (e *Elements) Ints(dst []int64) int {
	if e.typ.Family() != Signed {
		return 0
	}
	if e.varints {
		return e.intVarints(dst)
	}
	b, size := e.data, e.typ.Size()
	n := min(len(dst), len(b)/size)
	switch e.typ {
	case Int8:
		for i := range dst[:n] {
			dst[i] = int64(int8(b[i]))
		}
	case Int16:
		for i := range dst[:n] {
			dst[i] = int64(int16(binary.LittleEndian.Uint16(b[2*i:])))
		}
	case Int32:
		for i := range dst[:n] {
			dst[i] = int64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		}
	case Int64:
		for i := range dst[:n] {
			dst[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
		}
	}
	e.data = b[n*size:]
	return n
}

// Uints reads the next elements of an Unsigned tensor into dst and returns how many; 0
// at the end. Any true is 1.
func (e *Elements) Uints(dst []uint64) int {
	if e.typ.Family() != Unsigned {
		return 0
	}
	if e.varints {
		return e.uintVarints(dst)
	}
	b, size := e.data, e.typ.Size()
	n := min(len(dst), len(b)/size)
	switch e.typ {
	case Bool:
		for i := range dst[:n] {
			dst[i] = truth(uint64(b[i]))
		}
	case Uint8:
		for i := range dst[:n] {
			dst[i] = uint64(b[i])
		}
	case Uint16:
		for i := range dst[:n] {
			dst[i] = uint64(binary.LittleEndian.Uint16(b[2*i:]))
		}
	case Uint32:
		for i := range dst[:n] {
			dst[i] = uint64(binary.LittleEndian.Uint32(b[4*i:]))
		}
	case Uint64:
		for i := range dst[:n] {
			dst[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
	}
	e.data = b[n*size:]
	return n
}

func truth(v uint64) uint64 {
	if v != 0 {
		return 1
	}
	return 0
}

func (e *Elements) intVarints(dst []int64) int {
	for i := range dst {
		v, n := protowire.ConsumeVarint(e.data)
		if n < 0 {
			return i
		}
		e.data = e.data[n:]
		dst[i] = int64(v)
		if e.typ != Int64 {
			dst[i] = int64(int32(v))
		}
	}
	return len(dst)
}

func (e *Elements) uintVarints(dst []uint64) int {
	for i := range dst {
		v, n := protowire.ConsumeVarint(e.data)
		if n < 0 {
			return i
		}
		e.data = e.data[n:]
		switch e.typ {
		case Bool:
			dst[i] = truth(v)
		case Uint64:
			dst[i] = v
		default:
			dst[i] = uint64(uint32(v))
		}
	}
	return len(dst)
}

// Next reads the next element of a BYTES tensor, which is the payload's own bytes; false
// at the end.
func (e *Elements) Next() ([]byte, bool) {
	if e.typ != Bytes || len(e.data) < 4 {
		return nil, false
	}
	n := int(binary.LittleEndian.Uint32(e.data))
	b := e.data[4 : 4+n : 4+n]
	e.data = e.data[4+n:]
	return b, true
}

// Identical tells whether two readers have the same bytes of the same datatype before
// them. It is quick, and false says nothing: equal values can be written in several
// ways.
func (e *Elements) Identical(other *Elements) bool {
	return e.typ == other.typ && e.varints == other.varints && bytes.Equal(e.data, other.data)
}
