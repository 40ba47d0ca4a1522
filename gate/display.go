package gate

// What a report shows beside verdicts: the same intervals, distances and sketches.

// RateInterval returns Robbins' interval of a rate of which bad of n were: it holds at
// 1 − alpha however often one looks, and assumes a rate that does not change; see limit.
func RateInterval(bad, n int64, alpha float64) (low, high float64) {
	if n <= 0 {
		return 0, 1
	}
	return robbins(float64(bad), float64(n-bad), alpha)
}

// Distance returns how far the challenger's distribution lies from the champion's.
func (s *Scores) Distance() Distance { return s.compare() }

// Merge adds what o has counted.
func (s *Scores) Merge(o Scores) { s.add(o) }

// NewSketch returns an empty sketch.
func NewSketch() *Sketch { return newSketch() }

// Observe adds a value, which counts as none where it is not finite.
func (s *Sketch) Observe(v float64) { s.observe(v) }

// Merge adds what o has counted.
func (s *Sketch) Merge(o *Sketch) { _ = s.MergeWith(o.DDSketch) } // all have one mapping, which is all that can differ
