package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// sentence says what was found about a rollout.
func sentence(r *Rollout) string {
	a := r.Agree
	who := fmt.Sprintf("%s: %s", r.Model, short(r.Challenger, "the challenger"))
	if a.Compared == 0 {
		return fmt.Sprintf("%s: none of %s records has both predictions to compare", who, gate.Number(r.Records))
	}
	s := fmt.Sprintf("%s disagrees with %s on %s of %s compared requests: %s, between %s and %s (%s confidence)", who, short(r.Champion, "the champion"),
		gate.Number(a.Disagree), gate.Number(a.Compared), percent(a.Disagreement.Rate), percent(a.Disagreement.Low), percent(a.Disagreement.High), percent(1-a.Alpha))
	if said := verdicts(r.Gates); said != "" {
		s += "; " + said
	}
	if r.Rules == "defaults" && a.Otherwise > 0 {
		s += fmt.Sprintf("; the gateway, by its own tolerances, judged %s of them otherwise", gate.Number(a.Otherwise))
	}
	return s
}

// short names an arm by model and version.
func short(s rollout.Spec, none string) string {
	switch {
	case s == rollout.Spec{}:
		return none
	case s.Model == "":
		return s.Target
	case s.Version == "":
		return s.Model
	}
	return s.Model + ":" + s.Version
}

// verdicts says what the gates make of the last step.
func verdicts(steps []Step) string {
	if len(steps) == 0 {
		return ""
	}
	last := steps[len(steps)-1]
	var failed, open []string
	for _, g := range last.Gates {
		name := g.Name
		if g.Segment != "" {
			name += " of " + g.Segment
		}
		switch g.Verdict {
		case rollout.Fail:
			failed = append(failed, name)
		case rollout.Inconclusive:
			open = append(open, name)
		}
	}
	at := stepName(last.Mode, last.Weight)
	switch {
	case len(failed) > 0:
		return "at " + at + " these gates fail: " + strings.Join(failed, ", ")
	case len(open) > 0:
		return "at " + at + " no gate fails, and these have not passed: " + strings.Join(open, ", ")
	case len(last.Gates) > 0:
		return "at " + at + " all gates pass"
	}
	return ""
}

// stepName is "shadow" or "canary 5%".
func stepName(m rollout.Mode, weight float64) string {
	if m == rollout.ModeCanary {
		return "canary " + strconv.FormatFloat(weight, 'f', -1, 64) + "%"
	}
	return m.String()
}

// percent writes a share with three significant digits.
func percent(share float64) string { return figure(100*share) + "%" }

// figure writes three significant digits, without an exponent where it is readable.
func figure(v float64) string {
	text := strconv.FormatFloat(v, 'g', 3, 64)
	if short, err := strconv.ParseFloat(text, 64); err == nil && (v == 0 || abs(v) >= 1e-4 && abs(v) < 1e7) {
		return strconv.FormatFloat(short, 'f', -1, 64)
	}
	return text
}

func abs(v float64) float64 { return max(v, -v) }

// seconds writes a latency with three significant digits.
func seconds(v float64) string {
	switch {
	case v <= 0:
		return "-"
	case v < 1e-3:
		return figure(v*1e6) + " µs"
	case v < 1:
		return figure(v*1e3) + " ms"
	}
	return figure(v) + " s"
}

func day(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

// plain takes out what could command a terminal or break a line: names come from others.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}
