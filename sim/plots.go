package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"

	"github.com/understudy-serving/understudy/rollout"
)

// images is where the plots go.
const images = "docs/img"

var weightColours = []struct {
	w      rollout.Weight
	colour string
}{{500, orange}, {1000, pink}, {2500, green}, {5000, blue}}

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
	p := newPlot("Evidence against the challenger, errors 1% at the champion, 10% of the traffic",
		axis{from: 100, to: most, log: true, ticks: powers(100, most), label: "requests, both arms", show: short},
		axis{from: -2, to: 3, ticks: []float64{-2, -1, 0, 1, 2, 3}, label: "evidence", show: func(v float64) string { return plain(math.Pow(10, v)) }})
	draw := func(seed uint64, errors, width, opacity float64, colour string) {
		path := evidencePath(seed, errors, most)
		for len(path) > 1 && path[1].x < 100 {
			path = path[1:]
		}
		path[0].x = max(path[0].x, 100)
		p.curve(path, colour, width, opacity, false)
	}
	for seed := range uint64(60) {
		draw(seed+1, 0.01, 1, 0.45, grey)
	}
	for seed := range uint64(6) {
		draw(seed+100, 0.02, 1.5, 0.9, blue)
		draw(seed+200, 0.05, 1.5, 0.9, orange)
	}
	p.line(p.px(100), p.py(2), p.px(most), p.py(2), ink, 1.5, "6 4")
	p.text(p.px(115), p.py(2)-6, "start", "rolled back at 1/α = 100")
	p.legend(p.left+16, p.height-p.bottom-54, entry{orange, "6 that fail 5%"}, entry{blue, "6 that fail 2%"}, entry{grey, "60 as good as the champion"})
	return replace(filepath.Join(images, "evidence.svg"), p.svg())
}

// plotDetection shows how many requests it takes to catch what fails more.
func plotDetection(ctx context.Context, s sample) error {
	p := newPlot("Requests to catch a challenger, errors 1% at the champion (median)",
		axis{from: 0.014, to: 0.55, log: true, ticks: []float64{0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5}, label: "errors of the challenger", show: percentOf},
		axis{from: 10, to: 1e6, log: true, ticks: powers(10, 1e6), label: "requests, both arms", show: short})
	var legend []entry
	for _, k := range weightColours {
		var points []point
		for _, errors := range []float64{0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5} {
			f := s.median(ctx, s.pick(25, 101), func(seed uint64) float64 {
				l := newLedger(seed, k.w, errorRate(0, true))
				return l.until(failed, l.live, rates{0.01, errors}, long, 1e6)
			})
			points = append(points, point{errors, f.measured})
		}
		p.curve(points, k.colour, 2, 1, true)
		legend = append(legend, entry{k.colour, "at " + k.w.String()})
	}
	p.legend(p.width-130, top+14, legend...)
	return replace(filepath.Join(images, "detection.svg"), p.svg())
}

// plotPasses shows how many requests an equal challenger takes to pass.
func plotPasses(ctx context.Context, s sample) error {
	margins := []float64{0.003, 0.005, 0.01, 0.02, 0.05}
	p := newPlot("Requests that an equal challenger takes to pass, errors 1% (median)",
		axis{from: 0.0027, to: 0.055, log: true, ticks: margins, label: "allowed increase, percentage points", show: func(v float64) string { return plain(math.Round(v*1e4)/100) + "pp" }},
		axis{from: 100, to: 1e6, log: true, ticks: powers(100, 1e6), label: "requests, both arms", show: short})
	var legend []entry
	for _, k := range weightColours {
		var points []point
		for _, m := range margins {
			f := toPass(passCost{0.01, m}, k.w)(ctx, s)
			points = append(points, point{m, f.measured})
		}
		p.curve(points, k.colour, 2, 1, true)
		legend = append(legend, entry{k.colour, "at " + k.w.String()})
	}
	p.legend(p.width-130, top+14, legend...)
	return replace(filepath.Join(images, "passes.svg"), p.svg())
}

// plotDuel shows how often each judge ended wrongly, as bars.
func plotDuel(scores [][]score) error {
	const row, from = 64, 300
	colours := []string{blue, orange, green}
	p := &plot{width: 760, height: top + 40 + row*float64(len(scenarios))}
	p.open("Rollouts that ended wrongly: healthy ones rolled back, harmful ones promoted")
	for j, name := range judges {
		p.legend(14+220*float64(j), 46, entry{colours[j], name})
	}
	for i, c := range scenarios {
		y := top + 30 + row*float64(i)
		p.text(from-10, y+26, "end", c.name)
		for j := range judges {
			wrong := wrongOf(c, scores[i][j])
			width := (p.width - from - 90) * wrong
			p.bar(from, y+16*float64(j), width, 13, colours[j])
			p.text(from+max(width, 1)+6, y+16*float64(j)+11, "start", fmt.Sprintf("%.0f%%", 100*wrong))
		}
	}
	return replace(filepath.Join(images, "judges.svg"), p.svg())
}

// wrongOf is the share of rollouts that ended as they should not.
func wrongOf(c scenario, s score) float64 {
	share := s.rolledBack
	if c.harmful {
		share = s.promoted
	}
	return float64(share.Of) / float64(share.All)
}
