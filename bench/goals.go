package main

import (
	"fmt"
	"math"
	"strings"
)

// goal is what the gateway should reach; build/bench.json holds these.
type goal struct {
	Name string `json:"name"`
	// Limit is the largest figure that meets it.
	Limit float64 `json:"limit"`
	// Measured is null where it was not.
	Measured *float64 `json:"measured"`
	Met      bool     `json:"met"`
	// Note has the spread, or why there is no figure, or why it does not count.
	Note string `json:"note,omitempty"`

	unit string
}

// judge holds a figure against the limit.
func (g goal) judge(measured float64, note string) goal {
	g.Note = note
	if !math.IsNaN(measured) && !math.IsInf(measured, 0) {
		g.Measured = &measured
		g.Met = measured <= g.Limit
	}
	return g
}

// without is a goal that could not be judged.
func (g goal) without(why string) goal {
	g.Note = why
	return g
}

const unmeasured = "not measured in this run"

// judgeAll holds a run against all goals.
func judgeAll(r *report) (all []goal) {
	all = append(all, ratioGoals(r.Rows)...)
	all = append(all, mirrorGoals(r.Rows)...)
	all = append(all, recordGoal(r.Recording))
	all = append(all, memoryGoals(r.Rows)...)
	all = append(all, raceGoals(r.Race)...)
	return append(all, overloadGoals(r.Overload)...)
}

// ratioGoals are the gateway's CPU a request beside that of others.
func ratioGoals(rows results) (all []goal) {
	for _, g := range []struct {
		peer  string
		cell  cell
		limit float64
	}{
		{remarshaller, alone, 0.85}, {remarshaller, some, 0.72}, {remarshaller, many, 0.62}, {remarshaller, largeSome, 0.55},
		{nginx, alone, 2.2}, {nginx, some, 1.45}, {nginx, many, 1.25}, {nginx, largeSome, 1.7},
		{haproxy, largeSome, 0.8},
	} {
		goal := goal{Name: fmt.Sprintf("CPU a request, beside %s: %s", g.peer, g.cell), Limit: g.limit, unit: "x"}
		all = append(all, goal.ofRatio(rows.ratio(champion, g.peer, g.cell, cpu), 0))
	}
	return all
}

// ofRatio judges the median over the rounds, less what is not counted.
func (g goal) ofRatio(s spread, less float64) goal {
	if s.Rounds == 0 {
		return g.without(unmeasured)
	}
	return g.judge(s.Median-less, fmt.Sprintf("%.2f to %.2f in %d rounds", s.Least-less, s.Most-less, s.Rounds))
}

// mirrorGoals are what a mirror costs beside none.
func mirrorGoals(rows results) (all []goal) {
	for _, c := range []cell{alone, some, many, largeSome} {
		limit := 0.6
		if c.Size == largeSize {
			limit = 0.9
		}
		g := goal{Name: fmt.Sprintf("shadow's extra CPU: %s", c), Limit: limit, unit: "x"}
		all = append(all, g.ofRatio(rows.ratio(shadowing, champion, c, cpu), 1))
	}
	for _, c := range []cell{some, many, largeSome} {
		// Beside what makes the same records: those have a goal of their own.
		g := goal{Name: fmt.Sprintf("a dead challenger's extra CPU: %s", c), Limit: 0.05, unit: "x"}
		all = append(all, g.ofRatio(rows.ratio(shadowDead, shadowUncopied, c, cpu), 1))
	}
	return all
}

func recordGoal(r recording) goal {
	g := goal{Name: "recording a 500 B record at 16 callers, CPU", Limit: 4, unit: " µs"}
	none, ok := r["none/interval"]
	if !ok {
		return g.without(unmeasured)
	}
	note := "uncompressed, with a spool"
	if zstd, ok := r["zstd/interval"]; ok {
		note += fmt.Sprintf("; %.1f µs with zstd", zstd)
	}
	return g.judge(none, note)
}

// memoryGoals are the most that the gateway ever held beyond the byte budgets of its file.
func memoryGoals(rows results) []goal {
	return []goal{
		goal{Name: "resident memory beyond the byte budgets, requests to 16 KiB", Limit: 80, unit: " MB"}.
			ofPeak(rows, func(c cell) bool { return c.Size < largeSize }),
		goal{Name: "resident memory beyond the byte budgets, 600 KB, to 16 callers", Limit: 80, unit: " MB"}.
			ofPeak(rows, func(c cell) bool { return c.Size == largeSize && c.Callers <= 16 }),
	}
}

// budgetMB is what an arm's file lets wait: copies (64 MiB), and records (1 MiB).
func budgetMB(arm string) float64 {
	switch {
	case strings.HasPrefix(arm, shadowing):
		return 65 * 1.048576
	case strings.HasPrefix(arm, canarying):
		return 1.048576
	}
	return 0
}

// ofPeak judges the gateway's arm that is the furthest beyond its budget in some cells.
func (g goal) ofPeak(rows results, in func(cell) bool) goal {
	worst, note := math.Inf(-1), ""
	for _, r := range rows {
		peak := r.spread(peakMB).Most
		if beyond := peak - budgetMB(r.Arm); isGateway(r.Arm) && in(r.Cell) && peak > 0 && beyond > worst {
			worst, note = beyond, fmt.Sprintf("%s, %s: %.0f MB, with a budget of %.0f", r.Arm, r.Cell, peak, budgetMB(r.Arm))
		}
	}
	if math.IsInf(worst, -1) {
		return g.without(unmeasured)
	}
	return g.judge(max(worst, 0), note)
}

// raceGoals are the champion's p99 while its challenger is in trouble.
func raceGoals(r *race) (all []goal) {
	for _, arm := range []string{shadowSlow, shadowHung, shadowDead} {
		g := goal{Name: "champion's p99 beside no mirror: " + arm, Limit: 1.15, unit: "x"}
		x, ok := r.find(arm)
		if !ok {
			all = append(all, g.without(unmeasured))
			continue
		}
		g = g.judge(x.Ratio, fmt.Sprintf("%d requests, two without a mirror %.3fx apart", x.Requests, r.Twins))
		if !r.decided() {
			g.Met = false
			g.Note = "undecided: " + g.Note
		}
		if x.Failed > 0 {
			g.Met = false
			g.Note += fmt.Sprintf(", %d failed", x.Failed)
		}
		all = append(all, g)
	}
	return all
}
