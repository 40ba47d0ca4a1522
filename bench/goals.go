package main

import (
	"fmt"
	"math"
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
	all = append(all, recordGoal(r.Recording), memoryGoal(r.Rows), memoryWithBudget(r.Rows))
	return append(all, raceGoals(r.Race)...)
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
		g := goal{Name: fmt.Sprintf("a dead challenger's extra CPU: %s", c), Limit: 0.05, unit: "x"}
		all = append(all, g.ofRatio(rows.ratio(shadowDead, champion, c, cpu), 1))
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

// mirrorMB is the arms' shadow.maxBytes, the one byte budget that they have beside 1 MiB of records.
const mirrorMB = 64 * 1.048576

// memoryGoal is the most that the gateway ever held with messages up to 16 KiB, which fill no budget.
func memoryGoal(rows results) goal {
	g := goal{Name: "resident memory, requests to 16 KiB", Limit: 80, unit: " MB"}
	return g.ofPeak(rows, func(c cell) bool { return c.Size < largeSize })
}

func memoryWithBudget(rows results) goal {
	g := goal{Name: "resident memory, 600 KB, with the mirror's budget of 64 MiB", Limit: 80 + mirrorMB, unit: " MB"}
	return g.ofPeak(rows, func(c cell) bool { return c.Size == largeSize && c.Callers <= 16 })
}

// ofPeak judges the highest peak of all the gateway's arms in some cells.
func (g goal) ofPeak(rows results, in func(cell) bool) goal {
	worst, note := 0.0, ""
	for _, r := range rows {
		if peak := r.spread(peakMB).Most; isGateway(r.Arm) && in(r.Cell) && peak > worst {
			worst, note = peak, fmt.Sprintf("%s, %s", r.Arm, r.Cell)
		}
	}
	if worst == 0 {
		return g.without(unmeasured)
	}
	return g.judge(worst, note)
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
