package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// table shows cells as they are measured, and before one what runs.
type table struct {
	out   io.Writer
	live  bool // out is a terminal: progress overwrites itself
	began time.Time

	mu   sync.Mutex
	said time.Time
}

func newTable(out io.Writer) *table {
	f, ok := out.(*os.File)
	return &table{out: out, live: ok && term.IsTerminal(int(f.Fd())), began: time.Now()}
}

// progress says what is running; where lines stay, not too often.
func (t *table) progress(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.live && time.Since(t.said) < 10*time.Second {
		return
	}
	t.said = time.Now()
	begin, end := "", "\n"
	if t.live {
		begin, end = "\r\033[K", ""
	}
	fmt.Fprintf(t.out, "%s… %4.0f s  %s%s", begin, time.Since(t.began).Seconds(), fmt.Sprintf(format, args...), end)
}

// say writes a line that stays.
func (t *table) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	fmt.Fprintf(t.out, "… %4.0f s  %s\n", time.Since(t.began).Seconds(), fmt.Sprintf(format, args...))
}

func (t *table) clear() {
	if t.live {
		fmt.Fprint(t.out, "\r\033[K")
	}
}

// cell shows a cell that is measured.
func (t *table) cell(all results, c cell) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	fmt.Fprintf(t.out, "\n%s\n", c)
	layout := []int{-50, 8, 8, 8, 9, 8, 22}
	base := baseOf(all)
	t.line(layout, "", "CPU µs", "req/s", "p50 µs", "p99 µs", "peak MB", "CPU beside "+base)
	for _, r := range all.inOrder(c) {
		t.line(layout, r.Arm, shown(r.spread(cpu).Median, 1), shown(r.spread(perSecond).Median, 0), shown(r.spread(p50).Median, 0),
			shown(r.spread(p99).Median, 0), shown(r.spread(peakMB).Most, 0), all.ratio(r.Arm, base, c, cpu).String()+failures(r))
	}
}

// baseOf is whom the terminal's table compares with.
func baseOf(all results) string {
	if all.arm(nginx) && !all.arm(champion+other) {
		return nginx
	}
	return champion
}

// failures says how many calls failed, where any did.
func failures(r *row) string {
	sum, why := 0, ""
	for _, s := range r.Samples {
		if sum += s.Failed; s.Failed > 0 {
			why = s.Error
		}
	}
	if sum == 0 {
		return ""
	}
	return fmt.Sprintf(" FAILED %d: %s", sum, why)
}

func shown(v float64, digits int) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// line writes columns; a negative width is aligned to the left.
func (t *table) line(widths []int, columns ...string) {
	var b strings.Builder
	for i, c := range columns {
		room := strings.Repeat(" ", max(0, max(widths[i], -widths[i])-utf8.RuneCountInString(c)))
		if widths[i] < 0 {
			b.WriteString(c + room)
		} else {
			b.WriteString(" " + room + c)
		}
	}
	fmt.Fprintln(t.out, strings.TrimRight(b.String(), " "))
}

// goals shows which are met, and tells whether all are.
func (t *table) goals(all []goal, file string) (met bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	fmt.Fprintln(t.out)
	missed := 0
	for _, g := range all {
		verdict := "ok"
		if !g.Met {
			verdict = "MISS"
			missed++
		}
		fmt.Fprintf(t.out, "%-4s %-70s %10s, at most %s  (%s)\n", verdict, g.Name, g.figure(), g.bound(), g.Note)
	}
	fmt.Fprintf(t.out, "%d goals, %d not met, in %s; %s\n", len(all), missed, time.Since(t.began).Round(time.Second), file)
	return missed == 0
}

func (g goal) figure() string {
	if g.Measured == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f%s", *g.Measured, g.unit)
}

func (g goal) bound() string { return fmt.Sprintf("%.3g%s", g.Limit, g.unit) }
