package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// output is what was counted of one output tensor.
type output struct {
	Name string `json:"name"`
	// Kind is how it was compared, the last time.
	Kind     rollout.CompareKind `json:"kind"`
	Compared int64               `json:"compared"`
	Differ   int64               `json:"differ"`
	Findings map[string]int64    `json:"findings"`
	// Elements were compared, Differing of them differ.
	Elements  uint64 `json:"elements"`
	Differing uint64 `json:"differing"`
	NonFinite uint64 `json:"nonFinite"`
	// MaxAbs is the largest difference of any element, the record's own comparisons included.
	MaxAbs float64 `json:"maxAbs"`
	Shift  shift   `json:"shift"`
	// Scores are the values behind Shift.
	Scores gate.Scores `json:"scores"`
	// Labels counts pairs of classes, champion's first.
	Labels map[string]map[string]int64 `json:"labels"`
}

// shift is what was counted of the differences challenger − champion of scores. Of each
// record it has the first rollout.MaxScores elements.
type shift struct {
	N       int64        `json:"n"`
	Sum     float64      `json:"sum"`
	Squares float64      `json:"squares"`
	Abs     float64      `json:"abs"`
	Least   float64      `json:"least"`
	Most    float64      `json:"most"`
	Sketch  *gate.Sketch `json:"sketch"`
}

func (p *played) countOutputs(s *seenRecord) {
	if s.comparison == nil {
		return
	}
	for i := range s.comparison.Outputs {
		o := &s.comparison.Outputs[i]
		p.output(o.Output).count(o)
	}
}

func (p *played) output(name string) *output {
	for _, o := range p.Outputs {
		if o.Name == name {
			return o
		}
	}
	if len(p.Outputs) >= mostOutputs && name != other {
		return p.output(other)
	}
	o := &output{Name: name, Findings: map[string]int64{}, Labels: map[string]map[string]int64{}}
	p.Outputs = append(p.Outputs, o)
	return o
}

func (o *output) count(c *rollout.OutputComparison) {
	o.Kind = c.Kind
	o.Compared++
	o.Differ += one(!c.Agree)
	if c.Finding != "" {
		bump(o.Findings, string(c.Finding))
	}
	o.Elements += c.Elements
	o.Differing += c.Differing
	o.NonFinite += c.NonFinite
	o.MaxAbs = max(o.MaxAbs, c.MaxAbsDiff)
	for _, pair := range c.Scores {
		o.Scores.Observe(pair.Champion, pair.Challenger)
		o.Shift.observe(pair.Challenger - pair.Champion)
	}
	if c.Kind == rollout.CompareClass && (c.ChampionClass != "" || c.ChallengerClass != "") {
		o.confuse(c.ChampionClass, c.ChallengerClass, 1)
	}
}

// confuse counts a pair of classes; those beyond mostLabels are one.
func (o *output) confuse(champion, challenger string, n int64) {
	champion, challenger = clip(champion, 64), clip(challenger, 64)
	if _, known := o.Labels[champion]; !known && len(o.Labels) >= mostLabels {
		champion = other
	}
	row := o.Labels[champion]
	if row == nil {
		row = map[string]int64{}
		o.Labels[champion] = row
	}
	if _, known := row[challenger]; !known && len(row) >= mostLabels {
		challenger = other
	}
	row[challenger] += n
}

func (s *shift) observe(d float64) {
	if s.N == 0 {
		s.Least, s.Most, s.Sketch = d, d, gate.NewSketch()
	}
	s.N++
	s.Sum = finite(s.Sum + d)
	s.Squares = finite(s.Squares + d*d)
	s.Abs = finite(s.Abs + math.Abs(d))
	s.Least, s.Most = min(s.Least, d), max(s.Most, d)
	s.Sketch.Observe(d)
}

func (p *played) mergeOutputs(from []*output) {
	for _, theirs := range from {
		p.output(theirs.Name).merge(theirs)
	}
}

func (o *output) merge(from *output) {
	o.Kind = from.Kind
	o.Compared += from.Compared
	o.Differ += from.Differ
	addCounts(o.Findings, from.Findings)
	o.Elements += from.Elements
	o.Differing += from.Differing
	o.NonFinite += from.NonFinite
	o.MaxAbs = max(o.MaxAbs, from.MaxAbs)
	o.Shift.merge(&from.Shift)
	o.Scores.Merge(from.Scores)
	for champion, row := range from.Labels {
		for challenger, n := range row {
			o.confuse(champion, challenger, n)
		}
	}
}

func (s *shift) merge(o *shift) {
	switch {
	case o.N == 0:
		return
	case s.N == 0:
		s.Least, s.Most, s.Sketch = o.Least, o.Most, gate.NewSketch()
	}
	s.N += o.N
	s.Sum = finite(s.Sum + o.Sum)
	s.Squares = finite(s.Squares + o.Squares)
	s.Abs = finite(s.Abs + o.Abs)
	s.Least, s.Most = min(s.Least, o.Least), max(s.Most, o.Most)
	s.Sketch.Merge(o.Sketch)
}

// labels returns all class labels, sorted, numbers by value.
func (o *output) labels() (all []string) {
	for champion, row := range o.Labels {
		all = append(all, champion)
		for challenger := range row {
			all = append(all, challenger)
		}
	}
	slices.SortFunc(all, byValue)
	return slices.Compact(all)
}

// byValue orders labels, numbers by value and before words.
func byValue(a, b string) int {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	switch {
	case errX == nil && errY == nil && x != y:
		return cmp.Compare(x, y)
	case (errX == nil) != (errY == nil):
		return int(one(errX != nil) - one(errY != nil))
	}
	return cmp.Compare(a, b)
}
