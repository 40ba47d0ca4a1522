package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// unit is how a gate's estimate is called and written.
type unit struct {
	estimate string
	scale    float64
	symbol   string
	signed   bool
}

func unitOf(g *adminv1.Gate) unit {
	switch metric := rollout.Metric(g.GetMetric()); {
	case metric == rollout.TailLatency, g.GetRelative():
		return unit{"ratio", 1, "×", false}
	case g.GetMean():
		return unit{"difference", 1, "", true}
	case metric == rollout.ReportedOutcome, metric == rollout.ErrorRate, metric == rollout.SlowRate, metric == rollout.ExcessDisagreement:
		return unit{"difference", 100, "pp", true}
	case metric == rollout.Disagreement:
		return unit{"share", 100, "%", false}
	case metric == rollout.ScoreShift:
		return unit{"shift", 1, "", true}
	case metric == rollout.Drift:
		return unit{"index", 1, " PSI", false}
	}
	return unit{"estimate", 1, "", false}
}

func (u unit) digits(x float64) string {
	if u.signed && x > 0 {
		return "+" + digits(u.scale*x)
	}
	return digits(u.scale * x)
}

// allowance says what the gate lets pass.
func allowance(g *adminv1.Gate) string {
	limit, worse := g.GetLimit(), ""
	switch rollout.Metric(g.GetMetric()) {
	case rollout.Disagreement:
		return digits(100*limit) + "% of the pairs"
	case rollout.ScoreShift:
		return digits(limit) + " up or down"
	case rollout.Drift:
		return digits(limit) + " PSI"
	case rollout.ErrorRate:
		worse = "more failures"
	case rollout.ReportedOutcome:
		worse = "more " + g.GetOutcome()
		if !g.GetFewer() {
			worse = "less " + g.GetOutcome()
		}
		if g.GetMean() {
			return digits(g.GetAllowedIncrease()) + " " + worse + " on average than the champion"
		}
	case rollout.ExcessDisagreement:
		worse = "more disagreements than the champion has with itself"
	case rollout.SlowRate:
		worse = "more over " + latency(g.SlowerThan.AsDuration())
	case rollout.TailLatency:
		worse = "slower"
	}
	per := "pp"
	if g.GetRelative() {
		per = "%"
	}
	return digits(100*g.GetAllowedIncrease()) + per + " " + worse + " than the champion"
}

// bar draws the way that evidence has come to where it decides.
func bar(e *adminv1.Evidence) string {
	const width = 10
	n := int(width * wayOf(e))
	return fmt.Sprintf("%s%s %4s, %s of %s", strings.Repeat("#", n), strings.Repeat(".", width-n), way(e), digits(e.GetLog()), digits(e.GetLogNeeded()))
}

// way is the way in percent; 100% is all of it.
func way(e *adminv1.Evidence) string { return percent(math.Floor(100 * wayOf(e))) }

func wayOf(e *adminv1.Evidence) float64 {
	if !(e.GetLogNeeded() > 0) || math.IsNaN(e.GetLog()) {
		return 0
	}
	return max(0, min(1, e.GetLog()/e.GetLogNeeded()))
}

// roughly keeps two digits of a guess.
func roughly(n int64) int64 {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}

// about is span without seconds that a guess can't know.
func about(d time.Duration) string {
	if d > 10*time.Minute {
		d = d.Round(time.Minute)
	}
	return span(max(d, time.Second))
}

// digits writes three significant ones, and all before the point.
func digits(x float64) string {
	switch {
	case math.IsNaN(x), math.IsInf(x, -1):
		return "-"
	case math.IsInf(x, 1):
		return "∞"
	case math.Abs(x) >= 1000:
		return count(int64(math.Round(x)))
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}
