package shadow

import (
	"math"
	"math/rand/v2"
	"testing"
)

// randomFloats returns n pairs, of which two in three are the same and, if asked for, some extreme.
func randomFloats(rng *rand.Rand, n int, extreme bool) (x, y []float64) {
	extremes := []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324, 0, math.Copysign(0, -1)}
	pick := func() float64 {
		if extreme && rng.IntN(8) == 0 {
			return extremes[rng.IntN(len(extremes))]
		}
		return rng.NormFloat64()
	}
	for range n {
		v := pick()
		w := v
		if rng.IntN(3) == 0 {
			w = pick()
		}
		x, y = append(x, v), append(y, w)
	}
	return x, y
}

// Many pairs at a time come to what they come to one by one.
func TestPairsInBlocksAreThoseOneByOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 3000 {
		x, y := randomFloats(rng, rng.IntN(compareBlock+1), round%2 == 0)
		rule := scoreSums{atol: 0.25 * rng.Float64(), rtol: 0.25 * rng.Float64()}
		want := rule
		want.addRest(x, y)
		wide, plain := rule, rule
		wide.addFloats(x, y)
		done := plain.addPairs(x, y) // what addFloats leaves to vectors where there are any
		plain.addRest(x[done:], y[done:])
		checkSums(t, wide, want, x, y)
		checkSums(t, plain, want, x, y)
		differing, n := countWide(x, y)
		if all := countDiffering(x, y); differing+countDiffering(x[n:], y[n:]) != all {
			t.Fatalf("%d of the first %d of %d pairs differ; %d of all, one by one\n%v\n%v", differing, n, len(x), all, x, y)
		}
	}
}

func checkSums(t *testing.T, got, want scoreSums, x, y []float64) {
	t.Helper()
	if got.differing != want.differing || got.nonFinite != want.nonFinite || got.finite != want.finite || got.max != want.max ||
		got.sum != want.sum && math.Abs(got.sum-want.sum) > 1e-12*want.sum {
		t.Fatalf("%d pairs: %+v, one by one %+v\n%v\n%v", len(x), got, want, x, y)
	}
}
