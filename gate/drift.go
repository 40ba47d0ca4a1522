package gate

import (
	"math"
	"slices"
)

// drift compares the distributions of a score by the population stability index. It is no
// test that holds at any time, so by itself it only holds a rollout.
type drift struct{ max float64 }

func (drift) gains(place, *Cell) []float64 { return nil }

// trials is the number of pairs of values.
func (drift) trials(_ place, c *Cell) int64 {
	if c.Scores.Champion == nil {
		return 0
	}
	return int64(c.Scores.Champion.GetCount())
}

// certain is ln of more evidence than any alpha asks for.
const certain = 1000

// pass is certain or impossible.
func (d drift) pass(at place, c *Cell) float64 {
	if n := d.trials(at, c); n > 0 && c.Scores.compare().PSI <= d.max {
		return certain
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
	// Wasserstein is the distance in standard deviations of the champion's values; 0 where
	// those are all the same.
	Wasserstein float64
}

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
	d = distanceOver(quantiles(champion, challenger, n), n, m)
	d.Wasserstein = wasserstein(values, champion, challenger, n, m)
	return d
}

// distanceOver measures all of a distance that bins of n and m values have.
func distanceOver(bins []bin, n, m float64) (d Distance) {
	for _, bin := range bins {
		// Half a count in an empty bin keeps the logarithm finite.
		p, q := max(bin.champion, 0.5)/n, max(bin.challenger, 0.5)/m
		d.PSI += (q - p) * math.Log(q/p)
		d.JensenShannon += divergence(bin.champion/n, bin.challenger/m)
	}
	d.Expected = float64(len(bins)-1) * (1/n + 1/m)
	return d
}

// divergence is a bin's part of the Jensen–Shannon divergence, in bits.
func divergence(p, q float64) (bits float64) {
	for _, x := range [...]float64{p, q} {
		if x > 0 {
			bits += x * math.Log2(2*x/(p+q)) / 2
		}
	}
	return bits
}

// quantileParts is how many quantiles PSI's bins are made of.
const quantileParts = 10

type bin struct{ champion, challenger float64 }

// quantiles groups counts at ascending values into the quantiles of the champion's n. What
// lies beyond its values belongs to the outermost ones. A value that fills a quantile alone
// is a bin alone: nothing beside it may hide there.
func quantiles(champion, challenger []float64, n float64) (bins []bin) {
	var open bin
	end := func() {
		if open != (bin{}) {
			bins, open = append(bins, open), bin{}
		}
	}
	passed, reached := 0.0, 0
	for i := range champion {
		alone := champion[i]*quantileParts >= n
		if alone {
			end()
		}
		open.champion += champion[i]
		open.challenger += challenger[i]
		passed += champion[i]
		quantile := int(passed * quantileParts / n)
		if alone || quantile > reached && passed < n {
			end()
		}
		reached = quantile
	}
	end()
	return bins
}

// aligned returns the sketches' values, ascending, and each arm's counts of them.
func (s *Scores) aligned() (values, champion, challenger []float64) {
	if s.Champion == nil {
		return nil, nil, nil
	}
	list := func(v, _ float64) bool { values = append(values, v); return false }
	s.Champion.ForEach(list)
	s.Challenger.ForEach(list)
	slices.Sort(values)
	values = slices.Compact(values)
	counts := func(k *Sketch) []float64 {
		out := make([]float64, len(values))
		k.ForEach(func(v, n float64) bool {
			i, _ := slices.BinarySearch(values, v)
			out[i] += n
			return false
		})
		return out
	}
	return values, counts(s.Champion), counts(s.Challenger)
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
	origin := values[slices.IndexFunc(champion, func(count float64) bool { return count > 0 })]
	var area, gap, mean, square float64
	for i, v := range values {
		if i > 0 {
			area += math.Abs(gap) * (v - values[i-1])
		}
		gap += champion[i]/n - challenger[i]/m
		// From a value of its own, one that never changes varies by 0 exactly.
		mean += (v - origin) * champion[i] / n
		square += (v - origin) * (v - origin) * champion[i] / n
	}
	if variance := square - mean*mean; variance > 0 {
		return area / math.Sqrt(variance)
	}
	return 0
}
