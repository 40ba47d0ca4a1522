package gate

import (
	"math"
	"time"
)

// Mixture is wealth spread over bets. Its zero value has made no bet.
type Mixture struct {
	// LogE is the natural logarithm of the wealth; it begins at 0.
	LogE float64 `json:"log_e"`
	// Shares are the parts of the wealth that lie on each bet; they sum to 1. Empty stands
	// for the prior.
	Shares []float64 `json:"shares,omitempty"`
}

// sharing is the part of the wealth that returns to the prior each second. Without it a
// bet that lost for an hour must win all of that back before a late regression shows.
const sharing = 1.0 / 600

// grow multiplies each bet's wealth by the factor exp(gains). Where other bets were made
// so far, at a step with a margin of the other kind, all wealth goes to the prior first.
// Shares are dealt before the counts behind gains are seen, so what was fair stays fair.
func (m *Mixture) grow(gains []float64) {
	if len(gains) == 0 {
		return
	}
	if len(m.Shares) != len(gains) {
		m.Shares = withIdle(len(gains) - 1)
	}
	logs := make([]float64, len(gains))
	for i, share := range m.Shares {
		logs[i] = math.Log(share) + gains[i]
	}
	total := logSum(logs)
	m.LogE += total
	for i := range m.Shares {
		m.Shares[i] = math.Exp(logs[i] - total)
	}
}

// share returns a part of all wealth to the prior: as much as passed seconds do.
func (m *Mixture) share(passed time.Duration) {
	if len(m.Shares) == 0 {
		return
	}
	back := -math.Expm1(passed.Seconds() * math.Log1p(-sharing))
	for i, prior := range withIdle(len(m.Shares) - 1) {
		m.Shares[i] = (1-back)*m.Shares[i] + back*prior
	}
}

// logSum returns ln Σ exp(x).
func logSum(x []float64) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, v)
	}
	if math.IsInf(top, -1) {
		return top
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

// logMean returns ln of the mean of exp(x).
func logMean(x []float64) float64 { return logSum(x) - math.Log(float64(len(x))) }

// idle is the part of the wealth that never bets: what waits there is at hand for a late
// regression. Half of it would take 4 % more requests to catch an early one, a third is
// enough for those that come an hour later (docs/decisions.md).
const idle = 1.0 / 3

// withIdle is the prior of n bets beside one that never bets.
func withIdle(n int) []float64 {
	prior := make([]float64, n+1)
	prior[0] = idle
	for i := range n {
		prior[i+1] = (1 - idle) / float64(n)
	}
	return prior
}
