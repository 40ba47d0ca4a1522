package shadow

import (
	"bytes"
	"math"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// compareBlock is how many elements are decoded at a time, as many as oip.Elements.Shared
// passes over at a time: behind a difference it goes on. Both blocks stay in the
// first-level cache, and on the stack.
const compareBlock = 128

// comparedNumber is what a Family of datatypes is decoded to.
type comparedNumber interface {
	int64 | uint64 | float64
}

// comparePairs calls do for both sides' elements, block by block. The tensors have the
// same datatype and the same number of elements, which read decodes.
func comparePairs[T comparedNumber](a, b *oip.Tensor, read func(*oip.Elements, []T) int, do func(x, y []T)) {
	size := min(a.Len(), compareBlock)
	block := make([]T, 2*size)
	x, y := block[:size:size], block[size:]
	ofA, ofB := a.Elements(), b.Elements()
	for {
		n := min(read(&ofA, x), read(&ofB, y))
		if n == 0 {
			return
		}
		do(x[:n], y[:n])
	}
}

// compareExactly compares element by element, by value: what the wire made of it, raw or
// typed, does not count.
func compareExactly(result *rollout.OutputComparison, a, b *oip.Tensor) {
	result.Elements = uint64(a.Len())
	ofA, ofB := a.Elements(), b.Elements()
	if ofA.Identical(&ofB) {
		return
	}
	switch a.Type().Family() {
	case oip.Signed:
		result.Differing = differingInts(ofA, ofB)
	case oip.Unsigned:
		result.Differing = differingUints(ofA, ofB)
	case oip.Float:
		result.Differing = differingFloats(ofA, ofB)
	case oip.Text:
		result.Differing = differingTexts(ofA, ofB)
	}
}

// The loops below and those of scoreSums are one for each family: read through a function
// value, the blocks would have to be allocated. What both sides wrote in the same bytes is
// passed over.

func differingInts(a, b oip.Elements) (sum uint64) {
	var x, y [compareBlock]int64
	for {
		a.Shared(&b)
		n := min(a.Ints(x[:]), b.Ints(y[:]))
		if n == 0 {
			return sum
		}
		sum += countDiffering(x[:n], y[:n])
	}
}

func differingUints(a, b oip.Elements) (sum uint64) {
	var x, y [compareBlock]uint64
	for {
		a.Shared(&b)
		n := min(a.Uints(x[:]), b.Uints(y[:]))
		if n == 0 {
			return sum
		}
		sum += countDiffering(x[:n], y[:n])
	}
}

func differingFloats(a, b oip.Elements) (sum uint64) {
	var x, y [compareBlock]float64
	for {
		a.Shared(&b)
		n := min(a.Floats(x[:]), b.Floats(y[:]))
		if n == 0 {
			return sum
		}
		among, done := countWide(x[:n], y[:n])
		sum += among + countDiffering(x[done:n], y[done:n])
	}
}

func differingTexts(a, b oip.Elements) (sum uint64) {
	for {
		x, more := a.Next()
		if !more {
			return sum
		}
		if y, _ := b.Next(); !bytes.Equal(x, y) {
			sum++
		}
	}
}

func countDiffering[T comparedNumber](x, y []T) (n uint64) {
	y = y[:len(x)]
	for i, v := range x {
		if w := y[i]; v != w && (v == v || w == w) { // two NaNs do not differ
			n++
		}
	}
	return n
}

// compareScores compares numbers within tolerances.
func compareScores(result *rollout.OutputComparison, rule rollout.CompareRule, a, b *oip.Tensor) {
	result.Elements = uint64(a.Len())
	result.Scores = firstScores(a, b)
	ofA, ofB := a.Elements(), b.Elements()
	if ofA.Identical(&ofB) {
		return
	}
	s := scoreSums{atol: rule.ATol, rtol: rule.RTol}
	switch a.Type().Family() {
	case oip.Signed:
		s.ints(ofA, ofB)
	case oip.Unsigned:
		s.uints(ofA, ofB)
	case oip.Float:
		s.floats(ofA, ofB)
	}
	result.Differing, result.NonFinite = s.differing, s.nonFinite
	result.MaxAbsDiff = s.max
	if s.finite > 0 {
		result.MeanAbsDiff = min(s.sum, math.MaxFloat64) / float64(s.finite)
	}
}

// firstScores returns the finite ones of the first pairs of elements, for the gates.
func firstScores(a, b *oip.Tensor) []rollout.ScorePair {
	var x, y [rollout.MaxScores]float64
	n := min(firstElements(a, &x), firstElements(b, &y))
	if n == 0 {
		return nil
	}
	pairs := make([]rollout.ScorePair, 0, n)
	for i := range n {
		p := rollout.ScorePair{Champion: x[i], Challenger: y[i]}
		if d := p.Challenger - p.Champion; d-d == 0 { // neither is infinite or no number
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// firstElements reads as many numbers as dst has room for, and returns how many there were.
func firstElements(t *oip.Tensor, dst *[rollout.MaxScores]float64) (n int) {
	e := t.Elements()
	switch t.Type().Family() {
	case oip.Signed:
		var v [rollout.MaxScores]int64
		n = e.Ints(v[:])
		for i := range n {
			dst[i] = float64(v[i])
		}
	case oip.Unsigned:
		var v [rollout.MaxScores]uint64
		n = e.Uints(v[:])
		for i := range n {
			dst[i] = float64(v[i])
		}
	case oip.Float:
		n = e.Floats(dst[:])
	}
	return n
}

// scoreSums gathers what a score's comparison reports.
type scoreSums struct {
	atol, rtol                   float64
	differing, nonFinite, finite uint64
	max, sum                     float64
}

// same takes n pairs that do not differ, wild of which are infinite or no number.
func (s *scoreSums) same(n, wild int) { s.finite += uint64(n - wild) }

func (s *scoreSums) ints(a, b oip.Elements) {
	var x, y [compareBlock]int64
	for {
		s.same(a.Shared(&b))
		n := min(a.Ints(x[:]), b.Ints(y[:]))
		if n == 0 {
			return
		}
		s.addInts(x[:n], y[:n])
	}
}

func (s *scoreSums) uints(a, b oip.Elements) {
	var x, y [compareBlock]uint64
	for {
		s.same(a.Shared(&b))
		n := min(a.Uints(x[:]), b.Uints(y[:]))
		if n == 0 {
			return
		}
		s.addUints(x[:n], y[:n])
	}
}

func (s *scoreSums) floats(a, b oip.Elements) {
	var x, y [compareBlock]float64
	for {
		s.same(a.Shared(&b))
		n := min(a.Floats(x[:]), b.Floats(y[:]))
		if n == 0 {
			return
		}
		s.addFloats(x[:n], y[:n])
	}
}

// addFloats leaves to vector instructions what those can do here. It does not look out for
// what is infinite or no number: that shows in the sum, and the block is taken again, slowly.
func (s *scoreSums) addFloats(x, y []float64) {
	done := s.addWide(x, y)
	x, y = x[done:], y[done:]
	done = s.addPairs(x, y)
	s.addRest(x[done:], y[done:])
}

// addPairs is addWide without vectors: all pairs, but the last where their number is odd. It
// keeps its sums in registers, two by turns, for each waits for the one before.
func (s *scoreSums) addPairs(x, y []float64) int {
	var differing uint64
	var even, odd, top float64
	atol, rtol := s.atol, s.rtol
	y = y[:len(x)]
	i := 1
	for ; i < len(x); i += 2 {
		v, w := x[i-1], x[i]
		d, e := math.Abs(y[i-1]-v), math.Abs(y[i]-w)
		even += d
		odd += e
		if d > top {
			top = d
		}
		if e > top {
			top = e
		}
		if d > atol+rtol*math.Abs(v) {
			differing++
		}
		if e > atol+rtol*math.Abs(w) {
			differing++
		}
	}
	s.addBlock(x[:i-1], y[:i-1], even+odd, top, differing)
	return i - 1
}

// addBlock adds what pairs came to together; where that is no finite number, each by itself.
func (s *scoreSums) addBlock(x, y []float64, sum, top float64, differing uint64) {
	if !(sum <= math.MaxFloat64) {
		s.addRest(x, y)
		return
	}
	s.differing += differing
	s.finite += uint64(len(x))
	s.sum += sum
	s.max = max(s.max, top)
}

// addRest takes pairs one by one, extreme ones too.
func (s *scoreSums) addRest(x, y []float64) {
	for i, v := range x {
		if d := math.Abs(y[i] - v); d <= math.MaxFloat64 {
			s.add(d, math.Abs(v))
		} else {
			s.addExtreme(v, y[i])
		}
	}
}

// addExtreme takes a pair whose difference is no finite number: one of them is NaN or
// infinite, or they are so far apart that the difference is.
func (s *scoreSums) addExtreme(v, w float64) {
	switch {
	case v == w || v != v && w != w:
	case math.Abs(v) <= math.MaxFloat64 && math.Abs(w) <= math.MaxFloat64:
		s.add(math.MaxFloat64, math.Abs(v))
	default:
		s.nonFinite++
		s.differing++
	}
}

// addInts, too, keeps its sums in registers. The difference is exact, where float64 is not.
func (s *scoreSums) addInts(x, y []int64) {
	var differing uint64
	var sum, top float64
	atol, rtol := s.atol, s.rtol
	y = y[:len(x)]
	for i, v := range x {
		w := y[i]
		apart := max(v, w) - min(v, w)
		d := float64(apart) // one instruction, unlike the conversion of a uint64
		if apart < 0 {
			d = float64(uint64(apart)) // it overflowed, once
		}
		sum += d
		if d > top {
			top = d
		}
		if d > atol+rtol*math.Abs(float64(v)) {
			differing++
		}
	}
	s.differing += differing
	s.finite += uint64(len(x))
	s.sum += sum
	s.max = max(s.max, top)
}

func (s *scoreSums) addUints(x, y []uint64) {
	for i, v := range x {
		s.add(float64(max(v, y[i])-min(v, y[i])), float64(v))
	}
}

// add takes a pair's difference and the size of the champion's value.
func (s *scoreSums) add(d, size float64) {
	s.finite++
	s.sum += d
	s.max = max(s.max, d)
	if d > s.atol+s.rtol*size {
		s.differing++
	}
}
