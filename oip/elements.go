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
