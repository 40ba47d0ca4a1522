package main

import (
	"errors"
	"strings"
	"testing"
)

const output = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestX"}
{"Action":"output","Package":"p","Test":"TestX/a","Output":"    x_test.go:7: {Kills:12 Losses:3}\n"}
{"Action":"output","Package":"p","Test":"TestX/b","Output":"    x_test.go:7: {Kills:1 Losses:40}\n"}
{"Action":"output","Package":"p","Test":"TestX/b","Output":"    x_test.go:9: record 3 is lost\n"}
{"Action":"pass","Package":"p","Test":"TestX/a"}
{"Action":"fail","Package":"p","Test":"TestX/b"}
{"Action":"fail","Package":"p","Test":"TestX"}
{"Action":"fail","Package":"p"}
not JSON
`

func TestParseTestRun(t *testing.T) {
	run := parseTestRun([]byte(output))
	if len(run.passed) != 1 || len(run.failed) != 2 {
		t.Errorf("%d passed, %d failed, want 1 and 2", len(run.passed), len(run.failed))
	}
	if run.sum("Kills") != 13 || run.sum("Losses") != 43 || run.sum("Others") != 0 {
		t.Errorf("sums %d and %d, want 13 and 43", run.sum("Kills"), run.sum("Losses"))
	}
	if got := run.complaint(); !strings.Contains(got, "record 3 is lost") {
		t.Errorf("the complaint is %q", got)
	}
}

// A pattern that matches nothing must not pass for success.
func TestGoTestThatRunsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	if _, err := goTest(t.Context(), "^TestNobodyWrote$", nil, "."); !errors.Is(err, errNoTest) {
		t.Errorf("got %v, want %v", err, errNoTest)
	}
}
