package shadow

import (
	"bytes"
	"math"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// compareBlock is how many elements are decoded at a time: both blocks stay in the
// first-level cache.
const compareBlock = 512

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
		comparePairs(a, b, (*oip.Elements).Ints, func(x, y []int64) { result.Differing += countDiffering(x, y) })
	case oip.Unsigned:
		comparePairs(a, b, (*oip.Elements).Uints, func(x, y []uint64) { result.Differing += countDiffering(x, y) })
	case oip.Float:
		comparePairs(a, b, (*oip.Elements).Floats, func(x, y []float64) { result.Differing += countDiffering(x, y) })
	case oip.Text:
		for {
			x, more := ofA.Next()
			if !more {
				return
			}
			if y, _ := ofB.Next(); !bytes.Equal(x, y) {
				result.Differing++
			}
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
		comparePairs(a, b, (*oip.Elements).Ints, s.addInts)
	case oip.Unsigned:
		comparePairs(a, b, (*oip.Elements).Uints, s.addUints)
	case oip.Float:
		comparePairs(a, b, (*oip.Elements).Floats, s.addFloats)
	}
	result.Differing, result.NonFinite = s.differing, s.nonFinite
	result.MaxAbsDiff = s.max
	if s.finite > 0 {
		result.MeanAbsDiff = min(s.sum, math.MaxFloat64) / float64(s.finite)
	}
}

// firstScores returns the finite ones of the first pairs of elements, for the gates.
func firstScores(a, b *oip.Tensor) []rollout.ScorePair {
	switch a.Type().Family() {
	case oip.Signed:
		return scorePairs(a, b, (*oip.Elements).Ints)
	case oip.Unsigned:
		return scorePairs(a, b, (*oip.Elements).Uints)
	case oip.Float:
		return scorePairs(a, b, (*oip.Elements).Floats)
	}
	return nil
}

func scorePairs[T comparedNumber](a, b *oip.Tensor, read func(*oip.Elements, []T) int) []rollout.ScorePair {
	var x, y [rollout.MaxScores]T
	ofA, ofB := a.Elements(), b.Elements()
	n := min(read(&ofA, x[:]), read(&ofB, y[:]))
	pairs := make([]rollout.ScorePair, 0, n)
	for i := range n {
		p := rollout.ScorePair{Champion: float64(x[i]), Challenger: float64(y[i])}
		if d := p.Challenger - p.Champion; d-d == 0 { // neither is infinite or no number
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// scoreSums gathers what a score's comparison reports.
type scoreSums struct {
	atol, rtol                   float64
	differing, nonFinite, finite uint64
	max, sum                     float64
}

// addFloats keeps its sums in registers: through memory the loop takes twice as long.
func (s *scoreSums) addFloats(x, y []float64) {
	var differing, finite uint64
	var sum, top float64
	atol, rtol := s.atol, s.rtol
	y = y[:len(x)]
	for i, v := range x {
		d := math.Abs(y[i] - v)
		if !(d <= math.MaxFloat64) {
			s.addExtreme(v, y[i])
			continue
		}
		finite++
		sum += d
		if d > top {
			top = d
		}
		if d > atol+rtol*math.Abs(v) {
			differing++
		}
	}
	s.differing += differing
	s.finite += finite
	s.sum += sum
	s.max = max(s.max, top)
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

func (s *scoreSums) addInts(x, y []int64) {
	for i, v := range x {
		d := uint64(y[i]) - uint64(v) // exact, where float64 is not
		if y[i] < v {
			d = -d
		}
		s.add(float64(d), math.Abs(float64(v)))
	}
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
