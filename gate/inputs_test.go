package gate

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/understudy-serving/understudy/rollout"
)

// watching is a rollout in canary that watches so many features.
func watching(features int, weight rollout.Weight) rollout.State {
	return rollout.State{Mode: rollout.ModeCanary, Weight: weight, Entered: 7,
		Rules: rollout.Rules{Inputs: []rollout.WatchedInput{{Name: "x", Features: features, Hold: true}}}}
}

// sighting is of a key in canary.
func sighting(arm rollout.Arm, key uint64, values ...float64) (rollout.Sighting, uint64) {
	return rollout.Sighting{Keyed: true, Mode: rollout.ModeCanary, Entered: 7, Arm: arm, Values: values}, key
}

func TestInputsOfOneStreamStayQuiet(t *testing.T) {
	const runs = 60 // docs/inputs.md has the figures of 20,000
	alarms := 0
	for run := range runs {
		r := rand.New(rand.NewPCG(1, uint64(run)))
		s := watching(4, 500)
		in := (*Inputs)(nil).For(4)
		in.Enter(s.Entered)
		alarmed := false
		for n := range 4000 {
			arm := rollout.Champion
			if r.Float64() < 0.05 {
				arm = rollout.Challenger
			}
			// A normal one, a heavy-tailed one, a rare flag, and one of few values.
			in.See(sighting(arm, r.Uint64(), r.NormFloat64(), math.Exp(3*r.NormFloat64()), float64(r.IntN(50)/49), float64(r.IntN(4))))
			if n%50 == 49 { // somebody looks all the time
				for _, shift := range in.Shifts(s) {
					alarmed = alarmed || shift.Shifted
				}
			}
		}
		if alarmed {
			alarms++
		}
	}
	if alarms > 0 {
		t.Errorf("of %d rollouts without any difference %d were said to have one", runs, alarms)
	}
}

func TestASkewedKeyIsNamed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s := watching(3, 1000)
	in := (*Inputs)(nil).For(3)
	in.Enter(s.Entered)
	for range 3000 {
		amount, arm := r.ExpFloat64(), rollout.Champion
		if amount > 2 { // the key is the amount's
			arm = rollout.Challenger
		}
		in.See(sighting(arm, r.Uint64(), r.Float64(), r.Float64(), amount))
	}
	if s := in.Shifts(s); len(s) != 9 || s[5].Against != rollout.AgainstChampion || !s[5].Uneven() {
		t.Errorf("by requests: %+v", s)
	}
	for i, shift := range in.Shifts(s)[:3] {
		if want := i == 2; shift.Uneven() != want || shift.Holds() != want || shift.Feature != fmt.Sprintf("x[%d]", i) {
			t.Errorf("%+v: uneven %v", shift, !want)
		}
	}
}

// Before there is anything to say a step that must have alike inputs waits, and none else.
func TestTooFewInputs(t *testing.T) {
	s := watching(1, 1000)
	in := (*Inputs)(nil).For(1)
	in.Enter(s.Entered)
	see := func(arm rollout.Arm, from, n int, v float64) {
		for i := range n {
			in.See(sighting(arm, uint64(from+i), v+float64(i%2)))
		}
	}
	see(rollout.Champion, 0, learned-1, 0)
	if shift := in.Shifts(s)[0]; shift.Enough || !shift.Holds() {
		t.Errorf("before there are edges: %+v", shift)
	}
	see(rollout.Champion, 500, 300, 0)
	see(rollout.Challenger, 1000, leastInputs-1, 1000)
	shift := in.Shifts(s)[0]
	if shift.Enough || shift.Shifted || !shift.Holds() {
		t.Errorf("%+v", shift)
	}
	see(rollout.Challenger, 5000, 1, 1000)
	if shift = in.Shifts(s)[0]; !shift.Enough || !shift.Shifted || !shift.Holds() {
		t.Errorf("%+v", shift)
	}
	if against := in.Shifts(s)[2]; against.Against != rollout.AgainstShadow || against.Enough || against.Holds() {
		t.Errorf("without a rehearsal: %+v", against)
	}
	s.Weight = rollout.FullWeight
	if in.Shifts(s)[0].Holds() {
		t.Error("the challenger alone has nobody to differ from")
	}
}

// To have no value is a value, and one that nobody has says nothing.
func TestAnInputThatOneArmLacks(t *testing.T) {
	s := watching(2, 5000)
	in := (*Inputs)(nil).For(2)
	in.Enter(s.Entered)
	for i := range 1000 {
		arm, v := rollout.Champion+rollout.Arm(i%2), float64(i)
		if arm == rollout.Challenger {
			v = math.Inf(1)
		}
		in.See(sighting(arm, uint64(i), v, math.NaN()))
	}
	shifts := in.Shifts(s)
	if !shifts[0].Uneven() || shifts[1].Shifted || shifts[1].Enough {
		t.Errorf("%+v", shifts[:2])
	}
}

func TestAKeyCountsOnceAStep(t *testing.T) {
	in := (*Inputs)(nil).For(1)
	in.Enter(7)
	x, _ := sighting(rollout.Champion, 0, 1)
	want := func(what string, requests, keys int64) {
		t.Helper()
		if n, k := tally(in.Champion[0]), tally(in.ChampionByKey[0]); n != requests || k != keys {
			t.Errorf("%s: %d requests and %d keys, want %d and %d", what, n, k, requests, keys)
		}
	}
	for i := range uint64(2 * learned) {
		in.See(x, i/4)
	}
	want("four of a key", 2*learned, learned/2)
	x.Keyed = false
	in.See(x, 3)
	in.See(x, 3)
	want("two without a key", 2*learned+2, learned/2+2)
	if x.Entered = 6; in.See(x, 1<<19) {
		t.Error("a late one of the step before counts")
	}
	in.Enter(7)
	want("the same step, entered again", 2*learned+2, learned/2+2)
	in.Enter(8)
	x.Keyed, x.Entered = true, 8
	in.See(x, 3)
	want("the next step", 1, 1)
}

// A few keys that come often and go with an input are named, and are not taken for broken
// routing.
func TestAKeyThatGoesWithAnInput(t *testing.T) {
	s := watching(1, 5000)
	in := (*Inputs)(nil).For(1)
	in.Enter(s.Entered)
	for i := range 4000 {
		bucket := uint64(i % 10)
		arm := rollout.Champion
		if bucket*2654435761%97 < 48 {
			arm = rollout.Challenger
		}
		in.See(sighting(arm, bucket, float64(bucket)))
	}
	if shifts := in.Shifts(s); shifts[0].Shifted || shifts[0].Enough || !shifts[1].Uneven() {
		t.Errorf("%+v", shifts)
	}
}

func tally(counts []int64) (n int64) {
	for _, count := range counts {
		n += count
	}
	return n
}

func TestEdges(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		// apart are told apart, together are not.
		apart, together [][2]float64
	}{
		"few values":       {[]float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}, [][2]float64{{0, 1}, {0, -1}, {1, 2}}, nil},
		"always the same":  {slices.Repeat([]float64{7}, 40), [][2]float64{{7, 6.999}, {7, 7.001}}, nil},
		"far from 0":       {[]float64{1990, 1992, 1995, 1999, 2003, 2008, 2011, 2015, 2019, 2024}, [][2]float64{{1991, 2020}, {1999, 2003}}, [][2]float64{{1996, 1998}}},
		"none":             {nil, nil, [][2]float64{{1, 2}}},
		"fewer than parts": {[]float64{1, 2}, [][2]float64{{1, 2}}, nil},
	} {
		edges := edgesOf(c.values)
		same := func(pair [2]float64) bool {
			i, _ := slices.BinarySearch(edges, pair[0])
			j, _ := slices.BinarySearch(edges, pair[1])
			return i == j
		}
		for _, pair := range c.apart {
			if same(pair) {
				t.Errorf("%s: %v are one bin of %v", name, pair, edges)
			}
		}
		for _, pair := range c.together {
			if !same(pair) {
				t.Errorf("%s: %v are two bins of %v", name, pair, edges)
			}
		}
	}
}

// What shadow saw is the base of canary, over steps and restarts.
func TestTimeShifts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := watching(2, 5000)
	in := (*Inputs)(nil).For(2)
	in.Enter(5)
	for range 2000 {
		in.See(rollout.Sighting{Keyed: true, Mode: rollout.ModeShadow, Entered: 5, Values: []float64{r.NormFloat64(), r.NormFloat64()}}, r.Uint64())
	}
	in.Enter(s.Entered)
	for range 2000 {
		in.See(sighting(rollout.Champion+rollout.Arm(r.IntN(2)), r.Uint64(), r.NormFloat64(), 1+r.NormFloat64()))
	}
	text, err := json.Marshal(Checkpoint{Inputs: in})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(text))
	var stored Checkpoint
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	shifts := stored.Inputs.For(2).Shifts(s)
	if len(shifts) != 6 {
		t.Fatalf("%d shifts, %d bytes", len(shifts), len(text))
	}
	for i, shift := range shifts {
		if want := i == 5; shift.Shifted != want || shift.Uneven() || shift.Holds() {
			t.Errorf("%+v: shifted, want %v", shift, want)
		}
	}
	if fresh := stored.Inputs.For(3); fresh.Edges != nil || fresh.features != 3 {
		t.Error("inputs of other rules are gone on with")
	}
	if stored.Inputs.For(0) != nil || (*Inputs)(nil).Shifts(s) != nil {
		t.Error("none watched, and some there")
	}
	stored.Inputs.Shadow[0][0] = -1
	if fresh := stored.Inputs.For(2); fresh.Edges != nil {
		t.Error("damaged inputs are gone on with")
	}
}

// What an earlier version stored is read.
func TestEvidenceWithoutInputs(t *testing.T) {
	var c Checkpoint
	if err := json.Unmarshal([]byte(`{"rollout":1,"counts":{},"seen":"","lost":""}`), &c); err != nil || c.Inputs != nil {
		t.Errorf("%v, %+v", err, c.Inputs)
	}
}

func BenchmarkInputs(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	s := watching(16, 5000)
	in := (*Inputs)(nil).For(16)
	in.Enter(s.Entered)
	see := func() {
		values := make([]float64, 16)
		for i := range values {
			values[i] = r.NormFloat64()
		}
		in.See(sighting(rollout.Champion+rollout.Arm(r.IntN(2)), r.Uint64(), values...))
	}
	b.Run("see", func(b *testing.B) {
		for b.Loop() {
			see()
		}
	})
	for range 50_000 {
		see()
	}
	in.Shadow = in.Champion
	b.Run("shifts", func(b *testing.B) {
		for b.Loop() {
			in.Shifts(s)
		}
	})
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			text, _ := json.Marshal(in)
			b.SetBytes(int64(len(text)))
			b.ReportMetric(float64(len(text)), "bytes")
		}
	})
}
