package shadow

import "golang.org/x/sys/cpu"

// wide: there are vector instructions for four numbers at a time.
var wide = cpu.X86.HasAVX2

// wideStep is how many pairs the loops in assembly take at a time.
const wideStep = 8

// lanes are what the four lanes of a vector gathered, each for itself.
type lanes struct {
	sum, top  [4]float64
	differing [4]uint64
}

// addWide adds as many pairs as it can, and returns how many.
func (s *scoreSums) addWide(x, y []float64) int {
	n := wideOf(x)
	if n == 0 {
		return 0
	}
	var l lanes
	addAVX(&x[0], &y[0], n, s.atol, s.rtol, &l)
	s.addBlock(x[:n], y[:n], l.sum[0]+l.sum[1]+l.sum[2]+l.sum[3], max(l.top[0], l.top[1], l.top[2], l.top[3]), l.sumDiffering())
	return n
}

// countWide counts the pairs that differ among as many as it can, and returns how many those were.
func countWide(x, y []float64) (differing uint64, n int) {
	if n = wideOf(x); n == 0 {
		return 0, 0
	}
	var l lanes
	countAVX(&x[0], &y[0], n, &l)
	return l.sumDiffering(), n
}

func (l *lanes) sumDiffering() uint64 {
	return l.differing[0] + l.differing[1] + l.differing[2] + l.differing[3]
}

// wideOf is how many of x go through assembly.
func wideOf(x []float64) int {
	if !wide {
		return 0
	}
	return len(x) / wideStep * wideStep
}

// Each of these takes n pairs, a multiple of wideStep and not 0.

//go:noescape
func addAVX(x, y *float64, n int, atol, rtol float64, l *lanes)

//go:noescape
func countAVX(x, y *float64, n int, l *lanes)
