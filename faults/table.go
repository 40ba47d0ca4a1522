package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// table shows rows as they finish, and above an unfinished one what it is doing.
type table struct {
	out    io.Writer
	widths [3]int // of fault, must and measured
	live   bool   // out is a terminal: progress overwrites itself
	width  int
	began  time.Time

	mu     sync.Mutex
	since  time.Time
	fault  string
	status bool      // a progress line stands on the screen
	said   time.Time // when progress last wrote a line that stays
}

func newTable(out io.Writer) *table {
	t := &table{out: out, width: 140, began: time.Now(), since: time.Now(), fault: "setting up"}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.live = true
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w >= 80 {
			t.width = w
		}
	}
	room := t.width - len(" | ")*3 - len("FAIL")
	t.widths = [3]int{room / 5, room * 3 / 10, room - room/5 - room*3/10}
	return t
}

func (t *table) head() {
	t.line("fault", "must hold", "measured", "ok")
	fmt.Fprintln(t.out, strings.Repeat("-", t.width))
}

func (t *table) list(group string, w row) {
	fmt.Fprintf(t.out, "%s: %s\n    %s\n", group, w.fault, w.must)
}

// quiet is the least time between lines of progress that stay.
const quiet = 5 * time.Second

// begin says which row runs from now on.
func (t *table) begin(w row) {
	t.mu.Lock()
	t.fault, t.since, t.said = w.fault, time.Now(), time.Time{}
	t.mu.Unlock()
	t.progress("begins")
}

// progress says what the running row is doing; where lines stay, not too often.
func (t *table) progress(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.live && time.Since(t.said) < quiet {
		return
	}
	t.said = time.Now()
	text := fmt.Sprintf("… %s, %.0f s: %s", t.fault, time.Since(t.since).Seconds(), fmt.Sprintf(format, args...))
	if !t.live {
		fmt.Fprintln(t.out, text)
		return
	}
	if utf8.RuneCountInString(text) >= t.width {
		text = string([]rune(text)[:t.width-1])
	}
	fmt.Fprint(t.out, "\r\033[K", text)
	t.status = true
}

func (t *table) row(r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status {
		fmt.Fprint(t.out, "\r\033[K")
		t.status = false
	}
	verdict := "ok"
	if !r.OK {
		verdict = "FAIL"
	}
	t.line(r.Fault, r.Must, r.Measured, verdict)
	fmt.Fprintln(t.out, strings.Repeat("-", t.width))
}

// line writes one row, each cell wrapped to its column.
func (t *table) line(fault, must, measured, ok string) {
	cells := [][]string{wrap(fault, t.widths[0]), wrap(must, t.widths[1]), wrap(measured, t.widths[2]), {ok}}
	widths := []int{t.widths[0], t.widths[1], t.widths[2], 0}
	lines := 0
	for _, c := range cells {
		lines = max(lines, len(c))
	}
	for i := range lines {
		var parts []string
		for c, cell := range cells {
			text := ""
			if i < len(cell) {
				text = cell[i]
			}
			parts = append(parts, text+strings.Repeat(" ", max(0, widths[c]-utf8.RuneCountInString(text))))
		}
		fmt.Fprintln(t.out, strings.TrimRight(strings.Join(parts, " | "), " "))
	}
}

// wrap breaks text at spaces into lines of at most width characters, where words allow it.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
		for runes := []rune(line); len(runes) > width; runes = []rune(line) {
			lines = append(lines, string(runes[:width]))
			line = string(runes[width:])
		}
	}
	return append(lines, line)
}

func (t *table) foot(results []result, file string) {
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
	}
	fmt.Fprintf(t.out, "%d rows, %d failed, in %s; %s\n", len(results), failed, time.Since(t.began).Round(time.Second), file)
}

// writeJSON replaces file with the results, at once.
func writeJSON(file string, results []result) error {
	text, err := json.MarshalIndent(struct {
		Rows []result `json:"rows"`
	}{results}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	fresh, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(fresh.Name()) // does nothing once it is renamed
	if _, err := fresh.Write(append(text, '\n')); err != nil {
		_ = fresh.Close()
		return err
	}
	if err := fresh.Close(); err != nil {
		return err
	}
	if err := os.Chmod(fresh.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh.Name(), file)
}
