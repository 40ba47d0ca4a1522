package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// group is the rows of one part of the gateway.
type group struct {
	name string
	rows []row
}

// groups lists all rows there are.
func groups() []group {
	return []group{{"sink", sinkRows()}}
}

// row is one fault and what must hold under it.
type row struct {
	fault, must string
	// limit bounds the row's time, and that of its short form.
	limit, quick time.Duration
	// run makes the fault and writes down what came of it. An error says that it could
	// not be measured, which is not ok either.
	run func(context.Context, *rig, *finding) error
}

// result is a row that has run; build/faults.json holds these.
type result struct {
	Group    string `json:"group"`
	Fault    string `json:"fault"`
	Must     string `json:"must"`
	Measured string `json:"measured"`
	OK       bool   `json:"ok"`
}

// errSkip is wrapped by a row that this machine can't run.
var errSkip = errors.New("SKIP")

// perform runs one row in its time.
func perform(ctx context.Context, r *rig, g string, w row, allowSkip bool) result {
	limit := w.limit
	if r.quick {
		limit = w.quick
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the row took longer than %s", limit))
	defer cancel()
	var f finding
	err := w.run(ctx, r, &f)
	out := result{Group: g, Fault: w.fault, Must: w.must, OK: err == nil && len(f.broken) == 0 && len(f.figures) > 0}
	switch {
	case errors.Is(err, errSkip):
		out.OK = allowSkip
		f.figures = append(f.figures, err.Error())
	case err != nil:
		f.figures = append(f.figures, "NOT MEASURED: "+err.Error())
	}
	out.Measured = strings.Join(append(f.broken, f.figures...), "; ")
	return out
}

// finding is what a row measured so far.
type finding struct {
	figures []string
	// broken are the figures that are not as they must be.
	broken []string
}

// note adds a figure that nothing depends on.
func (f *finding) note(format string, args ...any) {
	f.figures = append(f.figures, fmt.Sprintf(format, args...))
}

// check adds a figure that must be ok.
func (f *finding) check(ok bool, format string, args ...any) {
	if ok {
		f.note(format, args...)
		return
	}
	f.broken = append(f.broken, "BROKEN: "+fmt.Sprintf(format, args...))
}

// await returns when ok says so, or with an error that says what it waited for and how
// things stood.
func await(ctx context.Context, what string, patience time.Duration, ok func() (bool, string)) error {
	began := time.Now()
	last := ""
	for {
		var done bool
		if done, last = ok(); done {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("not within %s: %s (%s)", patience, what, last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting until %s (%s): %w", what, last, context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// rest sleeps, unless ctx ends before.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
