package gate

import "math"

// Cell is what one gate has counted, at one step, of all requests or of one cohort. All of
// it is sums of whole numbers, so that cells merge exactly and in any order.
type Cell struct {
	// Live requests that were judged, and those of them that were bad, as assigned.
	ChampionLive   int64 `json:"champion,omitempty"`
	ChampionBad    int64 `json:"champion_bad,omitempty"`
	ChallengerLive int64 `json:"challenger,omitempty"`
	ChallengerBad  int64 `json:"challenger_bad,omitempty"`
	// Pairs are requests that both arms answered for; in ChallengerOnly of them the challenger
	// alone was bad, or they disagree; in Both each was.
	Pairs          int64 `json:"pairs,omitempty"`
	ChallengerOnly int64 `json:"challenger_only,omitempty"`
	ChampionOnly   int64 `json:"champion_only,omitempty"`
	Both           int64 `json:"both,omitempty"`
	// Shift has the differences of the pairs' scores.
	Shift Moments `json:"shift"`
	// Scores has the distribution of the pairs' scores.
	Scores Scores `json:"scores"`
	// The reported values of live requests.
	ChampionValues   Values `json:"champion_values"`
	ChallengerValues Values `json:"challenger_values"`
}

// Add merges o into c.
func (c *Cell) Add(o Cell) {
	c.ChampionLive += o.ChampionLive
	c.ChampionBad += o.ChampionBad
	c.ChallengerLive += o.ChallengerLive
	c.ChallengerBad += o.ChallengerBad
	c.Pairs += o.Pairs
	c.ChallengerOnly += o.ChallengerOnly
	c.ChampionOnly += o.ChampionOnly
	c.Both += o.Both
	c.Shift.add(o.Shift)
	c.Scores.add(o.Scores)
	c.ChampionValues.add(o.ChampionValues)
	c.ChallengerValues.add(o.ChallengerValues)
}

// live is the number of live requests of both arms.
func (c *Cell) live() int64 { return c.ChampionLive + c.ChallengerLive }

// moment is the unit of Moments: a difference of Range is this many. There is room for
// 2³³ of them.
const moment = 1 << 30

// Moments are sums of differences d, clamped to [−Range, Range], in units of Range/2³⁰: whole
// numbers, for sums of floats hang on their order.
type Moments struct {
	N int64 `json:"n,omitempty"`
	// Sum is of d, Squares of d² (in units of Range²/2³⁰), rounded up: squares that are lost
	// would look like evidence.
	Sum     int64 `json:"sum,omitempty"`
	Squares int64 `json:"squares,omitempty"`
}

// Observe adds the difference d. One that is not a number counts as none.
func (m *Moments) Observe(d, bound float64) {
	if math.IsNaN(d) || bound <= 0 {
		return
	}
	x := int64(math.Round(min(max(d/bound, -1), 1) * moment))
	m.N++
	m.Sum += x
	m.Squares += (x*x + moment - 1) / moment
}

func (m *Moments) add(o Moments) {
	m.N += o.N
	m.Sum += o.Sum
	m.Squares += o.Squares
}

// mean is that of values over [0, 1]; 0 where there are none.
func (m Moments) mean() float64 {
	if m.N == 0 {
		return 0
	}
	return float64(m.Sum) / moment / float64(m.N)
}

// from returns the moments of the values less the centre, all over [0, 1].
func (m Moments) from(centre float64) Moments {
	c, n := math.Round(centre*moment), float64(m.N)
	squares := float64(m.Squares) - 2*c/moment*float64(m.Sum) + n*c/moment*c
	return Moments{N: m.N, Sum: m.Sum - m.N*int64(c), Squares: int64(math.Ceil(max(squares, 0)))}
}

// Values are one arm's reported values, as parts of the gate's range from its lower end.
type Values struct {
	// Sum is of the values, in units of 1/2³⁰.
	Sum int64 `json:"sum,omitempty"`
	// Centred are the values less what was usual when they counted, the same for both arms.
	Centred Moments `json:"centred"`
}

func (v *Values) add(o Values) {
	v.Sum += o.Sum
	v.Centred.add(o.Centred)
}

// of returns n, Σd and Σd² in the units of d.
func (m Moments) of(bound float64) (n, sum, squares float64) {
	return float64(m.N), float64(m.Sum) / moment * bound, float64(m.Squares) / moment * bound * bound
}
