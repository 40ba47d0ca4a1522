package report

import (
	_ "embed" // page.html
	"fmt"
	"html/template"
	"io"
	"math"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"number": gate.Number, "percent": percent, "figure": figure, "seconds": seconds, "day": day, "plain": plain, "between": between, "share": share,
	"counts": countsInWords, "step": stepName, "short": short, "rules": func(r Rollout) string { return rulesInWords(&r) },
	"differences": func(o Output) template.HTML {
		return plotHistogram("differences of "+o.Name, o.Differences.Histogram, false)
	},
	"scores":   func(o Output) template.HTML { return plotHistogram("scores "+o.Name, o.Histogram, true) },
	"timeline": plotTimeline, "latest": latest, "tally": verdictsInWords,
	"segments": func(r Rollout) template.HTML { return plotSegments(r.Agree.Disagreement, r.Segments) },
	"latency":  func(a Arms) template.HTML { return plotLatency(&a) },
	"heat":     heat, "mixed": func(c *Confusion) []mixUp { return c.mixedUp(20) },
	"confidence": func(alpha float64) string { return percent(1 - alpha) },
	"mode":       func(v Revision) string { m, _ := rollout.ParseMode(v.Mode); return stepName(m, v.Weight) },
	"faults":     func(m Messages) []string { return m.faults() }, "words": func(m Messages) string { return m.words() },
}).Parse(pageText))

// WriteHTML writes a result as one page that needs nothing else: no scripts, no other files.
// made is when.
func (r *Result) WriteHTML(w io.Writer, made time.Time) error {
	return page.Execute(w, struct {
		*Result
		Made time.Time
	}{r, made})
}

// shownStep is a step as the page shows it; the latest is open and comes first.
type shownStep struct {
	Step
	Open bool
}

func latest(steps []Step) (out []shownStep) {
	for i := range steps {
		out = append(out, shownStep{steps[len(steps)-1-i], i == 0})
	}
	return out
}

func verdictsInWords(gates []Gate) string {
	n := map[string]int64{}
	for _, g := range gates {
		n[string(g.Verdict)]++
	}
	return countsInWords(counted(n))
}

// cell is one of a confusion matrix as the page shows it.
type cell struct {
	N     int64
	Agree bool
	// Heat is the share of the row, in percent, for the background.
	Heat template.CSS
	Hint string
}

// heat shades a confusion matrix by the share of each row.
func heat(c *Confusion) (rows [][]cell) {
	for i, counts := range c.Counts {
		var whole int64
		for _, n := range counts {
			whole += n
		}
		var row []cell
		for j, n := range counts {
			part := share(n, whole)
			row = append(row, cell{N: n, Agree: i == j, Heat: template.CSS(fmt.Sprintf("%.0f%%", 8+42*math.Sqrt(part))),
				Hint: fmt.Sprintf("%s of the champion's %q", percent(part), plain(c.Labels[i]))})
		}
		rows = append(rows, row)
	}
	return rows
}
