package gate

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Number writes n with a comma between thousands.
func Number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Span writes a duration as people do, to the second where it has any: "1h5m", "12m", "350ms".
func Span(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	text := d.Round(time.Second).String()
	if rest, cut := strings.CutSuffix(text, "m0s"); cut {
		text = rest + "m"
	}
	if rest, cut := strings.CutSuffix(text, "h0m"); cut {
		text = rest + "h"
	}
	return text
}

// percent writes a share with as many digits as it takes to see it.
func percent(share float64) string {
	return figure(100*share) + "%"
}

// figure writes v to three significant digits, without an exponent.
func figure(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	places := min(max(2-int(math.Floor(math.Log10(math.Abs(v)))), 0), 6)
	text := strconv.FormatFloat(v, 'f', places, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// share writes "12 of 3,400 (0.35%)".
func shareOf(part, whole int64) string {
	if whole == 0 {
		return "none"
	}
	return fmt.Sprintf("%s of %s (%s)", Number(part), Number(whole), percent(float64(part)/float64(whole)))
}

// found says what a gate has counted at the step, and what it may be.
func found(g rollout.Gate, at place, c *Cell, slow time.Duration) string {
	switch g.Metric {
	case rollout.Disagreement:
		return fmt.Sprintf("%s pairs disagree, %s are allowed", shareOf(c.ChallengerOnly, c.Pairs), percent(g.Limit))
	case rollout.ScoreShift:
		n, sum, _ := c.Shift.of(g.Range)
		return fmt.Sprintf("%s moved by %s on average over %s pairs, ±%s is allowed", g.Output, figure(sum/max(n, 1)), Number(c.Shift.N), figure(g.Limit))
	case rollout.Drift:
		d := c.Scores.compare()
		return fmt.Sprintf("PSI of %s is %s over %s pairs (by chance about %s), %s is allowed; Jensen-Shannon %s bits, Wasserstein %s standard deviations",
			g.Output, figure(d.PSI), Number(drift{}.trials(at, c)), figure(d.Expected), figure(g.Limit), figure(d.JensenShannon), figure(d.Wasserstein))
	}
	what := "failed"
	switch g.Metric {
	case rollout.SlowRate:
		what = "slower than " + Span(g.SlowerThan)
	case rollout.TailLatency:
		what = fmt.Sprintf("slower than the champion's p99 of %s (challenger: %s)", Span(slow), Span(Tolerated(g, slow)))
	}
	if at.paired {
		return fmt.Sprintf("of %s pairs the challenger alone %s in %s, the champion alone in %s; %s", Number(c.Pairs), what,
			Number(c.ChallengerOnly), Number(c.ChampionOnly), allowed(g))
	}
	return fmt.Sprintf("%s: challenger %s, champion %s; %s", what, shareOf(c.ChallengerBad, c.ChallengerLive), shareOf(c.ChampionBad, c.ChampionLive), allowed(g))
}

// Tolerated is the latency that the challenger may have where the champion has slow.
func Tolerated(g rollout.Gate, slow time.Duration) time.Duration {
	return time.Duration(float64(slow) * (1 + g.Margin))
}

func allowed(g rollout.Gate) string {
	switch {
	case g.Metric == rollout.TailLatency:
		return "no more of them are allowed"
	case g.Relative:
		return percent(g.Margin) + " more are allowed"
	}
	return figure(100*g.Margin) + "pp more are allowed"
}
