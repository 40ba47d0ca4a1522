package shadow

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/understudy-serving/understudy/rollout"
)

func TestCompareClasses(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	cases := map[string]struct {
		datatype        string
		shape           []int64
		a, b            any
		rows, differing uint64
		classA, classB  string
	}{
		"one row":                   {"FP32", []int64{3}, []float64{1, 2, 0}, []float64{2, 1, 0}, 1, 1, "1", "0"},
		"other scores, same class":  {"FP32", []int64{1, 3}, []float64{1, 2, 0}, []float64{0, 9, 8}, 1, 0, "1", "1"},
		"the first of equals":       {"FP32", []int64{1, 3}, []float64{1, 2, 2}, []float64{2, 2, 2}, 1, 1, "1", "0"},
		"rows":                      {"FP64", []int64{3, 2}, []float64{0, 1, 1, 0, 5, 4}, []float64{0, 1, 0, 1, 4, 5}, 3, 2, "1", "1"},
		"rows in three dimensions":  {"FP64", []int64{2, 1, 2}, []float64{0, 1, 1, 0}, []float64{1, 0, 1, 0}, 2, 1, "1", "0"},
		"NaN never wins":            {"FP32", []int64{1, 3}, []float64{nan, 1, 2}, []float64{2, nan, 3}, 1, 0, "2", "2"},
		"NaN behind the highest":    {"FP32", []int64{1, 2}, []float64{1, nan}, []float64{nan, 1}, 1, 1, "0", "1"},
		"nothing but NaN":           {"FP32", []int64{2, 2}, []float64{nan, nan, nan, nan}, []float64{nan, nan, 0, nan}, 2, 1, "none", "none"},
		"no class and class 0":      {"FP32", []int64{1, 2}, []float64{nan, nan}, []float64{0, nan}, 1, 1, "none", "0"},
		"infinity wins":             {"FP32", []int64{1, 3}, []float64{-inf, 1, inf}, []float64{-inf, -inf, -inf}, 1, 1, "2", "0"},
		"below zero":                {"FP32", []int64{1, 3}, []float64{-3, -1, -2}, []float64{-3, -2, -1}, 1, 1, "1", "2"},
		"−0 and 0 are equal":        {"FP32", []int64{1, 2}, []float64{math.Copysign(0, -1), 0}, []float64{0, math.Copysign(0, -1)}, 1, 0, "0", "0"},
		"halves":                    {"FP16", []int64{1, 3}, []float64{0.25, 2, 1}, []float64{0.25, 1, 2}, 1, 1, "1", "2"},
		"scores as large integers":  {"INT64", []int64{1, 2}, []int64{1 << 60, 1<<60 + 1}, []int64{1<<60 + 1, 1 << 60}, 1, 1, "1", "0"},
		"scores as UINT64":          {"UINT64", []int64{1, 2}, []uint64{math.MaxUint64 - 1, math.MaxUint64}, []uint64{2, 1}, 1, 1, "1", "0"},
		"scores as UINT8":           {"UINT8", []int64{2, 2}, []uint64{1, 200, 0, 1}, []uint64{1, 100, 0, 1}, 2, 0, "1", "1"},
		"labels as integers":        {"INT64", []int64{3}, []int64{1<<60 + 1, 2, 3}, []int64{1 << 60, 2, 3}, 3, 1, "1152921504606846977", "1152921504606846976"},
		"labels as UINT64":          {"UINT64", []int64{2}, []uint64{math.MaxUint64, 2}, []uint64{math.MaxUint64, 2}, 2, 0, "18446744073709551615", "18446744073709551615"},
		"labels as booleans":        {"BOOL", []int64{2}, []bool{true, false}, []bool{false, false}, 2, 1, "true", "false"},
		"labels in one column":      {"INT32", []int64{2, 1}, []int64{7, 8}, []int64{7, 9}, 2, 1, "7", "7"},
		"labels as floats":          {"FP32", []int64{2, 1}, []float64{0.1, 1}, []float64{0.1, 2}, 2, 1, "0.1", "0.1"},
		"a float, nothing else":     {"FP64", []int64{1}, []float64{0.1}, []float64{1e300}, 1, 1, "0.1", "1e+300"},
		"labels that are NaN":       {"FP32", []int64{1, 1}, []float64{nan}, []float64{nan}, 1, 0, "NaN", "NaN"},
		"a scalar":                  {"INT8", []int64{}, []int64{-5}, []int64{5}, 1, 1, "-5", "5"},
		"labels as texts":           {"BYTES", []int64{2, 2}, []string{"cat", "dog", "", "x"}, []string{"cow", "dog", "", "y"}, 4, 2, "cat", "cow"},
		"an empty text":             {"BYTES", []int64{1}, []string{""}, []string{""}, 1, 0, "", ""},
		"no rows":                   {"FP32", []int64{0, 3}, []float64{}, []float64{}, 0, 0, "", ""},
		"rows without classes":      {"FP32", []int64{3, 0}, []float64{}, []float64{}, 0, 0, "", ""},
		"no labels":                 {"INT64", []int64{0}, []int64{}, []int64{}, 0, 0, "", ""},
		"no texts":                  {"BYTES", []int64{0}, []string{}, []string{}, 0, 0, "", ""},
		"scores as booleans in 2-D": {"BOOL", []int64{1, 2}, []bool{false, true}, []bool{true, true}, 1, 1, "1", "0"},
	}
	for what, c := range cases {
		got := compareOne(t, rollout.CompareRule{Kind: rollout.CompareClass},
			compareOut{datatype: c.datatype, shape: c.shape, values: c.a}, compareOut{datatype: c.datatype, shape: c.shape, values: c.b})
		want := rollout.OutputComparison{Output: "y", Kind: rollout.CompareClass, Agree: c.differing == 0, Elements: c.rows, Differing: c.differing,
			ChampionClass: c.classA, ChallengerClass: c.classB}
		if c.differing > 0 {
			want.Finding = rollout.DiffersInValues
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
}

// Labels go into records, which are protobuf: valid UTF-8, and not a whole document.
func TestCompareLabelsAreFitForRecords(t *testing.T) {
	for what, label := range map[string]string{"binary": "\xff\xfe", "long": strings.Repeat("é", 500), "cut in a rune": "a" + strings.Repeat("é", 500)} {
		o := compareOut{datatype: "BYTES", shape: []int64{1}, values: []string{label}}
		got := compareOne(t, rollout.CompareRule{Kind: rollout.CompareClass}, o, o)
		if s := got.ChampionClass; !utf8.ValidString(s) || s == "" || len(s) > maxLabel+2 || s != got.ChallengerClass {
			t.Errorf("%s label: %q", what, s)
		}
	}
}

// Rows may end anywhere within a block, or be longer than one.
func TestCompareRowsOfEveryLength(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	top := func(row []float64) int {
		best := 0
		for i, v := range row {
			if v > row[best] {
				best = i
			}
		}
		return best
	}
	for _, classes := range []int{2, 3, 7, compareBlock - 1, compareBlock, compareBlock + 1, 3*compareBlock + 5} {
		rows := 1 + 2000/classes
		a, b := make([]float64, rows*classes), make([]float64, rows*classes)
		for i := range a {
			a[i], b[i] = float64(rng.IntN(50)), float64(rng.IntN(50))
		}
		var differing uint64
		for r := range rows {
			if r%2 == 0 {
				copy(b[r*classes:(r+1)*classes], a[r*classes:(r+1)*classes])
			}
			if top(a[r*classes:(r+1)*classes]) != top(b[r*classes:(r+1)*classes]) {
				differing++
			}
		}
		shape := []int64{int64(rows), int64(classes)}
		got := compareOne(t, rollout.CompareRule{Kind: rollout.CompareClass},
			compareOut{datatype: "FP32", shape: shape, values: a}, compareOut{datatype: "FP32", shape: shape, values: b, typed: true})
		if got.Elements != uint64(rows) || got.Differing != differing || got.ChampionClass != strconv.Itoa(top(a[:classes])) {
			t.Errorf("%d rows of %d: %+v, want %d differing and class %d", rows, classes, got, differing, top(a[:classes]))
		}
		x := compareOut{datatype: "FP32", shape: shape, values: a}
		if same := compareOne(t, rollout.CompareRule{Kind: rollout.CompareClass}, x, x); same.Elements != uint64(rows) || same.Differing != 0 ||
			same.ChampionClass != got.ChampionClass || same.ChallengerClass != got.ChampionClass {
			t.Errorf("%d rows of %d, twice the same: %+v, want none differing and class %s", rows, classes, same, got.ChampionClass)
		}
	}
}
