package shadow

import (
	"strconv"
	"strings"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// noClass is the class of a row without any number in it.
const noClass = "none"

// maxLabel bounds a reported label, in bytes.
const maxLabel = 128

// compareClasses compares what two classifiers decided. Where the tensor holds labels,
// each element is a row's label and is compared by value; else the last dimension holds
// a score for each class, and the class is the index of the highest, the first of
// several. NaN is never the highest.
func compareClasses(result *rollout.OutputComparison, a, b *oip.Tensor) {
	if holdsLabels(a) {
		compareExactly(result, a, b)
		result.ChampionClass, result.ChallengerClass = firstLabel(a), firstLabel(b)
		return
	}
	classes := int(a.Shape[len(a.Shape)-1])
	if a.Len() == 0 {
		return
	}
	switch a.Type().Family() {
	case oip.Signed:
		compareRows(result, a, b, classes, (*oip.Elements).Ints)
	case oip.Unsigned:
		compareRows(result, a, b, classes, (*oip.Elements).Uints)
	case oip.Float:
		compareRows(result, a, b, classes, (*oip.Elements).Floats)
	}
}

// holdsLabels tells labels from scores: BYTES, one element a row, and a plain list of
// integers or booleans.
func holdsLabels(t *oip.Tensor) bool {
	dims := len(t.Shape)
	switch {
	case t.Type() == oip.Bytes || dims == 0 || t.Shape[dims-1] == 1:
		return true
	}
	return dims == 1 && t.Type().Family() != oip.Float
}

// firstLabel returns the first element as text, fit for a record; empty where there is
// none.
func firstLabel(t *oip.Tensor) string {
	if t.Len() == 0 {
		return ""
	}
	e := t.Elements()
	switch t.Type().Family() {
	case oip.Signed:
		var v [1]int64
		e.Ints(v[:])
		return strconv.FormatInt(v[0], 10)
	case oip.Unsigned:
		var v [1]uint64
		e.Uints(v[:])
		if t.Type() == oip.Bool {
			return strconv.FormatBool(v[0] != 0)
		}
		return strconv.FormatUint(v[0], 10)
	case oip.Float:
		var v [1]float64
		e.Floats(v[:])
		size := 32
		if t.Type() == oip.FP64 {
			size = 64
		}
		return strconv.FormatFloat(v[0], 'g', -1, size)
	}
	v, _ := e.Next()
	return strings.ToValidUTF8(string(v[:min(len(v), maxLabel)]), "\uFFFD")
}

// compareRows compares the classes of rows of scores.
func compareRows[T comparedNumber](result *rollout.OutputComparison, a, b *oip.Tensor, classes int, read func(*oip.Elements, []T) int) {
	if ofA, ofB := a.Elements(), b.Elements(); ofA.Identical(&ofB) {
		same := firstClass(a, classes, read)
		result.ChampionClass, result.ChallengerClass, result.Elements = same, same, uint64(a.Len()/classes)
		return
	}
	var inA, inB topScore[T]
	comparePairs(a, b, read, func(x, y []T) {
		for len(x) > 0 {
			n := min(len(x), classes-inA.seen)
			inA.add(x[:n])
			inB.add(y[:n])
			x, y = x[n:], y[n:]
			if inA.seen < classes {
				continue
			}
			if result.Elements == 0 {
				result.ChampionClass, result.ChallengerClass = inA.class(), inB.class()
			}
			result.Elements++
			if inA.index != inB.index || inA.found != inB.found {
				result.Differing++
			}
			inA, inB = topScore[T]{}, topScore[T]{}
		}
	})
}

// firstClass is the class of the first row.
func firstClass[T comparedNumber](t *oip.Tensor, classes int, read func(*oip.Elements, []T) int) string {
	var row topScore[T]
	scores := make([]T, min(classes, compareBlock))
	for e := t.Elements(); row.seen < classes; {
		row.add(scores[:read(&e, scores[:min(classes-row.seen, len(scores))])])
	}
	return row.class()
}

// topScore is the highest score of a row, as far as it has been seen.
type topScore[T comparedNumber] struct {
	seen, index int
	top         T
	found       bool
}

func (s *topScore[T]) add(scores []T) {
	for i, v := range scores {
		if v > s.top && s.found || v == v && !s.found {
			s.index, s.top, s.found = s.seen+i, v, true
		}
	}
	s.seen += len(scores)
}

func (s *topScore[T]) class() string {
	if !s.found {
		return noClass
	}
	return strconv.Itoa(s.index)
}
