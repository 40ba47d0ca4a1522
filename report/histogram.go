package report

import (
	"math"

	"github.com/understudy-serving/understudy/gate"
)

const histogramBins = 40

// histogram counts the values of one or two sketches in bins of one width, from the lowest
// to the highest 0.5 %, which the outermost bins hold besides. A sketch knows a value to 1 %, so
// that its counts are spread over what they may be, and rounded.
func histogram(first, second *gate.Sketch) []Bin {
	both := gate.NewSketch()
	both.Merge(first)
	if second != nil {
		both.Merge(second)
	}
	low, _ := both.GetValueAtQuantile(0.005)
	high, _ := both.GetValueAtQuantile(0.995)
	if low == high {
		low, high = low-math.Abs(low)/100-1e-9, high+math.Abs(high)/100+1e-9
	}
	width := (high - low) / histogramBins
	if !(width > 0 && width < math.MaxFloat64) {
		return nil
	}
	count := func(s *gate.Sketch) (counts [histogramBins]float64) {
		s.ForEach(func(v, n float64) bool {
			spread(&counts, (v-low)/width, 0.01*math.Abs(v)/width, n)
			return false
		})
		return counts
	}
	ofFirst, ofSecond := count(first), [histogramBins]float64{}
	if second != nil {
		ofSecond = count(second)
	}
	bins := make([]Bin, histogramBins)
	for i := range bins {
		bins[i] = Bin{low + float64(i)*width, low + float64(i+1)*width, int64(math.Round(ofFirst[i])), int64(math.Round(ofSecond[i]))}
	}
	return bins
}

// spread adds n evenly from at−half to at+half, in units of bins.
func spread(counts *[histogramBins]float64, at, half, n float64) {
	bin := func(x float64) int { return int(math.Floor(min(max(x, 0), histogramBins-1))) }
	from, to := at-half, at+half
	if bin(from) == bin(to) {
		counts[bin(at)] += n
		return
	}
	for i := bin(from); i <= bin(to); i++ {
		left, right := float64(i), float64(i+1)
		if i == 0 {
			left = from
		}
		if i == histogramBins-1 {
			right = to
		}
		counts[i] += n * max(min(right, to)-max(left, from), 0) / (to - from)
	}
}
