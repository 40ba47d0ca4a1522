package gate

import (
	"encoding/json"
	"math"
	"os"
	"testing"
	"time"
)

// arms is what testdata/reference.py worked out of a cell.
type arms struct {
	Paired     bool
	W, Margin  float64
	Cell       Cell
	Fail, Pass float64
}

// reference is testdata/reference.json.
type reference struct {
	Ratio, Difference []arms
	Limit             []struct {
		Bad, Good, Limit, Above, Below, Alpha, Low, High float64
	}
	Shift []struct {
		Values                   []float64
		Limit, Range, Fail, Pass float64
	}
	Mismatch []struct {
		Fall
		W, E float64
	}
	Drift []struct {
		Rows                       [][3]float64
		PSI, Expected, Wasserstein float64
		JensenShannon              float64 `json:"jensen_shannon"`
	}
	Wilson []struct {
		Bad, N       int64
		Z, Low, High float64
	}
	Sharing []struct {
		W       float64
		Seconds [][2]int64
		LogE    float64 `json:"log_e"`
	}
}

func readReference(t *testing.T) (r reference) {
	t.Helper()
	f, err := os.Open("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields() // what has no place here would not be tested
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// wealth is ln of what bets against the challenger make of a first cell.
func wealth(m method, at place, c *Cell) float64 {
	var x Mixture
	x.grow(m.gains(at, c))
	return x.LogE
}

// agree tells of numbers that differ by more than a part of 1 + the wanted one.
func agree(t *testing.T, what string, got, want, part float64) {
	t.Helper()
	if !near(got, want, part) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestRatesByReference(t *testing.T) {
	r := readReference(t)
	test := func(x arms, m method) {
		at := place{x.Paired, x.W}
		what, _ := json.Marshal(x)
		agree(t, "fail of "+string(what), wealth(m, at, &x.Cell), x.Fail, 1e-9)
		agree(t, "pass of "+string(what), m.pass(at, &x.Cell), x.Pass, 1e-9)
	}
	for _, x := range r.Ratio {
		test(x, ratio{x.Margin})
	}
	for _, x := range r.Difference {
		test(x, difference{x.Margin})
	}
}

func TestLimitByReference(t *testing.T) {
	for _, x := range readReference(t).Limit {
		// The logarithms of large gamma functions cancel: 1e-15 of about n·ln n is lost.
		n := x.Bad + x.Good
		part := 1e-9 + 1e-15*n*math.Log(n)
		agree(t, "above", limit{x.Limit}.above(x.Bad, x.Good), x.Above, part)
		agree(t, "below", limit{x.Limit}.below(x.Bad, x.Good), x.Below, part)
		if x.Alpha > 0 {
			low, high := robbins(x.Bad, x.Good, x.Alpha)
			agree(t, "low", low, x.Low, 1e-9)
			agree(t, "high", high, x.High, 1e-9)
		}
	}
	if low, high := robbins(10, 990, 0.05); percent(low) != "0.208%" || percent(high) != "2.79%" {
		t.Errorf("10 of 1,000: %s to %s", percent(low), percent(high))
	}
}

func TestShiftByReference(t *testing.T) {
	for _, x := range readReference(t).Shift {
		var c Cell
		for _, d := range x.Values {
			c.Shift.Observe(d, x.Range)
		}
		m := shift{x.Limit, x.Range}
		agree(t, "fail", wealth(m, place{}, &c), x.Fail, 1e-9)
		agree(t, "pass", m.pass(place{}, &c), x.Pass, 1e-9)
	}
}

func TestSplitByReference(t *testing.T) {
	for _, x := range readReference(t).Mismatch {
		agree(t, "ln E", mismatch(x.Fall, x.W), x.E, 1e-9)
	}
}

func TestDriftByReference(t *testing.T) {
	for _, x := range readReference(t).Drift {
		scores := observed(x.Rows...)
		d := scores.compare()
		agree(t, "PSI", d.PSI, x.PSI, 1e-9)
		agree(t, "expected PSI", d.Expected, x.Expected, 1e-9)
		agree(t, "Jensen-Shannon", d.JensenShannon, x.JensenShannon, 1e-9)
		agree(t, "Wasserstein", d.Wasserstein, x.Wasserstein, 1e-9)
	}
}

func TestWilsonByReference(t *testing.T) {
	for _, x := range readReference(t).Wilson {
		low, high := Wilson(x.Bad, x.N, x.Z)
		agree(t, "low", low, x.Low, 1e-9)
		agree(t, "high", high, x.High, 1e-9)
	}
	if low, high := Wilson(0, 0, 2); low != 0 || high != 1 {
		t.Errorf("nothing of nothing: %v to %v", low, high)
	}
}

func TestSharingByReference(t *testing.T) {
	for _, x := range readReference(t).Sharing {
		var m Mixture
		for _, s := range x.Seconds {
			c := Cell{ChallengerBad: s[0], ChampionBad: s[1]}
			m.grow(ratio{}.gains(place{w: x.W}, &c))
			m.share(time.Second)
		}
		agree(t, "ln E", m.LogE, x.LogE, 1e-9)
	}
}

// McNemar's sequential test has a closed form where it bets on all ratios alike. Bets on
// seven of them are worth about as much where the ratio is one that they look for.
func TestPairsAgainstTheClosedForm(t *testing.T) {
	for _, c := range []Cell{{ChallengerOnly: 30, ChampionOnly: 10}, {ChallengerOnly: 300, ChampionOnly: 200}, {ChallengerOnly: 50, ChampionOnly: 9}} {
		b, o := float64(c.ChallengerOnly), float64(c.ChampionOnly)
		closed := (b+o)*math.Ln2 + logBeta(b+1, o+1)
		seven := ratio{}.mean(place{paired: true}, &c, worseRisks)
		if best := b*math.Log(2*b/(b+o)) + o*math.Log(2*o/(b+o)); seven > best || seven < closed-1 || closed > best {
			t.Errorf("%v: %v by seven bets, %v by all, %v by the best", c, seven, closed, best)
		}
	}
}
