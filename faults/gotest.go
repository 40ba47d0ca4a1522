package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// testRun is what `go test` said.
type testRun struct {
	passed, failed []string // names, those of subtests with their parent's
	lines          []string // of output
}

// goTest runs tests of a package with more in the environment. An error says that they
// could not be run; tests that fail are none.
func goTest(ctx context.Context, pattern string, env []string, args ...string) (run testRun, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-count=1", "-timeout=0", "-run", pattern}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, failure := cmd.Output()
	if ctx.Err() != nil {
		return run, context.Cause(ctx)
	}
	run = parseTestRun(out)
	if len(run.passed)+len(run.failed) == 0 {
		return run, fmt.Errorf("go test -run %s %s ran nothing: %w: %s%s", pattern, strings.Join(args, " "),
			errors.Join(failure, errNoTest), &stderr, strings.Join(run.lines, ""))
	}
	return run, nil
}

var errNoTest = errors.New("no test of that name passed or failed")

func parseTestRun(out []byte) (run testRun) {
	for line := range bytes.Lines(out) {
		var e struct{ Action, Test, Output string }
		if json.Unmarshal(line, &e) != nil {
			run.lines = append(run.lines, string(line)) // the compiler's
			continue
		}
		switch {
		case e.Action == "output":
			run.lines = append(run.lines, e.Output)
		case e.Test == "":
		case e.Action == "pass":
			run.passed = append(run.passed, e.Test)
		case e.Action == "fail":
			run.failed = append(run.failed, e.Test)
		}
	}
	return run
}

// sum adds up the numbers behind a name, as in "{Kills:12 Losses:3}".
func (t testRun) sum(name string) (sum int) {
	for _, line := range t.lines {
		for rest := line; ; {
			_, behind, found := strings.Cut(rest, name+":")
			if !found {
				break
			}
			var n int
			if _, err := fmt.Sscanf(behind, "%d", &n); err == nil {
				sum += n
			}
			rest = behind
		}
	}
	return sum
}

// complaint is the first line that a failed test wrote, for a start.
func (t testRun) complaint() string {
	if len(t.failed) == 0 {
		return ""
	}
	for _, line := range t.lines {
		if text := strings.TrimSpace(line); strings.Contains(text, "_test.go:") && !strings.Contains(text, "{") {
			return " (" + text + ")"
		}
	}
	return " (" + t.failed[0] + ")"
}

// powerLost runs the spool's model test: a file system that forgets what was not synced.
func powerLost(ctx context.Context, r *rig, f *finding) error {
	crashes := pick(r, 12_000, 600)
	r.progress("%d crashes over a model of a file system", crashes)
	t, err := goTest(ctx, "^TestPowerLoss$", []string{fmt.Sprint("UNDERSTUDY_CRASHES=", crashes)}, "./spool")
	if err != nil {
		return err
	}
	f.check(len(t.failed) == 0, "%d modes of fsync hold, %d do not%s", max(0, len(t.passed)-1), len(t.failed), t.complaint())
	kills, losses := t.sum("Kills"), t.sum("Losses")
	f.check(kills+losses >= pick(r, 10_000, 500), "%d crashes: %d of the process, %d of the power", kills+losses, kills, losses)
	f.note("%d records acknowledged, %d found again", t.sum("Acknowledged"), t.sum("Recovered"))
	if r.quick {
		return nil
	}
	r.progress("the same without each fsync in turn")
	t, err = goTest(ctx, "^TestEachFsyncIsNeeded$", nil, "./spool")
	if err != nil {
		return err
	}
	f.check(len(t.failed) == 0, "the model test misses each of %d fsyncs when it is left out, but for %d%s", max(0, len(t.passed)-1), len(t.failed), t.complaint())
	return nil
}
