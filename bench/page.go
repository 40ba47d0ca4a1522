package main

import (
	_ "embed"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/understudy-serving/understudy/plot"
)

// page is the document that is written here, images where its plots go.
const (
	page   = "docs/performance.md"
	images = "docs/img"
)

// notes is what was tried, kept by hand.
//
//go:embed notes.md
var notes string

// writePage makes the page and its plots from a report.
func writePage(r *report) error {
	if err := replace(page, []byte(pageOf(r))); err != nil {
		return err
	}
	for _, c := range []cell{some, largeSome} {
		file := filepath.Join(images, fmt.Sprintf("cpu-%d.svg", c.Size))
		if err := replace(file, plotCPU(r.Rows, c)); err != nil {
			return err
		}
	}
	return nil
}

func pageOf(r *report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Performance\n\n`make bench` measures this, and writes this page from `build/bench.json`; `make bench QUICK=1` measures only.\n\n")
	fmt.Fprintf(&b, "All processes on one machine, over loopback: %d cores of %s, %s, Go %s. %s.\n",
		r.Machine.Cores, r.Machine.CPU, r.Machine.Kernel, r.Machine.Go, versionsLine(r))
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "%s.\n", m)
	}
	if r.Quick {
		b.WriteString("This was the short form, with fewer cells and shorter rounds.\n")
	}
	b.WriteString(method)
	b.WriteString(goalsTable(r.Goals))
	b.WriteString(ratiosTable(r.Rows))
	b.WriteString("\n![CPU a request, 200 B](img/cpu-200.svg)\n\n![CPU a request, 600 KB](img/cpu-600000.svg)\n")
	b.WriteString(raceTable(r.Race))
	b.WriteString(overloadText(r.Overload))
	b.WriteString(cellTables(r.Rows))
	b.WriteString("\n" + notes)
	return b.String()
}

// method says how to read the figures.
const method = `
Each round runs every arm once, in an order of its own, and a ratio is taken within a round: the figures are the median of the rounds, with the
least and the most. CPU is that of all the proxy's processes, from the kernel's clock, a request that the client has its answer to; a mirror's
second call is in it. Clients have four connections and a deadline on each call; answers are 200 B. An open loop (` + "`2000/s`" + `) counts latency from the time
that its schedule gives a request. The gateway runs with routing, breakers, counters and metrics on; in shadow and canary its records
are made and dropped, and what recording costs is measured apart. Peak memory is the most that was resident in that cell, with what
earlier cells left.
`

func versionsLine(r *report) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		parts = append(parts, name+" "+r.Versions[name])
	}
	return strings.Join(parts, ", ")
}

func goalsTable(goals []goal) string {
	var b strings.Builder
	b.WriteString("\n## Goals\n\n| | measured | at most | | |\n| --- | --- | --- | --- | --- |\n")
	for _, g := range goals {
		met := "met"
		if !g.Met {
			met = "**not met**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", g.Name, g.figure(), g.bound(), met, g.Note)
	}
	return b.String()
}

// beside lists who is compared with whom.
var beside = []struct{ of, to string }{
	{champion, remarshaller}, {champion, nginx}, {champion, haproxy}, {champion, envoy}, {twin, champion},
	{shadowing, champion}, {shadowSlow, champion}, {shadowDead, champion}, {canarying, champion},
	{nginx + " mirror", nginx}, {envoy + " mirror", envoy}, {nginx + " split 10%", nginx}, {haproxy + " split 10%", haproxy}, {envoy + " split 10%", envoy},
	{shadowing, nginx + " mirror"}, {shadowing, envoy + " mirror"},
}

func ratiosTable(rows results) string {
	var b strings.Builder
	cells := rows.cells()
	b.WriteString("\n## CPU a request, as a ratio\n\n| |")
	for _, c := range cells {
		fmt.Fprintf(&b, " %s |", c)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(cells)) + "\n")
	for _, p := range beside {
		if rows.arm(p.of) && rows.arm(p.to) {
			fmt.Fprintf(&b, "| %s / %s |", p.of, p.to)
			for _, c := range cells {
				fmt.Fprintf(&b, " %s |", rows.ratio(p.of, p.to, c, cpu))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func raceTable(r *race) string {
	if r == nil {
		return ""
	}
	verdict := "the race counts"
	if !r.decided() {
		verdict = "**the race is undecided**"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n## The champion's latency while its challenger is in trouble\n\nFive gateways share one open loop of %.0f requests a second, "+
		"each request going to one at random. The slow challenger takes 200 ms, the hung one never answers. "+
		"The two without a mirror are %.3fx apart at p99: %s (it does at %.2fx at most, without a failure; runs: %d).\n\n"+
		"| | requests | failed | p50 µs | p99 µs | p99 beside no mirror |\n| --- | --- | --- | --- | --- | --- |\n", r.Rate, r.Twins, verdict, twinsApart, r.Runs)
	for _, x := range r.Runners {
		fmt.Fprintf(&b, "| %s | %d | %d | %.0f | %.0f | %.3fx |\n", x.Arm, x.Requests, x.Failed, x.P50, x.P99, x.Ratio)
	}
	return b.String()
}

func overloadText(o *overload) string {
	if o == nil {
		return ""
	}
	return fmt.Sprintf("\n## Overload\n\nIn shadow, 200 B, default limits, before models that take 4 ms for each of 8 requests at a time: an open loop of %.0f requests a second for %.0f s, where 64 callers get %.0f: "+
		"%d were served, %d refused with RESOURCE_EXHAUSTED, %d ran into their deadline, %d failed otherwise. "+
		"%.0f copies were shed; %.0f calls were refused before that began. At most %.0f MB were resident. Calls were quick again %.1f s after the end.\n",
		o.Offered, o.Seconds, o.Sustained, o.Served, o.Refused, o.Late, o.Other, o.Shed, o.Hasty, o.PeakMB, o.Recovery)
}

func cellTables(rows results) string {
	var b strings.Builder
	b.WriteString("\n## Figures\n\nMedians; in brackets the least and the most of the rounds.\n")
	for _, c := range rows.cells() {
		fmt.Fprintf(&b, "\n### %s\n\n| | CPU µs | requests/s | p50 µs | p99 µs | peak MB |\n| --- | --- | --- | --- | --- | --- |\n", c)
		for _, r := range rows.inOrder(c) {
			s := r.spread(cpu)
			used := "–"
			if s.Rounds > 0 {
				used = fmt.Sprintf("%.1f (%.1f–%.1f)", s.Median, s.Least, s.Most)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |%s\n", r.Arm, used, shown(r.spread(perSecond).Median, 0), shown(r.spread(p50).Median, 0),
				shown(r.spread(p99).Median, 0), shown(r.spread(peakMB).Most, 0), failures(r))
		}
	}
	return b.String()
}

// cells are those that were measured, in order.
func (all results) cells() (cells []cell) {
	for _, r := range all {
		if !slices.Contains(cells, r.Cell) {
			cells = append(cells, r.Cell)
		}
	}
	return cells
}

func (all results) arm(name string) bool {
	return slices.ContainsFunc(all, func(r *row) bool { return r.Arm == name })
}

// inOrder are a cell's rows as arms are listed, whatever order they ran in.
func (all results) inOrder(c cell) (rows []*row) {
	for _, r := range all {
		if r.Cell == c {
			rows = append(rows, r)
		}
	}
	return rows
}

func isGateway(arm string) bool { return strings.HasPrefix(arm, "understudy") }

// plotCPU draws a cell's CPU a request as bars, the gateway's in a colour of their own.
func plotCPU(rows results, c cell) []byte {
	const step, from = 24, 260
	shownRows := slices.DeleteFunc(rows.inOrder(c), func(r *row) bool { return r.spread(cpu).Rounds == 0 })
	most := 0.0
	for _, r := range shownRows {
		most = max(most, r.spread(cpu).Most)
	}
	p := plot.Bare("CPU µs a request: "+c.String()+" (line: least to most of the rounds)", 760, plot.Top+20+step*float64(len(shownRows)))
	width := (p.Width - from - 70) / max(most, 1)
	for i, r := range shownRows {
		y, s := plot.Top+step*float64(i), r.spread(cpu)
		colour := plot.Grey
		if isGateway(r.Arm) {
			colour = plot.Blue
		}
		p.Text(from-10, y+13, "end", r.Arm)
		p.Bar(from, y, width*s.Median, 16, colour)
		p.Line(from+width*s.Least, y+8, from+width*s.Most, y+8, plot.Ink, 1.5, "")
		p.Text(from+width*s.Most+8, y+13, "start", fmt.Sprintf("%.1f", s.Median))
	}
	return p.SVG()
}
