package gate

import (
	"math"

	"github.com/understudy-serving/understudy/rollout"
)

// place is where a cell was counted.
type place struct {
	paired bool
	// w is the challenger's share of live traffic.
	w float64
}

// compares tells whether both arms have a part in what was counted.
func (p place) compares() bool { return p.paired || p.w > 0 && p.w < 1 }

// method is the statistics of one kind of gate.
type method interface {
	// gains returns the natural logarithm of what each bet against the challenger wins on c:
	// that of none first, which is 0. A method without bets returns nil.
	gains(at place, c *Cell) []float64
	// pass returns the natural logarithm of the evidence that the challenger is no worse
	// than the margin.
	pass(at place, c *Cell) float64
	// estimate returns what the gate judges, and an interval that holds it at 1 − alpha
	// whenever one looks; low > high where there is none.
	estimate(at place, c *Cell, alpha float64) (is, low, high float64)
	// trials is the number that MinRequests bounds.
	trials(at place, c *Cell) int64
}

// of returns the method of a gate.
func of(g rollout.Gate) method {
	switch g.Metric {
	case rollout.Disagreement:
		return limit{g.Limit}
	case rollout.ScoreShift:
		return shift{g.Limit, g.Range}
	case rollout.Drift:
		return drift{g.Limit}
	case rollout.TailLatency:
		return ratio{} // its margin is in what counts as bad
	case rollout.ReportedOutcome:
		return reported(g)
	}
	if g.Relative {
		return ratio{g.Margin}
	}
	return difference{g.Margin}
}

// bound returns the edge between the m for which holds(m) and those for which it does
// not: it holds at lo's side. Where it holds nowhere that is lo, where everywhere hi.
func bound(lo, hi float64, holds func(m float64) bool) float64 {
	switch {
	case !holds(lo):
		return lo
	case holds(hi):
		return hi
	}
	for range 50 {
		if m := (lo + hi) / 2; holds(m) {
			lo = m
		} else {
			hi = m
		}
	}
	return (lo + hi) / 2
}

// discordant are what tells the arms apart: pairs in which one alone was bad; live, all
// bad requests.
func (c *Cell) discordant(at place) (challenger, champion float64) {
	if at.paired {
		return float64(c.ChallengerOnly), float64(c.ChampionOnly)
	}
	return float64(c.ChallengerBad), float64(c.ChampionBad)
}

func rateTrials(at place, c *Cell) int64 {
	if at.paired {
		return c.Pairs
	}
	return c.live()
}

// ratio tests a relative margin by whose the bad requests are: under "no worse than
// (1+m) times the champion" the next one is the challenger's with probability w′ at most,
// w′ = w(1+m)/(w(1+m)+1−w), whatever the rates do. After Lindon and Malek, "Anytime-Valid
// Inference for Multinomial Count Data", NeurIPS 2022. For pairs w = ½: where m = 0 that is
// the sequential form of McNemar's test, for which a pair that is bad on both arms is none.
// Where m > 0 it is one: the more of them, the more may be bad on the challenger alone.
type ratio struct{ margin float64 }

// The relative risks that are bet on: the challenger's over the largest that is allowed. 20
// is for what breaks outright: from 1 % to 50 % it makes up for the wealth that lies idle.
var (
	worseRisks  = []float64{1.1, 1.25, 1.5, 2, 3, 5, 8, 20}
	betterRisks = []float64{.95, .9, .8, .65, .5, .3, .15}
)

func (r ratio) share(at place) float64 {
	w := at.w
	if at.paired {
		w = 0.5
	}
	return w * (1 + r.margin) / (w*(1+r.margin) + 1 - w)
}

// win returns what the bet on a relative risk wins on the cell: ln of A = θ/w′ for each bad
// request of the challenger, of B = (1−θ)/(1−w′) for one of the champion, θ = w′r/(w′r+1−w′).
// With λ = A−1 that is 1+λ and 1−λ(1+m), so a pair that is bad on both wins 1−λm = A+B−1.
func (r ratio) win(at place, c *Cell, risk float64) float64 {
	w := r.share(at)
	challenger, champion := c.discordant(at)
	norm := math.Log(w*risk + 1 - w)
	gain := challenger*(math.Log(risk)-norm) - champion*norm
	if at.paired {
		gain += float64(c.Both) * (math.Log((1-w)*risk+w) - norm)
	}
	return gain
}

func (r ratio) gains(at place, c *Cell) []float64 {
	gains := []float64{0}
	for _, risk := range worseRisks {
		gains = append(gains, r.win(at, c, risk))
	}
	return gains
}

func (r ratio) pass(at place, c *Cell) float64 { return r.mean(at, c, betterRisks) }

func (r ratio) mean(at place, c *Cell, risks []float64) float64 {
	return meanOver(risks, func(risk float64) float64 { return r.win(at, c, risk) })
}

// estimate is of the ratio of the rates, the challenger's over the champion's.
func (r ratio) estimate(at place, c *Cell, alpha float64) (is, low, high float64) {
	challenger, champion := c.discordant(at)
	if at.paired {
		is = (challenger + float64(c.Both)) / (champion + float64(c.Both))
	} else {
		is = challenger / float64(c.ChallengerLive) / (champion / float64(c.ChampionLive))
	}
	if math.IsNaN(is) || math.IsInf(is, 0) {
		return 0, 1, -1
	}
	level := math.Log(2 / alpha)
	const least, most = -9.0, 9.0 // of ln(1+m): 8,103 stands for no upper bound, as few bad events have none
	low = bound(least, most, func(m float64) bool { return ratio{math.Expm1(m)}.mean(at, c, worseRisks) >= level })
	high = bound(least, most, func(m float64) bool { return ratio{math.Expm1(m)}.pass(at, c) < level })
	switch {
	case low == least && high == most:
		return is, 1, -1
	case low == least:
		return is, 0, math.Exp(high)
	}
	return is, math.Exp(low), math.Exp(high)
}

func (ratio) trials(at place, c *Cell) int64 { return rateTrials(at, c) }

// difference tests an absolute margin by betting on weighted differences: X = y/w for a
// request of the challenger, −y/(1−w) for one of the champion, y = 1 where it was bad, has
// the mean p₁ − p₀ whatever the traffic does; a pair has d = y₁ − y₀. One factor a request.
// After Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
// JRSS B 2024.
type difference struct{ margin float64 }

// strengths are the bets, as parts of the largest that can't lose all.
var strengths = []float64{.95, .7, .5, .35, .25, .18, .125, .09, .06, .04, .03, .02, .015}

// payoff is what can happen to a request, for the challenger and against it: the values
// of X, and how often each came.
type payoff struct{ up, down, upN, downN, nothingN float64 }

func (difference) payoff(at place, c *Cell) payoff {
	p := payoff{up: 1 / at.w, down: 1 / (1 - at.w)}
	p.upN, p.downN = c.discordant(at)
	if at.paired {
		p.up, p.down = 1, 1
	}
	p.nothingN = float64(rateTrials(at, c)) - p.upN - p.downN
	return p
}

// above is what the bet of strength g wins that the mean of X is above m.
func (p payoff) above(g, m float64) float64 {
	l := g / (p.down + m)
	return p.upN*math.Log1p(l*(p.up-m)) + p.downN*math.Log1p(-l*(p.down+m)) + p.nothingN*math.Log1p(-l*m)
}

// below is what the bet of strength g wins that the mean of X is below m, m < up.
func (p payoff) below(g, m float64) float64 {
	l := g / (p.up - m)
	return p.upN*math.Log1p(-l*(p.up-m)) + p.downN*math.Log1p(l*(p.down+m)) + p.nothingN*math.Log1p(l*m)
}

func (d difference) gains(at place, c *Cell) []float64 {
	p, gains := d.payoff(at, c), []float64{0}
	for _, g := range strengths {
		gains = append(gains, p.above(g, d.margin))
	}
	return gains
}

func (d difference) pass(at place, c *Cell) float64 {
	p := d.payoff(at, c)
	return meanOver(strengths, func(g float64) float64 { return p.below(g, d.margin) })
}

func meanOver(bets []float64, win func(bet float64) float64) float64 {
	logs := make([]float64, len(bets))
	for i, b := range bets {
		logs[i] = win(b)
	}
	return logMean(logs)
}

// estimate is of p₁ − p₀.
func (d difference) estimate(at place, c *Cell, alpha float64) (is, low, high float64) {
	p := d.payoff(at, c)
	switch {
	case at.paired && c.Pairs > 0:
		is = (p.upN - p.downN) / float64(c.Pairs)
	case !at.paired && c.ChampionLive > 0 && c.ChallengerLive > 0:
		is = p.upN/float64(c.ChallengerLive) - p.downN/float64(c.ChampionLive)
	default:
		return 0, 1, -1
	}
	level := math.Log(2 / alpha)
	above := func(m float64) bool {
		return meanOver(strengths, func(g float64) float64 { return p.above(g, m) }) >= level
	}
	below := func(m float64) bool {
		return meanOver(strengths, func(g float64) float64 { return p.below(g, m) }) < level
	}
	const edge = 1 - hair
	return is, bound(-edge, edge, above) - hair, bound(-edge, edge, below) + hair
}

// hair keeps the search for an interval off the ends of what can be, where bets have no
// limit. The interval is wider by as much.
const hair = 1e-9

func (difference) trials(at place, c *Cell) int64 { return rateTrials(at, c) }
