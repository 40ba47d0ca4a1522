package oip

import "golang.org/x/sys/cpu"

// wide: there are vector instructions that know FP16.
var wide = cpu.X86.HasAVX2 && cpu.X86.HasF16C

// wideStep is how many elements the loops in assembly take at a time.
const wideStep = 8

// floats32Wide decodes as many elements as it can, and returns how many.
func floats32Wide(dst []float64, b []byte) int {
	n := wideOf(dst)
	if n > 0 {
		floats32AVX(&dst[0], &b[0], n)
	}
	return n
}

// halvesWide is floats32Wide for FP16.
func halvesWide(dst []float64, b []byte) int {
	n := wideOf(dst)
	if n > 0 {
		halvesAVX(&dst[0], &b[0], n)
	}
	return n
}

// upperHalvesWide is floats32Wide for BF16.
func upperHalvesWide(dst []float64, b []byte) int {
	n := wideOf(dst)
	if n > 0 {
		upperHalvesAVX(&dst[0], &b[0], n)
	}
	return n
}

// wideOf is how many of the elements that dst has room for go through assembly.
func wideOf(dst []float64) int {
	if !wide {
		return 0
	}
	return len(dst) / wideStep * wideStep
}

// Each of these decodes n elements, a multiple of wideStep and not 0, from src to dst.

//go:noescape
func floats32AVX(dst *float64, src *byte, n int)

//go:noescape
func halvesAVX(dst *float64, src *byte, n int)

//go:noescape
func upperHalvesAVX(dst *float64, src *byte, n int)
