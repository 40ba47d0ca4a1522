package shadow

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/understudy-serving/understudy/rollout"
)

func compareFloats(datatype string, v ...float64) compareOut {
	return compareOut{datatype: datatype, shape: []int64{int64(len(v))}, values: v}
}

func TestCompareScoresAtTheEdges(t *testing.T) {
	nan, inf, negZero := math.NaN(), math.Inf(1), math.Copysign(0, -1)
	cases := map[string]struct {
		atol, rtol               float64
		a, b                     []float64
		differing, nonFinite     uint64
		maxDiff, meanDiff        float64
		sameForHalves, wideAlone bool
	}{
		"NaN and NaN":               {a: []float64{nan, 1}, b: []float64{nan, 1}, sameForHalves: true},
		"NaN and a number":          {a: []float64{nan, 1}, b: []float64{1, nan}, differing: 2, nonFinite: 2, sameForHalves: true},
		"NaN and infinity":          {a: []float64{nan}, b: []float64{inf}, differing: 1, nonFinite: 1, sameForHalves: true},
		"infinity and infinity":     {a: []float64{inf, -inf, 1}, b: []float64{inf, -inf, 2}, differing: 1, maxDiff: 1, meanDiff: 1, sameForHalves: true},
		"infinities of other signs": {a: []float64{inf}, b: []float64{-inf}, differing: 1, nonFinite: 1, sameForHalves: true},
		"infinity, huge tolerance":  {atol: math.MaxFloat64, rtol: 10, a: []float64{inf, 1}, b: []float64{1, inf}, differing: 2, nonFinite: 2, sameForHalves: true},
		"−0 and 0":                  {a: []float64{negZero, 0, 1}, b: []float64{0, negZero, 1}, sameForHalves: true},
		"exactly atol":              {atol: 0.5, a: []float64{1, 0}, b: []float64{0.5, 0.5}, maxDiff: 0.5, meanDiff: 0.5, sameForHalves: true},
		"over atol":                 {atol: 0.25, a: []float64{1, 0}, b: []float64{0.5, 0}, differing: 1, maxDiff: 0.5, meanDiff: 0.25, sameForHalves: true},
		"rtol is of the champion":   {rtol: 0.5, a: []float64{2, 1}, b: []float64{1, 2}, differing: 1, maxDiff: 1, meanDiff: 1, sameForHalves: true},
		"rtol of a negative":        {rtol: 0.5, a: []float64{-2}, b: []float64{-1}, maxDiff: 1, meanDiff: 1, wideAlone: true},
		"both tolerances add":       {atol: 0.5, rtol: 0.25, a: []float64{2}, b: []float64{1}, maxDiff: 1, meanDiff: 1, sameForHalves: true},
		"difference overflows": {a: []float64{math.MaxFloat64, 0}, b: []float64{-math.MaxFloat64, 0}, differing: 1,
			maxDiff: math.MaxFloat64, meanDiff: math.MaxFloat64 / 2, wideAlone: true},
		"sum overflows": {a: []float64{math.MaxFloat64, math.MaxFloat64}, b: []float64{0, 0}, differing: 2,
			maxDiff: math.MaxFloat64, meanDiff: math.MaxFloat64 / 2, wideAlone: true},
		"smallest of all": {a: []float64{0}, b: []float64{math.SmallestNonzeroFloat64}, differing: 1,
			maxDiff: math.SmallestNonzeroFloat64, meanDiff: math.SmallestNonzeroFloat64, wideAlone: true},
		"empty": {a: []float64{}, b: []float64{}, sameForHalves: true},
	}
	for what, c := range cases {
		datatypes := []string{"FP64"}
		if c.sameForHalves {
			datatypes = []string{"FP16", "BF16", "FP32", "FP64"}
		}
		for _, d := range datatypes {
			rule := rollout.CompareRule{Kind: rollout.CompareScore, ATol: c.atol, RTol: c.rtol}
			got := compareOne(t, rule, compareFloats(d, c.a...), compareFloats(d, c.b...))
			if got.Elements != uint64(len(c.a)) || got.Differing != c.differing || got.NonFinite != c.nonFinite ||
				got.MaxAbsDiff != c.maxDiff || got.MeanAbsDiff != c.meanDiff || got.Agree != (c.differing == 0) {
				t.Errorf("%s as %s: %+v, want %+v", what, d, got, c)
			}
		}
	}
}

// Integers are subtracted as integers: as float64 these would be equal.
func TestCompareScoresOfLargeIntegers(t *testing.T) {
	cases := map[string]struct {
		datatype  string
		a, b      any
		differing uint64
		maxDiff   float64
	}{
		"INT64 by one":         {"INT64", []int64{1 << 60}, []int64{1<<60 + 1}, 1, 1},
		"negative INT64":       {"INT64", []int64{math.MinInt64}, []int64{math.MinInt64 + 1}, 1, 1},
		"the whole of INT64":   {"INT64", []int64{math.MaxInt64}, []int64{math.MinInt64}, 1, 1 << 64},
		"UINT64 by one, up":    {"UINT64", []uint64{math.MaxUint64 - 1}, []uint64{math.MaxUint64}, 1, 1},
		"UINT64 by one, down":  {"UINT64", []uint64{math.MaxUint64}, []uint64{math.MaxUint64 - 1}, 1, 1},
		"a truth of any value": {"BOOL", []uint64{1}, []uint64{9}, 0, 0},
	}
	for what, c := range cases {
		got := compareOne(t, rollout.CompareRule{Kind: rollout.CompareScore},
			compareOut{datatype: c.datatype, shape: []int64{}, values: c.a}, compareOut{datatype: c.datatype, shape: []int64{}, values: c.b})
		if got.Differing != c.differing || got.MaxAbsDiff != c.maxDiff || got.Elements != 1 {
			t.Errorf("%s: %+v", what, got)
		}
	}
	within := rollout.CompareRule{Kind: rollout.CompareScore, ATol: 2}
	if got := compareOne(t, within, compareOut{datatype: "INT8", shape: []int64{2}, values: []int64{1, 5}},
		compareOut{datatype: "INT8", shape: []int64{2}, values: []int64{3, 2}}); got.Differing != 1 || got.MaxAbsDiff != 3 || got.MeanAbsDiff != 2.5 {
		t.Errorf("integers with a tolerance: %+v", got)
	}
}

func TestCompareExactlyAtTheEdges(t *testing.T) {
	nan, negZero := math.NaN(), math.Copysign(0, -1)
	otherNaN := math.Float64frombits(math.Float64bits(nan) ^ 1)
	cases := map[string]struct {
		datatype  string
		a, b      any
		n         int64
		differing uint64
	}{
		"large INT64":    {"INT64", []int64{1 << 60, 1}, []int64{1<<60 + 1, 1}, 2, 1},
		"large UINT64":   {"UINT64", []uint64{math.MaxUint64}, []uint64{math.MaxUint64 - 1}, 1, 1},
		"−0 and 0":       {"FP64", []float64{negZero}, []float64{0}, 1, 0},
		"NaNs":           {"FP64", []float64{nan, nan, 1}, []float64{otherNaN, 1, nan}, 3, 2},
		"infinities":     {"FP64", []float64{math.Inf(1), math.Inf(1)}, []float64{math.Inf(1), math.Inf(-1)}, 2, 1},
		"nearly equal":   {"FP64", []float64{1}, []float64{math.Nextafter(1, 2)}, 1, 1},
		"no elements":    {"FP32", []float64{}, []float64{}, 0, 0},
		"no texts":       {"BYTES", []string{}, []string{}, 0, 0},
		"a prefix":       {"BYTES", []string{"ab", "c"}, []string{"a", "bc"}, 2, 2},
		"not valid text": {"BYTES", []string{"\xff"}, []string{"\xfe"}, 1, 1},
	}
	for what, c := range cases {
		got := compareOne(t, rollout.CompareRule{Kind: rollout.CompareExact},
			compareOut{datatype: c.datatype, shape: []int64{c.n}, values: c.a}, compareOut{datatype: c.datatype, shape: []int64{c.n}, values: c.b})
		want := rollout.OutputComparison{Output: "y", Kind: rollout.CompareExact, Agree: c.differing == 0, Elements: uint64(c.n), Differing: c.differing, Finding: got.Finding}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
}

// Long tensors go in blocks; the figures are those of one plain loop.
func TestCompareLongTensors(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{compareBlock - 1, compareBlock, compareBlock + 1, 5000} {
		a, b := make([]float64, n), make([]float64, n)
		var differing uint64
		var maxDiff, sum float64
		for i := range a {
			a[i] = rng.NormFloat64()
			b[i] = a[i]
			if rng.IntN(10) == 0 || i == n-1 {
				b[i] += rng.NormFloat64()
			}
			d := math.Abs(b[i] - a[i])
			maxDiff, sum = max(maxDiff, d), sum+d
			if d > 0.125+0.25*math.Abs(a[i]) {
				differing++
			}
		}
		for _, typed := range []bool{false, true} {
			x, y := compareFloats("FP64", a...), compareFloats("FP64", b...)
			y.typed = typed
			got := compareOne(t, rollout.CompareRule{Kind: rollout.CompareScore, ATol: 0.125, RTol: 0.25}, x, y)
			if got.Elements != uint64(n) || got.Differing != differing || got.MaxAbsDiff != maxDiff || math.Abs(got.MeanAbsDiff-sum/float64(n)) > 1e-12 {
				t.Errorf("%d elements: %+v, want %d differing, at most %v, mean %v", n, got, differing, maxDiff, sum/float64(n))
			}
		}
	}
}

func TestCompareAllocatesNothingAnElement(t *testing.T) {
	allocs := func(n int) float64 {
		a, b := make([]float64, n), make([]float64, n)
		b[n-1] = 1
		x, y := compareFloats("FP32", a...), compareFloats("FP32", b...)
		x.name, y.name = "y", "y"
		p, q := compareResponse(t, x), compareResponse(t, y)
		c := newComparer(t)
		return testing.AllocsPerRun(20, func() { c.Compare(p, q) })
	}
	if few, many := allocs(10), allocs(100_000); many > few {
		t.Errorf("%v allocations for 10 elements, %v for 100000", few, many)
	}
}

// BenchmarkCompare shows MB/s of each side: of outputs that are the same, that differ in
// one element of a thousand, and in every third.
func BenchmarkCompare(b *testing.B) {
	const n = 1 << 16
	for _, d := range []struct {
		datatype string
		size     int64
	}{{"BF16", 2}, {"FP16", 2}, {"FP32", 4}, {"FP64", 8}, {"INT64", 8}} {
		for _, inputs := range []struct {
			name  string
			every int // one in so many differs; 0 none
		}{{"identical", 0}, {"nearly", 1000}, {"different", 3}} {
			p, q := pairOf(b, d.datatype, n, inputs.every)
			for _, kind := range []rollout.CompareKind{rollout.CompareScore, rollout.CompareExact, rollout.CompareClass} {
				c := newComparer(b, rollout.CompareRule{Output: "y", Kind: kind})
				b.Run(d.datatype+"/"+string(kind)+"/"+inputs.name, func(b *testing.B) {
					b.SetBytes(n * d.size)
					b.ReportAllocs()
					for b.Loop() {
						c.Compare(p, q)
					}
				})
			}
		}
	}
}

// pairOf returns two answers with n elements each, of which one in every so many differs.
func pairOf(t testing.TB, datatype string, n, every int) (p, q *rollout.Payload) {
	t.Helper()
	first, second := make([]int64, n), make([]int64, n)
	for i := range first {
		first[i] = int64(i % 3)
		second[i] = first[i]
		if every > 0 && i%every == 0 {
			second[i] = (first[i] + 1) % 3
		}
	}
	out := func(v []int64) compareOut {
		o := compareOut{name: "y", datatype: datatype, shape: []int64{int64(n) / 8, 8}, values: v}
		if datatype != "INT64" {
			floats := make([]float64, n)
			for i := range v {
				floats[i] = float64(v[i])
			}
			o.values = floats
		}
		return o
	}
	return compareResponse(t, out(first)), compareResponse(t, out(second))
}

// What differs is decoded in blocks on the stack: a large tensor takes no more
// allocations than a small one.
func TestCompareAllocatesNothingForElements(t *testing.T) {
	for _, d := range []string{"BF16", "FP16", "FP32", "FP64", "INT64"} {
		for _, kind := range []rollout.CompareKind{rollout.CompareScore, rollout.CompareExact} {
			c := newComparer(t, rollout.CompareRule{Output: "y", Kind: kind})
			var allocations [2]float64
			for i, n := range []int{64, 1 << 14} {
				p, q := pairOf(t, d, n, 3)
				allocations[i] = testing.AllocsPerRun(10, func() { c.Compare(p, q) })
			}
			if allocations[1] > allocations[0] {
				t.Errorf("%s as %s: %.0f allocations, %.0f for a few elements", d, kind, allocations[1], allocations[0])
			}
		}
	}
}
