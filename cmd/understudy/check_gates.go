package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/understudy-serving/understudy/rollout"
)

// gateInWords says what a gate demands, where, on what evidence, and what follows a fail.
func gateInWords(g rollout.Gate) string {
	where, unit := "in shadow and canary", "pairs or requests"
	switch {
	case !g.InCanary:
		where, unit = "in shadow", trialsOf(g, rollout.ModeShadow)
	case !g.InShadow:
		where, unit = "in canary", trialsOf(g, rollout.ModeCanary)
	case g.Paired(rollout.ModeCanary):
		unit = "pairs"
	}
	return fmt.Sprintf("%s: %s; %s, %s after routing, over at least %s %s; %s",
		g.Name(), demand(g), where, span(g.Horizon), count(g.MinRequests), unit, consequence(g))
}

// overrideInWords says it of a gate as it holds at one step.
func overrideInWords(g rollout.Gate, mode rollout.Mode) string {
	if !g.In(mode) {
		return g.Name() + ": not judged"
	}
	return fmt.Sprintf("%s: %s; %s after routing, over at least %s %s; %s",
		g.Name(), demand(g), span(g.Horizon), count(g.MinRequests), trialsOf(g, mode), consequence(g))
}

func trialsOf(g rollout.Gate, mode rollout.Mode) string {
	if g.Paired(mode) {
		return "pairs"
	}
	return "requests"
}

func demand(g rollout.Gate) string {
	switch g.Metric {
	case rollout.ErrorRate:
		return fmt.Sprintf("at most %s more failures than the champion", increase(g))
	case rollout.SlowRate:
		return fmt.Sprintf("at most %s more answers over %s than the champion", increase(g), g.SlowerThan)
	case rollout.TailLatency:
		return fmt.Sprintf("99th percentile at most %s above the champion's", increase(g))
	case rollout.ExcessDisagreement:
		return fmt.Sprintf("at most %s more pairs differ than the champion from itself", increase(g))
	case rollout.Disagreement:
		return fmt.Sprintf("at most %s of the pairs differ", fine(g.Limit))
	case rollout.ScoreShift:
		return fmt.Sprintf("mean shifted by at most %v, differences clamped to ±%v", g.Limit, g.Range)
	case rollout.Drift:
		return fmt.Sprintf("population stability index at most %v", g.Limit)
	case rollout.ReportedOutcome:
		return outcomeDemand(g)
	}
	return string(g.Metric)
}

func outcomeDemand(g rollout.Gate) string {
	worse, silent := "less", "nothing reported is 0"
	if g.Fewer {
		worse = "more"
	}
	if g.ReportedOnly {
		silent = "of what is reported"
	}
	if g.Mean {
		return fmt.Sprintf("on average at most %v %s than the champion, over [%v, %v], %s", g.Margin, worse, g.From, g.To, silent)
	}
	return fmt.Sprintf("at most %s %s than the champion, %s", increase(g), worse, silent)
}

// increase writes a margin as the file does.
func increase(g rollout.Gate) string {
	if g.Relative {
		return fine(g.Margin)
	}
	return strings.TrimSuffix(fine(g.Margin), "%") + "pp"
}

// fine writes a share in percent with the four decimals that a config may have.
func fine(share float64) string {
	return strconv.FormatFloat(math.Round(share*1e6)/1e4, 'f', -1, 64) + "%"
}

func consequence(g rollout.Gate) string {
	switch {
	case g.DryRun:
		return "a dry run without effect"
	case g.OnFail == rollout.Hold:
		return "a fail holds"
	case !g.Spends():
		return "a fail rolls back, beside alpha: this one may fail by chance"
	}
	return "a fail rolls back; " + percent(100*g.Share) + " of alpha"
}

// alphaInWords says what the budget means.
func alphaInWords(r rollout.Rules) string {
	return fine(r.Alpha) + ": the chance that a challenger that is no worse is ever rolled back by a gate, all together"
}

func segmentsInWords(r rollout.Rules) string {
	values := fmt.Sprintf("the first %d values of each have the gates for themselves", r.MaxCohorts)
	if r.MaxCohorts == 1 {
		values = "the first value of each has the gates for itself"
	}
	return strings.Join(r.Segments, ", ") + ": " + values + ", the rest together"
}
