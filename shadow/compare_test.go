package shadow

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/understudy-serving/understudy/rollout"
)

// compareCases has two tensors for each datatype, which differ in the second of three
// elements, by diff.
var compareCases = []struct {
	datatype       string
	a, b           any
	diff           float64
	classA, classB string // of the whole, as one row or as the first of three labels
}{
	{"BOOL", []bool{true, true, false}, []bool{true, false, false}, 1, "true", "true"},
	{"INT8", []int64{1, -128, 3}, []int64{1, 127, 3}, 255, "1", "1"},
	{"INT16", []int64{1, 300, 3}, []int64{1, -2, 3}, 302, "1", "1"},
	{"INT32", []int64{1, math.MinInt32, 3}, []int64{1, math.MaxInt32, 3}, 1<<32 - 1, "1", "1"},
	{"INT64", []int64{1, math.MinInt64, 3}, []int64{1, math.MaxInt64, 3}, 1<<64 - 1, "1", "1"},
	{"UINT8", []uint64{1, 0, 3}, []uint64{1, 255, 3}, 255, "1", "1"},
	{"UINT16", []uint64{1, 2, 3}, []uint64{1, 65535, 3}, 65533, "1", "1"},
	{"UINT32", []uint64{1, 2, 3}, []uint64{1, 1<<32 - 1, 3}, 1<<32 - 3, "1", "1"},
	{"UINT64", []uint64{1, 1<<60 + 1, 3}, []uint64{1, 1 << 60, 3}, 1, "1", "1"},
	{"FP16", []float64{0.25, 0.5, 1}, []float64{0.25, 2, 1}, 1.5, "2", "1"},
	{"BF16", []float64{0.25, 0.5, 1}, []float64{0.25, 2, 1}, 1.5, "2", "1"},
	{"FP32", []float64{0.25, 0.5, 1}, []float64{0.25, 2, 1}, 1.5, "2", "1"},
	{"FP64", []float64{0.25, 0.5, 1}, []float64{0.25, 2, 1}, 1.5, "2", "1"},
	{"BYTES", []string{"cat", "dog", ""}, []string{"cat", "do", ""}, 0, "cat", "cat"},
}

func TestCompareEveryDatatypeLayoutAndKind(t *testing.T) {
	for _, c := range compareCases {
		layouts := []bool{false, true}
		if c.datatype == "FP16" || c.datatype == "BF16" {
			layouts = layouts[:1]
		}
		for _, typedA := range layouts {
			for _, typedB := range layouts {
				a := compareOut{datatype: c.datatype, shape: []int64{3}, values: c.a, typed: typedA}
				same := compareOut{datatype: c.datatype, shape: []int64{3}, values: c.a, typed: typedB}
				b := compareOut{datatype: c.datatype, shape: []int64{3}, values: c.b, typed: typedB}
				for _, kind := range []rollout.CompareKind{rollout.CompareExact, rollout.CompareScore, rollout.CompareClass} {
					if kind == rollout.CompareScore && c.datatype == "BYTES" {
						continue
					}
					want := rollout.OutputComparison{Output: "y", Kind: kind, Agree: true, Elements: 3}
					rows := strings.HasPrefix(c.datatype, "FP") || c.datatype == "BF16"
					if kind == rollout.CompareClass {
						want.ChampionClass, want.ChallengerClass = c.classA, c.classA
						if rows {
							want.Elements = 1
						}
					}
					got := compareOne(t, rollout.CompareRule{Kind: kind}, a, same)
					got.Scores = nil
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%s %s, typed %v and %v: %+v, want %+v", c.datatype, kind, typedA, typedB, got, want)
					}
					want.Agree, want.Finding, want.Differing = false, rollout.DiffersInValues, 1
					switch kind {
					case rollout.CompareScore:
						want.MaxAbsDiff, want.MeanAbsDiff = c.diff, c.diff/3
					case rollout.CompareClass:
						want.ChallengerClass = c.classB
					}
					got = compareOne(t, rollout.CompareRule{Kind: kind}, a, b)
					got.Scores = nil
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%s %s, typed %v and %v: %+v, want %+v", c.datatype, kind, typedA, typedB, got, want)
					}
				}
			}
		}
	}
}

func TestCompareFindings(t *testing.T) {
	fp32 := func(name string, v ...float64) compareOut {
		return compareOut{name: name, datatype: "FP32", shape: []int64{int64(len(v))}, values: v}
	}
	text := func(name string, v ...string) compareOut {
		return compareOut{name: name, datatype: "BYTES", shape: []int64{int64(len(v))}, values: v}
	}
	short := compareOut{name: "y", datatype: "FP32", shape: []int64{3}, values: []float64{1}}
	odd := compareOut{name: "y", datatype: "FP8", shape: []int64{1}, values: []uint64{1}}
	reshaped := compareOut{name: "y", datatype: "FP32", shape: []int64{1, 1}, values: []float64{1}}
	cases := map[string]struct {
		kind rollout.CompareKind
		a, b []compareOut
		want string // kind:finding of each output
	}{
		"nothing at all":            {"", nil, nil, ""},
		"missing":                   {"", []compareOut{fp32("y", 1), fp32("z", 1)}, []compareOut{fp32("z", 1)}, "y score:missing z score:"},
		"unexpected":                {"", []compareOut{fp32("z", 1)}, []compareOut{text("y", "a"), fp32("z", 1)}, "z score: y exact:unexpected"},
		"all missing":               {"exact", []compareOut{fp32("y", 1)}, nil, "y exact:missing"},
		"another shape":             {"", []compareOut{fp32("y", 1)}, []compareOut{reshaped}, "y score:shape"},
		"another length":            {"class", []compareOut{fp32("y", 1, 2)}, []compareOut{fp32("y", 1)}, "y class:shape"},
		"another datatype":          {"exact", []compareOut{fp32("y", 1)}, []compareOut{text("y", "1")}, "y exact:datatype"},
		"datatype and shape":        {"", []compareOut{fp32("y", 1)}, []compareOut{text("y")}, "y score:datatype"},
		"malformed champion":        {"", []compareOut{short}, []compareOut{fp32("y", 1)}, "y score:malformed"},
		"malformed challenger":      {"", []compareOut{fp32("y", 1), fp32("z", 1)}, []compareOut{short, fp32("z", 1)}, "y score:malformed z score:"},
		"malformed beats datatype":  {"", []compareOut{text("y", "1")}, []compareOut{short}, "y exact:malformed"},
		"unknown datatype":          {"", []compareOut{odd}, []compareOut{odd}, "y exact:datatype_unsupported"},
		"unknown datatype of one":   {"", []compareOut{odd}, []compareOut{fp32("y", 1)}, "y exact:datatype"},
		"score of BYTES":            {"score", []compareOut{text("y", "1")}, []compareOut{text("y", "1")}, "y score:datatype_unsupported"},
		"ignored":                   {"ignore", []compareOut{fp32("y", 1)}, []compareOut{fp32("y", 2)}, ""},
		"ignored and malformed":     {"ignore", []compareOut{short, fp32("z", 1)}, []compareOut{fp32("z", 1)}, "z score:"},
		"ignored and unexpected":    {"ignore", nil, []compareOut{fp32("y", 2)}, ""},
		"twice in the champion":     {"", []compareOut{fp32("y", 1), fp32("y", 1)}, []compareOut{fp32("y", 1)}, "y score:malformed"},
		"twice in the challenger":   {"", []compareOut{fp32("y", 1)}, []compareOut{fp32("y", 1), fp32("y", 1)}, "y score:malformed"},
		"twice and unexpected":      {"", nil, []compareOut{fp32("y", 1), fp32("y", 1)}, "y score:malformed"},
		"in another order":          {"", []compareOut{fp32("y", 1), fp32("z", 2)}, []compareOut{fp32("z", 2), fp32("y", 1)}, "y score: z score:"},
		"the empty name is a name":  {"", []compareOut{fp32("", 1)}, []compareOut{fp32("", 1)}, " score:"},
		"values of one of two only": {"exact", []compareOut{fp32("y", 1), fp32("z", 2)}, []compareOut{fp32("y", 1.5), fp32("z", 2)}, "y exact:values z score:"},
	}
	for what, c := range cases {
		var rules []rollout.CompareRule
		if c.kind != "" {
			rules = append(rules, rollout.CompareRule{Output: "y", Kind: c.kind})
		}
		got := newComparer(t, rules...).Compare(compareResponse(t, c.a...), compareResponse(t, c.b...))
		var words []string
		agree := true
		for _, o := range got.Outputs {
			words = append(words, o.Output+" "+string(o.Kind)+":"+string(o.Finding))
			agree = agree && o.Agree
		}
		if s := strings.Join(words, " "); s != c.want || got.Error != "" || got.Agree != agree {
			t.Errorf("%s: %q (agree %v, error %q), want %q", what, s, got.Agree, got.Error, c.want)
		}
	}
}

func TestCompareUnreadableResponses(t *testing.T) {
	good := compareResponse(t, compareOut{name: "y", datatype: "INT8", shape: []int64{1}, values: []int64{1}})
	bad := rollout.NewPayload([][]byte{[]byte("\x2a\x05ab")}, nil)
	c := newComparer(t)
	for arm, got := range map[string]*rollout.Comparison{"champion": c.Compare(bad, good), "challenger": c.Compare(good, bad)} {
		if got.Agree || len(got.Outputs) != 0 || !strings.HasPrefix(got.Error, arm+": malformed message") {
			t.Errorf("%s unreadable: %+v", arm, got)
		}
	}
	empty := rollout.NewPayload(nil, nil)
	if got := c.Compare(empty, empty); !got.Agree || got.Error != "" {
		t.Errorf("two empty responses: %+v", got)
	}
}

func TestCompareDefaultRules(t *testing.T) {
	a := compareResponse(t,
		compareOut{name: "f", datatype: "FP64", shape: []int64{2}, values: []float64{1e6, 0}},
		compareOut{name: "i", datatype: "INT8", shape: []int64{1}, values: []int64{1}})
	near := compareResponse(t,
		compareOut{name: "f", datatype: "FP64", shape: []int64{2}, values: []float64{1e6 + 0.9, 0.9e-6}},
		compareOut{name: "i", datatype: "INT8", shape: []int64{1}, values: []int64{1}})
	far := compareResponse(t,
		compareOut{name: "f", datatype: "FP64", shape: []int64{2}, values: []float64{1e6 + 1.1, 1.1e-6}},
		compareOut{name: "i", datatype: "INT8", shape: []int64{1}, values: []int64{2}})
	c := newComparer(t)
	if got := c.Compare(a, near); !got.Agree || got.Outputs[0].Kind != rollout.CompareScore || got.Outputs[1].Kind != rollout.CompareExact {
		t.Errorf("within the default tolerance: %+v", got)
	}
	if got := c.Compare(a, far); got.Agree || got.Outputs[0].Differing != 2 || got.Outputs[1].Differing != 1 {
		t.Errorf("beyond the default tolerance: %+v", got)
	}
}

func TestCompareRulesAreChecked(t *testing.T) {
	rule := func(output string, kind rollout.CompareKind, atol, rtol float64) rollout.CompareRule {
		return rollout.CompareRule{Output: output, Kind: kind, ATol: atol, RTol: rtol}
	}
	cases := map[string]struct {
		rules []rollout.CompareRule
		says  string
	}{
		"no output":           {[]rollout.CompareRule{rule("", "score", 0, 0)}, "rule 0: output is empty"},
		"no kind":             {[]rollout.CompareRule{rule("y", "", 0, 0)}, `kind "": want one of`},
		"kind not built":      {[]rollout.CompareRule{rule("y", "embedding", 0, 0)}, `kind "embedding"`},
		"tolerance of exact":  {[]rollout.CompareRule{rule("y", "exact", 1, 0)}, "only a score has tolerances"},
		"tolerance of class":  {[]rollout.CompareRule{rule("y", "class", 0, 1)}, "only a score has tolerances"},
		"negative tolerance":  {[]rollout.CompareRule{rule("y", "score", -1, 0)}, "atol -1"},
		"tolerance is NaN":    {[]rollout.CompareRule{rule("y", "score", 0, math.NaN())}, "rtol NaN"},
		"infinite tolerance":  {[]rollout.CompareRule{rule("y", "score", math.Inf(1), 0)}, "atol +Inf"},
		"two rules an output": {[]rollout.CompareRule{rule("y", "score", 0, 0), rule("y", "exact", 0, 0)}, `rule 1: output "y" has one already`},
	}
	for what, c := range cases {
		if _, err := NewComparer(c.rules); !errors.Is(err, ErrCompareRule) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want ErrCompareRule that says %q", what, err, c.says)
		}
	}
}

// A comparison outlives the payloads, whose memory is used again, and a comparer serves
// several goroutines.
func TestCompareKeepsNothing(t *testing.T) {
	c := newComparer(t, rollout.CompareRule{Output: "label", Kind: rollout.CompareClass})
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			a := compareResponse(t, compareOut{name: "label", datatype: "BYTES", shape: []int64{1}, values: []string{"cat"}})
			b := compareResponse(t, compareOut{name: "label", datatype: "BYTES", shape: []int64{1}, values: []string{"dog"}})
			got := c.Compare(a, b)
			clear(a.Bytes())
			clear(b.Bytes())
			if o := got.Outputs[0]; o.Output != "label" || o.ChampionClass != "cat" || o.ChallengerClass != "dog" || o.Agree {
				t.Errorf("after the payloads are gone: %+v", o)
			}
		})
	}
	done.Wait()
}
