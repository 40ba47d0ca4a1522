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

// figure writes v to three significant digits, without an exponent where it can.
func figure(v float64) string {
	size := math.Abs(v)
	if !(size >= 1e-6 && size < 1e15) {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	places := min(max(2-int(math.Floor(math.Log10(size))), 0), 8)
	text := strconv.FormatFloat(v, 'f', places, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// portion writes " (0.35%)"; nothing of nothing.
func portion(part, whole int64) string {
	if whole == 0 {
		return ""
	}
	return " (" + percent(float64(part)/float64(whole)) + ")"
}

// found says what a gate has counted at the step, and what it allows.
func found(g rollout.Gate, at place, c *Cell, slow time.Duration) string {
	switch g.Metric {
	case rollout.Disagreement:
		return fmt.Sprintf("%s of %s pairs disagree%s; allowed is up to %s", Number(c.ChallengerOnly), Number(c.Pairs), portion(c.ChallengerOnly, c.Pairs), percent(g.Limit))
	case rollout.ExcessDisagreement:
		return fmt.Sprintf("of %s requests that the champion was asked twice the challenger alone disagrees with it in %s, it with itself alone in %s, both in %s; %s",
			Number(c.Pairs), Number(c.ChallengerOnly), Number(c.ChampionOnly), Number(c.Both), allowed(g))
	case rollout.ScoreShift:
		n, sum, _ := c.Shift.of(g.Range)
		return fmt.Sprintf("%s moved by %s on average over %s pairs; allowed is up to %s either way", g.Output, figure(sum/max(n, 1)), Number(c.Shift.N), figure(g.Limit))
	case rollout.Drift:
		d := c.Scores.compare()
		return fmt.Sprintf("PSI of %s is %s over %s pairs (by chance about %s), Jensen-Shannon %s bits, Wasserstein %s standard deviations; allowed is a PSI up to %s",
			g.Output, figure(d.PSI), Number(drift{}.trials(at, c)), figure(d.Expected), figure(d.JensenShannon), figure(d.Wasserstein), figure(g.Limit))
	}
	if g.Mean {
		m := reported(g).(mean)
		return fmt.Sprintf("%s is %s on average over the challenger's %s requests, %s over the champion's %s; %s", g.Outcome,
			figure(c.ChallengerValues.mean(c.ChallengerLive, m)), Number(c.ChallengerLive), figure(c.ChampionValues.mean(c.ChampionLive, m)), Number(c.ChampionLive), allowed(g))
	}
	challenger, champion := "failed", ""
	switch g.Metric {
	case rollout.ReportedOutcome:
		challenger = g.Outcome
	case rollout.SlowRate:
		challenger = "took over " + Span(g.SlowerThan)
	case rollout.TailLatency:
		challenger, champion = "took over "+Span(Tolerated(g, slow)), " over its p99 of "+Span(slow)
	}
	if at.paired {
		return fmt.Sprintf("of %s pairs %s %s on the challenger alone, %s%s on the champion alone, %s on both; %s",
			Number(c.Pairs), Number(c.ChallengerOnly), challenger, Number(c.ChampionOnly), champion, Number(c.Both), allowed(g))
	}
	return fmt.Sprintf("%s of the challenger's %s requests %s%s, %s of the champion's %s%s%s; %s",
		Number(c.ChallengerBad), Number(c.ChallengerLive), challenger, portion(c.ChallengerBad, c.ChallengerLive),
		Number(c.ChampionBad), Number(c.ChampionLive), champion, portion(c.ChampionBad, c.ChampionLive), allowed(g))
}

// Tolerated is the latency that the challenger may have where the champion has slow.
func Tolerated(g rollout.Gate, slow time.Duration) time.Duration {
	return time.Duration(float64(slow) * (1 + g.Margin))
}

func allowed(g rollout.Gate) string {
	if g.Metric == rollout.TailLatency {
		return "allowed is no larger share"
	}
	direction := " more"
	if g.Late() && !g.Fewer {
		direction = " less"
	}
	switch {
	case g.Relative:
		return "allowed is up to " + percent(g.Margin) + direction
	case g.Mean:
		return "allowed is up to " + figure(g.Margin) + direction
	}
	return "allowed is up to " + figure(100*g.Margin) + "pp" + direction
}

// concluded says what a verdict means for what a gate has found.
func concluded(g rollout.Gate, v rollout.Verdict) string {
	shown, is := "shown to be ", "worse"
	switch g.Metric {
	case rollout.Drift:
		shown, is = "", "more"
	case rollout.Disagreement, rollout.ScoreShift:
		is = "more"
	}
	switch {
	case v == rollout.Fail:
		return shown + is + " than allowed"
	case v == rollout.Pass:
		return shown + "no " + is + " than allowed"
	case g.Metric == rollout.Drift:
		return "no further over the limit than chance explains"
	}
	return "not enough evidence either way"
}

// unit is what a gate counts.
func unit(at place) string {
	if at.paired {
		return "pairs"
	}
	return "requests"
}
