package canary

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	oldrand "math/rand"
	"math/rand/v2"
	"os"
	"testing"
	"testing/quick"

	"github.com/understudy-serving/understudy/rollout"
)

var update = flag.Bool("update", false, "write the golden files anew")

// vector is one line of testdata/split.json. Bucket and Sample are below which weight
// the key goes to the challenger, and is sampled.
type vector struct {
	Model      string
	Challenger rollout.Spec
	Key        string
	Bucket     rollout.Weight
	Sample     rollout.Weight
}

var v2 = rollout.Spec{Target: "dns:///fraud-v2:8081", Model: "fraud", Version: "2"}

func TestGoldenVectors(t *testing.T) {
	const path = "testdata/split.json"
	if *update {
		writeVectors(t, path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 20 {
		t.Fatalf("%d vectors, want at least 20", len(vectors))
	}
	for _, v := range vectors {
		if got := Pick(v.Model, v.Challenger, v.Key, v.Bucket); got != rollout.Champion {
			t.Errorf("%+v: at its own bucket: %s", v, got)
		}
		if got := Pick(v.Model, v.Challenger, v.Key, v.Bucket+1); got != rollout.Challenger {
			t.Errorf("%+v: just above its bucket: %s", v, got)
		}
		if Sampled(v.Model, v.Challenger, v.Key, v.Sample) || !Sampled(v.Model, v.Challenger, v.Key, v.Sample+1) {
			t.Errorf("%+v: not sampled from its place on", v)
		}
	}
}

func writeVectors(t *testing.T, path string) {
	t.Helper()
	var vectors []vector
	specs := []rollout.Spec{v2, {Target: "dns:///fraud-v3:8081", Model: "fraud"}, {}}
	for _, key := range []string{"", "0", "user-1", "user-2", "ключ", "a\x00b", "01890a5d-ac96-774b-bcce-b302099a8057",
		"a key of more than thirty-two bytes, so that the long path is taken"} {
		for _, s := range specs {
			v := vector{Model: "fraud", Challenger: s, Key: key}
			v.Bucket, v.Sample = bucket(splitSeed, v.Model, s, key), bucket(sampleSeed, v.Model, s, key)
			vectors = append(vectors, v)
		}
	}
	raw, err := json.MarshalIndent(vectors, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(raw, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheEndsAreExact(t *testing.T) {
	for i := range 50_000 {
		key := fmt.Sprint(i)
		if Pick("m", v2, key, 0) != rollout.Champion || Sampled("m", v2, key, 0) {
			t.Fatalf("key %s is taken at 0%%", key)
		}
		if Pick("m", v2, key, rollout.FullWeight) != rollout.Challenger || !Sampled("m", v2, key, rollout.FullWeight) {
			t.Fatalf("key %s is not taken at 100%%", key)
		}
	}
}

func TestRaisingTheWeightOnlyAddsKeys(t *testing.T) {
	holds := func(model, key string, a, b uint16) bool {
		low, high := rollout.Weight(min(a, b)%10_001), rollout.Weight(max(a, b)%10_001)
		if low > high {
			low, high = high, low
		}
		return (Pick(model, v2, key, low) == rollout.Champion || Pick(model, v2, key, high) == rollout.Challenger) &&
			(!Sampled(model, v2, key, low) || Sampled(model, v2, key, high))
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 20_000, Rand: oldrand.New(oldrand.NewSource(1))}); err != nil {
		t.Fatal(err)
	}
}

// TestShares holds each weight's share against the binomial's 99.99 % interval.
func TestShares(t *testing.T) {
	const n = 200_000
	random := rand.New(rand.NewPCG(1, 2))
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("user-%d", random.Uint64())
	}
	for _, w := range []rollout.Weight{1, 100, 500, 2500, 5000, 9900} {
		var picked, sampled float64
		for _, k := range keys {
			if Pick("fraud", v2, k, w) == rollout.Challenger {
				picked++
			}
			if Sampled("fraud", v2, k, w) {
				sampled++
			}
		}
		p := float64(w) / float64(rollout.FullWeight)
		within := 3.9*math.Sqrt(n*p*(1-p)) + 1
		if math.Abs(picked-n*p) > within || math.Abs(sampled-n*p) > within {
			t.Errorf("weight %s: picked %v, sampled %v of %d: want %.0f ± %.0f", w, picked, sampled, n, n*p, within)
		}
	}
}

// TestSamplingIsIndependentOfTheSplit: of the keys that a 50 % canary takes, half are in
// a 50 % sample; with one hash for both it would be all or none.
func TestSamplingIsIndependentOfTheSplit(t *testing.T) {
	const n, half = 20_000, rollout.FullWeight / 2
	var both, challenger float64
	for i := range n {
		key := fmt.Sprint("user-", i)
		if Pick("fraud", v2, key, half) == rollout.Challenger {
			challenger++
			if Sampled("fraud", v2, key, half) {
				both++
			}
		}
	}
	if share := both / challenger; math.Abs(share-0.5) > 0.02 {
		t.Errorf("%.3f of the canary's keys are sampled, want 0.5", share)
	}
}

func TestAnotherChallengerGetsOtherKeys(t *testing.T) {
	const n, w = 20_000, rollout.FullWeight / 2
	v3 := v2
	v3.Version = "3"
	var same float64
	for i := range n {
		key := fmt.Sprint("user-", i)
		if Pick("fraud", v2, key, w) == Pick("fraud", v3, key, w) {
			same++
		}
	}
	if share := same / n; math.Abs(share-0.5) > 0.02 {
		t.Errorf("%.3f of the keys stay on their arm, want 0.5", share)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() { Pick("fraud", v2, "user-12345678", 500) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPick(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Pick("fraud", v2, "01890a5d-ac96-774b-bcce-b302099a8057", 500)
	}
}
