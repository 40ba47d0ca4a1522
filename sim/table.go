package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// table shows results as they come, and before one what is being measured.
type table struct {
	out   io.Writer
	live  bool // out is a terminal: progress overwrites itself
	began time.Time

	mu    sync.Mutex
	what  string
	runs  int
	since time.Time
	drawn time.Time
}

func newTable(out io.Writer) *table {
	f, ok := out.(*os.File)
	return &table{out: out, live: ok && term.IsTerminal(int(f.Fd())), began: time.Now()}
}

// begin says what is measured from now on.
func (t *table) begin(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.what, t.runs, t.since = what, 0, time.Now()
}

// step counts a run.
func (t *table) step() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs++
	patience := 10 * time.Second
	if t.live {
		patience = 100 * time.Millisecond
	}
	if time.Since(t.drawn) < patience || time.Since(t.since) < patience {
		return
	}
	t.drawn = time.Now()
	begin, end := "", "\n"
	if t.live {
		begin, end = "\r\033[K", ""
	}
	fmt.Fprintf(t.out, "%s… %s: %s runs, %.0f s%s", begin, t.what, thousands(float64(t.runs)), time.Since(t.since).Seconds(), end)
}

const layout = "%-4s %-84s %10s %10s   %s\n"

func (t *table) row(r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live {
		fmt.Fprint(t.out, "\r\033[K")
	}
	verdict, bound := "ok", "at most "
	if !r.Met {
		verdict = "FAIL"
	}
	if r.claim.least {
		bound = "at least "
	}
	u := r.claim.unit
	fmt.Fprintf(t.out, layout, verdict, r.Claim, u.show(r.Measured), u.show(r.Low)+"–"+u.show(r.High), bound+u.show(r.Limit))
}

// foot tells whether all were met.
func (t *table) foot(results []result, file string) bool {
	failed := 0
	for _, r := range results {
		if !r.Met {
			failed++
		}
	}
	fmt.Fprintf(t.out, "%d claims, %d not met, in %s; %s\n", len(results), failed, time.Since(t.began).Round(time.Second), file)
	return failed == 0
}
