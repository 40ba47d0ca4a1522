package gate

import (
	"encoding/json"
	"fmt"
	"math"

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

// Observe adds one pair of values; none where one of them is not finite.
func (s *Scores) Observe(champion, challenger float64) {
	if gap := champion - challenger; math.IsNaN(gap) || math.IsInf(gap, 0) {
		return
	}
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

// bins are a sketch as it is written: counts by bin, of values over, under and at 0.
type bins struct {
	Positive map[int]int64 `json:"positive,omitempty"`
	Negative map[int]int64 `json:"negative,omitempty"`
	Zero     int64         `json:"zero,omitempty"`
}

// MarshalJSON writes the counts by bin.
func (s *Sketch) MarshalJSON() ([]byte, error) {
	counts := func(from store.Store) map[int]int64 {
		out := map[int]int64{}
		from.ForEach(func(bin int, n float64) bool { out[bin] = int64(n); return false })
		return out
	}
	return json.Marshal(bins{counts(s.GetPositiveValueStore()), counts(s.GetNegativeValueStore()), int64(s.GetZeroCount())})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (s *Sketch) UnmarshalJSON(text []byte) error {
	var read bins
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	fresh := newSketch()
	lowest, highest := fresh.Index(fresh.MinIndexableValue()), fresh.Index(fresh.MaxIndexableValue())
	for to, counts := range map[store.Store]map[int]int64{fresh.GetPositiveValueStore(): read.Positive, fresh.GetNegativeValueStore(): read.Negative} {
		for bin, n := range counts {
			if bin < lowest || bin > highest || n < 0 {
				return fmt.Errorf("sketch: %d values in bin %d: %w", n, bin, errImpossible)
			}
			to.AddWithCount(bin, float64(n))
		}
	}
	if read.Zero < 0 {
		return fmt.Errorf("sketch: %d zeros: %w", read.Zero, errImpossible)
	}
	_ = fresh.AddWithCount(0, float64(read.Zero)) // 0 is a value
	*s = *fresh
	return nil
}
