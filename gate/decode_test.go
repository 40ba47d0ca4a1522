package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	state := contest(rollout.ModeCanary, everyGate()...)
	for range 5 {
		var c Checkpoint
		for range 3 {
			c.Absorb(state, someCounts(random), 3*time.Second)
		}
		for range 5 {
			c.Seen.Put(random.Uint64())
			c.Lost.Put(random.Uint64())
		}
		c.Bad, c.Cohorts = []Keys{{}, c.Seen}, [][]string{{"eu", "us"}, nil}
		back := new(Checkpoint)
		if err := json.Unmarshal(written(t, &c), back); err != nil {
			t.Fatal(err)
		}
		if got, want := written(t, back), written(t, &c); !bytes.Equal(got, want) {
			t.Fatalf("wrote\n%s\nand, when read,\n%s", want, got)
		}
		if got, want := back.Judge(state, true), c.Judge(state, true); !reflect.DeepEqual(got, want) {
			t.Fatalf("the verdict was\n%+v\nand is\n%+v", want, got)
		}
		// It goes on alike, too.
		delta := someCounts(random)
		c.Absorb(state, delta, time.Second)
		back.Absorb(state, delta, time.Second)
		if got, want := back.Judge(state, true), c.Judge(state, true); !reflect.DeepEqual(got, want) {
			t.Fatalf("the next verdict is\n%+v\nof the copy\n%+v", want, got)
		}
	}
}

func written(t *testing.T, x any) []byte {
	t.Helper()
	text, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestDamageIsRefused(t *testing.T) {
	for _, text := range []string{
		`{"series":{"0":null}}`,
		`{"series":{"-1":{}}}`,
		`{"series":{"x":{}}}`,
		`{"series":{"0":{"shares":[2,-1]}}}`,
		`{"series":{"0":{"shares":[0.5]}}}`,
		`{"series":{"0":{"pools":[{"limit":1}]}}}`,
		`{"series":{"0":{"pools":[{"limit":0.5,"bad":-1}]}}}`,
		`{"counts":{"steps":{"1":null}}}`,
		`{"counts":{"steps":{"1":{"cells":{"0":null}}}}}`,
		`{"counts":{"steps":{"1":{"cells":{"0":{"champion_bad":1}}}}}}`,
		`{"counts":{"steps":{"1":{"cells":{"0":{"pairs":9223372036854775807,"challenger_only":9223372036854775807,"both":1}}}}}}`,
		`{"counts":{"steps":{"1":{"cells":{"0":{"scores":{"champion":{}}}}}}}}`,
		`{"counts":{"steps":{"1":{"cells":{"0":{"scores":{"champion":{"positive":{"99999999999":1}},"challenger":{}}}}}}}}`,
		`{"counts":{"steps":{"1":{"cells":{"0":{"scores":{"champion":{"zero":-1},"challenger":{}}}}}}}}`,
		`{"counts":{"keys":{"100":{"champion":-1}}}}`,
		`{"seen":"!"}`,
		`{"seen":"AAAA"}`,
	} {
		if err := json.Unmarshal([]byte(text), new(Checkpoint)); err == nil {
			t.Errorf("%s is taken for a checkpoint", text)
		}
	}
	if err := json.Unmarshal([]byte(`{"series":{"0":null}}`), new(Checkpoint)); !errors.Is(err, errImpossible) {
		t.Error(err)
	}
}

// Whatever can be read can be judged and gone on from.
func FuzzCheckpoint(f *testing.F) {
	state := contest(rollout.ModeCanary, everyGate()...)
	f.Add([]byte(`{"rollout":7,"counts":{"steps":{"1":{"index":0,"mode":"canary","weight":1000,"slow":1,"cells":{"0":{"champion":9,"challenger":1,"challenger_bad":1},
		"3":{"pairs":9,"challenger_only":1},"4":{"shift":{"n":1,"sum":1,"squares":1}},"5 a=b":{"scores":{"champion":{"zero":1},"challenger":{"positive":{"1":1}}}}}}},
		"keys":{"1000":{"champion":9}}},"series":{"0":{"log_e":1},"3":{"log_e":0,"pools":[{"limit":0.02,"bad":1,"good":8}]}},"seen":"","lost":""}`))
	f.Add([]byte(`{"series":{"0":{"log_e":1e308,"shares":[1,0]},"7 a=b":{}},"bad":["",""],"void":true}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Checkpoint
		if json.Unmarshal(text, &c) != nil {
			return
		}
		allFinite(t, c.Judge(state, true))
		c.Absorb(state, Counts{}, time.Second)
		written(t, &c)
	})
}

func FuzzSketch(f *testing.F) {
	s := newSketch()
	for _, v := range []float64{-1e300, -1, 0, 1e-300, 0.5, 1e300} {
		s.observe(v)
	}
	text, _ := json.Marshal(s)
	f.Add(text)
	f.Add([]byte(`{"positive":{"1":9223372036854775807},"zero":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Sketch
		if json.Unmarshal(text, &s) != nil {
			return
		}
		d := (&Scores{Champion: &s, Challenger: &s}).compare()
		if d.PSI != 0 || math.Abs(d.JensenShannon) > 1e-9 || d.Wasserstein > 1e-9 {
			t.Errorf("%s is %+v from itself", text, d)
		}
	})
}
