package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"

	"github.com/understudy-serving/understudy/plot"
	"github.com/understudy-serving/understudy/rollout"
)

// images is where the plots go.
const images = "docs/img"

var weightColours = []struct {
	w      rollout.Weight
	colour string
}{{500, plot.Orange}, {1000, plot.Pink}, {2500, plot.Green}, {5000, plot.Blue}}

func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// short writes 10000 as "10k".
func short(v float64) string {
	switch {
	case v >= 1e6:
		return plain(v/1e6) + "M"
	case v >= 1e3:
		return plain(v/1e3) + "k"
	}
	return plain(v)
}

func percentOf(v float64) string { return plain(math.Round(v*1e4)/100) + "%" }

func powers(from, to float64) (ticks []float64) {
	for v := from; v <= to*1.0001; v *= 10 {
		ticks = append(ticks, v)
	}
	return ticks
}

// plotEvidence shows the evidence of rollouts as they go.
func plotEvidence() error {
	const most = 100_000
	p := plot.New("Evidence against the challenger, errors 1% at the champion, 10% of the traffic",
		plot.Axis{From: 100, To: most, Log: true, Ticks: powers(100, most), Label: "requests, both arms", Show: short},
		plot.Axis{From: -2, To: 3, Ticks: []float64{-2, -1, 0, 1, 2, 3}, Label: "evidence", Show: func(v float64) string { return plain(math.Pow(10, v)) }})
	draw := func(seed uint64, errors, width, opacity float64, colour string) {
		path := evidencePath(seed, errors, most)
		for len(path) > 1 && path[1].X < 100 {
			path = path[1:]
		}
		path[0].X = max(path[0].X, 100)
		p.Curve(path, colour, width, opacity, false)
	}
	for seed := range uint64(60) {
		draw(seed+1, 0.01, 1, 0.45, plot.Grey)
	}
	for seed := range uint64(6) {
		draw(seed+100, 0.02, 1.5, 0.9, plot.Blue)
		draw(seed+200, 0.05, 1.5, 0.9, plot.Orange)
	}
	p.Line(p.PX(100), p.PY(2), p.PX(most), p.PY(2), plot.Ink, 1.5, "6 4")
	p.Text(p.PX(115), p.PY(2)-6, "start", "rolled back at 1/α = 100")
	p.Legend(p.Left+16, p.Height-p.Bottom-54, plot.Entry{Colour: plot.Orange, Text: "6 that fail 5%"}, plot.Entry{Colour: plot.Blue, Text: "6 that fail 2%"}, plot.Entry{Colour: plot.Grey, Text: "60 as good as the champion"})
	return replace(filepath.Join(images, "evidence.svg"), p.SVG())
}

// plotDetection shows how many requests it takes to catch what fails more.
func plotDetection(ctx context.Context, s sample) error {
	p := plot.New("Requests to catch a challenger, errors 1% at the champion (median)",
		plot.Axis{From: 0.014, To: 0.55, Log: true, Ticks: []float64{0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5}, Label: "errors of the challenger", Show: percentOf},
		plot.Axis{From: 10, To: 1e6, Log: true, Ticks: powers(10, 1e6), Label: "requests, both arms", Show: short})
	var legend []plot.Entry
	for _, k := range weightColours {
		var points []plot.Point
		for _, errors := range []float64{0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5} {
			f := s.median(ctx, s.pick(25, 101), func(seed uint64) float64 {
				l := newLedger(seed, k.w, errorRate(0, true))
				return l.until(failed, l.live, rates{0.01, errors}, long, 1e6)
			})
			points = append(points, plot.Point{X: errors, Y: f.measured})
		}
		p.Curve(points, k.colour, 2, 1, true)
		legend = append(legend, plot.Entry{Colour: k.colour, Text: "at " + k.w.String()})
	}
	p.Legend(p.Width-130, plot.Top+14, legend...)
	return replace(filepath.Join(images, "detection.svg"), p.SVG())
}

// plotPasses shows how many requests an equal challenger takes to pass.
func plotPasses(ctx context.Context, s sample) error {
	margins := []float64{0.003, 0.005, 0.01, 0.02, 0.05}
	p := plot.New("Requests that an equal challenger takes to pass, errors 1% (median)",
		plot.Axis{From: 0.0027, To: 0.055, Log: true, Ticks: margins, Label: "allowed increase, percentage points", Show: func(v float64) string { return plain(math.Round(v*1e4)/100) + "pp" }},
		plot.Axis{From: 100, To: 1e6, Log: true, Ticks: powers(100, 1e6), Label: "requests, both arms", Show: short})
	var legend []plot.Entry
	for _, k := range weightColours {
		var points []plot.Point
		for _, m := range margins {
			f := toPass(passCost{0.01, m}, k.w)(ctx, s)
			points = append(points, plot.Point{X: m, Y: f.measured})
		}
		p.Curve(points, k.colour, 2, 1, true)
		legend = append(legend, plot.Entry{Colour: k.colour, Text: "at " + k.w.String()})
	}
	p.Legend(p.Width-130, plot.Top+14, legend...)
	return replace(filepath.Join(images, "passes.svg"), p.SVG())
}

// plotDuel shows how often each judge ended wrongly, as bars.
func plotDuel(scores [][]score) error {
	const row, from = 64, 300
	colours := []string{plot.Blue, plot.Orange, plot.Green}
	p := plot.Bare("Rollouts that ended wrongly: healthy ones rolled back, harmful ones promoted", 760, plot.Top+40+row*float64(len(scenarios)))
	for j, name := range judges {
		p.Legend(14+220*float64(j), 46, plot.Entry{Colour: colours[j], Text: name})
	}
	for i, c := range scenarios {
		y := plot.Top + 30 + row*float64(i)
		p.Text(from-10, y+26, "end", c.name)
		for j := range judges {
			wrong := wrongOf(c, scores[i][j])
			width := (p.Width - from - 90) * wrong
			p.Bar(from, y+16*float64(j), width, 13, colours[j])
			p.Text(from+max(width, 1)+6, y+16*float64(j)+11, "start", fmt.Sprintf("%.0f%%", 100*wrong))
		}
	}
	return replace(filepath.Join(images, "judges.svg"), p.SVG())
}

// wrongOf is the share of rollouts that ended as they should not.
func wrongOf(c scenario, s score) float64 {
	share := s.rolledBack
	if c.harmful {
		share = s.promoted
	}
	return float64(share.Of) / float64(share.All)
}
