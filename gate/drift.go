package gate

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

// Scores are the distributions of a score output, by arm, over the same requests. The zero
// value is empty.
type Scores struct {
	Champion   *Sketch `json:"champion,omitempty"`
	Challenger *Sketch `json:"challenger,omitempty"`

	// distance is what compare found at this count.
	compared float64
	distance Distance
}

// Observe adds one pair of finite values.
func (s *Scores) Observe(champion, challenger float64) {
	if s.Champion == nil {
		s.Champion, s.Challenger = newSketch(), newSketch()
	}
	s.Champion.observe(champion)
	s.Challenger.observe(challenger)
}

func (s *Scores) add(o Scores) {
	if o.Champion == nil {
		return
	}
	if s.Champion == nil {
		s.Champion, s.Challenger = newSketch(), newSketch()
	}
	// They have one mapping, which is all that can differ.
	_ = s.Champion.MergeWith(o.Champion.DDSketch)
	_ = s.Challenger.MergeWith(o.Challenger.DDSketch)
}

// Sketch counts values in bins 2 % wide. It merges exactly.
type Sketch struct{ *ddsketch.DDSketch }

const (
	sketchAccuracy = 0.01
	sketchBins     = 2048
)

func newSketch() *Sketch {
	m, _ := mapping.NewLogarithmicMapping(sketchAccuracy) // fails only for accuracies out of (0, 1)
	return &Sketch{ddsketch.NewDDSketchFromStoreProvider(m, func() store.Store { return store.NewCollapsingLowestDenseStore(sketchBins) })}
}

func (s *Sketch) observe(v float64) { _ = s.Add(v) } // fails for values that no score has: nothing is counted then

// MarshalJSON writes the sketch in its library's own encoding, in base64.
func (s *Sketch) MarshalJSON() ([]byte, error) {
	var b []byte
	s.Encode(&b, false)
	return json.Marshal(base64.StdEncoding.EncodeToString(b))
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (s *Sketch) UnmarshalJSON(text []byte) error {
	var encoded string
	if err := json.Unmarshal(text, &encoded); err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("sketch: %w", err)
	}
	fresh := newSketch()
	if err := fresh.DecodeAndMergeWith(b); err != nil {
		return fmt.Errorf("sketch: %w", err)
	}
	*s = *fresh
	return nil
}

// drift compares the distributions of a score by the population stability index. It is no
// test that holds at any time, so by itself it only holds a rollout.
type drift struct{ max float64 }

func (drift) prior() []float64              { return nil }
func (drift) gains(place, *Cell, []float64) {}

// trials is the number of pairs of values.
func (drift) trials(_ place, c *Cell) int64 {
	if c.Scores.Champion == nil {
		return 0
	}
	return int64(c.Scores.Champion.GetCount())
}

// pass is certain or impossible.
func (d drift) pass(at place, c *Cell) float64 {
	if n := d.trials(at, c); n > 0 && c.Scores.compare().PSI <= d.max {
		return math.Inf(1)
	}
	return 0
}

// estimate has no interval.
func (d drift) estimate(at place, c *Cell, _ float64) (is, low, high float64) {
	if d.trials(at, c) == 0 {
		return 0, 1, -1
	}
	return c.Scores.compare().PSI, 1, -1
}

// Distance is how far two distributions lie apart.
type Distance struct {
	// PSI is the population stability index Σ (c−b)·ln(c/b) over quantile bins of the champion's
	// values. Expected is about what it is where nothing drifts: (bins−1)(1/n + 1/m).
	PSI, Expected float64
	// JensenShannon divergence of the same bins, in bits: 0 to 1.
	JensenShannon float64
	// Wasserstein is the distance in standard deviations of the champion's values.
	Wasserstein float64
}

// quantileBins is how many bins PSI has at the most; equal values share one.
const quantileBins = 10

// compare returns how far the challenger's distribution lies from the champion's. It is asked
// for several times a look.
func (s *Scores) compare() Distance {
	if s.Champion == nil {
		return Distance{}
	}
	if n := s.Champion.GetCount(); n != s.compared {
		s.compared, s.distance = n, s.measure()
	}
	return s.distance
}

func (s *Scores) measure() (d Distance) {
	values, champion, challenger := s.aligned()
	n, m := total(champion), total(challenger)
	if n == 0 || m == 0 {
		return d
	}
	reached, used := 0, 0 // of the champion's quantiles, and bins made
	var b, c, passed float64
	for i := range values {
		b, c, passed = b+champion[i], c+challenger[i], passed+champion[i]
		last := i == len(values)-1
		if !last && (passed >= n || passed < n*float64(reached+1)/quantileBins) {
			continue // what lies beyond the champion's values belongs to the last bin
		}
		// Half a count in an empty bin keeps the logarithm finite.
		p, q := max(b, 0.5)/n, max(c, 0.5)/m
		d.PSI += (q - p) * math.Log(q/p)
		mid := (p + q) / 2
		d.JensenShannon += (p*math.Log2(p/mid) + q*math.Log2(q/mid)) / 2
		reached, used, b, c = int(passed*quantileBins/n), used+1, 0, 0
	}
	d.Expected = float64(max(used-1, 1)) * (1/n + 1/m)
	d.Wasserstein = wasserstein(values, champion, challenger, n, m)
	return d
}

// aligned returns the bins' values, ascending, and each arm's counts in them.
func (s *Scores) aligned() (values, champion, challenger []float64) {
	if s.Champion == nil {
		return nil, nil, nil
	}
	a, b := s.Champion.bins(), s.Challenger.bins()
	for len(a) > 0 || len(b) > 0 {
		var next bin
		var p, q float64
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].value < b[0].value:
			next, p, a = a[0], a[0].count, a[1:]
		case len(a) == 0 || b[0].value < a[0].value:
			next, q, b = b[0], b[0].count, b[1:]
		default:
			next, p, q, a, b = a[0], a[0].count, b[0].count, a[1:], b[1:]
		}
		values, champion, challenger = append(values, next.value), append(champion, p), append(challenger, q)
	}
	return values, champion, challenger
}

type bin struct{ value, count float64 }

// bins returns those that are not empty, by their values.
func (s *Sketch) bins() (all []bin) {
	s.ForEach(func(v, n float64) bool {
		all = append(all, bin{v, n})
		return false
	})
	slices.SortFunc(all, func(a, b bin) int { return cmp.Compare(a.value, b.value) })
	return all
}

func total(x []float64) (sum float64) {
	for _, v := range x {
		sum += v
	}
	return sum
}

// wasserstein is the area between the distribution functions over the champion's standard
// deviation.
func wasserstein(values, champion, challenger []float64, n, m float64) float64 {
	var area, gap, mean, square float64
	for i, v := range values {
		if i > 0 {
			area += math.Abs(gap) * (v - values[i-1])
		}
		gap += champion[i]/n - challenger[i]/m
		mean += v * champion[i] / n
		square += v * v * champion[i] / n
	}
	if variance := square - mean*mean; variance > 0 {
		return area / math.Sqrt(variance)
	}
	return 0
}
