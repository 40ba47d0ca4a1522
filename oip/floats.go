package oip

import (
	"encoding/binary"
	"math"
)

// The loops below leave to vector instructions what those can do here. Of the rest they take
// eight bytes at a time, and what is left over one by one.

func floats32(dst []float64, b []byte) {
	n := floats32Wide(dst, b)
	dst, b = dst[n:], b[4*n:]
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
	n := halvesWide(dst, b)
	dst, b = dst[n:], b[2*n:]
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
	n := upperHalvesWide(dst, b)
	dst, b = dst[n:], b[2*n:]
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
