package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/simulation"
)

// That nothing is rolled back says something only where what is worse would be.
func TestEachPathCanFail(t *testing.T) {
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) {
			s := p.setup(20 * time.Second)
			s.Traffic.Challenger.Errors += 0.3
			s.Traffic.Challenger.Slow += 0.3
			s.Traffic.Challenger.SlowFor = max(s.Traffic.Challenger.SlowFor, 2*time.Second)
			if s.Traffic.BadUsers > 0 { // a user's errors count once, so it takes more users who have one
				s.Traffic.Users, s.Traffic.BadUsers = 100_000, 0
			}
			if p.gate.Metric == rollout.ErrorRate {
				s.Traffic.Challenger.SlowFor = 0
			}
			if r := play(t.Context(), s, 1); r.Outcome != simulation.RolledBack {
				t.Errorf("much worse, and %s: %s", r.Outcome, r.By)
			}
		})
	}
	s := tailAtMargin(1, time.Minute)
	s.Traffic.Challenger.Median *= 3
	s.Traffic.Challenger.P99 *= 3
	if r := play(t.Context(), s, 1); r.Outcome != simulation.RolledBack {
		t.Errorf("three times as slow, and %s: %s", r.Outcome, r.By)
	}
}

func TestJudgesAreAsDocumented(t *testing.T) {
	minute := func(requests, failures int, latency float64) (f figures) {
		f.requests, f.failures = requests, failures
		for range requests {
			f.latencies = append(f.latencies, latency)
		}
		return f
	}
	var flagger threshold
	for i := range 9 {
		if v := flagger.look(minute(100, 1, 0.5), figures{}); v != goOn {
			t.Fatalf("minute %d: %d", i, v)
		}
	}
	if v := flagger.look(minute(100, 1, 0.5), figures{}); v != promote {
		t.Errorf("after ten good minutes: %d", v)
	}
	flagger = threshold{}
	for range 9 {
		flagger.look(figures{}, figures{})
	}
	if v := flagger.look(minute(100, 2, 0.1), figures{}); v != rollBack {
		t.Errorf("after ten bad minutes: %d", v)
	}
	low, high := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, []float64{21, 22, 23, 24, 25, 26, 27, 28, 29, 30}
	if !higher(high, low) || higher(low, high) || higher(low, low) {
		t.Error("ranks are compared the wrong way round")
	}
}

func TestClaimsAreJudgedByTheWorseEnd(t *testing.T) {
	for _, c := range []struct {
		claim claim
		figure
		met bool
	}{
		{claim{limit: 0.01}, figure{0.004, 0.002, 0.0099}, true},
		{claim{limit: 0.01}, figure{0.008, 0.006, 0.0101}, false},
		{claim{limit: 0.9, least: true}, figure{0.99, 0.95, 1}, true},
		{claim{limit: 0.9, least: true}, figure{0.95, 0.85, 1}, false},
		{claim{unit: requests, limit: 100}, figure{99, 80, 130}, true},
		{claim{unit: requests, limit: 100}, figure{math.Inf(1), 80, math.Inf(1)}, false},
	} {
		if got := c.claim.judge(c.figure); got.Met != c.met {
			t.Errorf("%+v of %+v: met %t", c.figure, c.claim, got.Met)
		}
	}
}

func TestOneClaimFromTheCommandLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sim.json")
	f, err := parse([]string{"--quick", "--only", "errors 1% → 50%", "--json", file}, os.Getenv, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := run(t.Context(), f, &out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Claims []map[string]any }
	if err := json.Unmarshal(text, &got); err != nil || len(got.Claims) != 1 || got.Claims[0]["measured"].(float64) < 50 {
		t.Errorf("%v: %s", err, text)
	}
	if !strings.Contains(out.String(), "1 claims") {
		t.Errorf("said %s", &out)
	}
	for _, args := range [][]string{{"--only", "("}, {"now"}} {
		if _, err := parse(args, os.Getenv, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func TestPagesAreFilledBetweenMarks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("a\n<!-- sim: x -->\nold\n<!-- sim: end -->\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fill(file, map[string]string{"x": "new\n"}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file); string(got) != "a\n<!-- sim: x -->\nnew\n<!-- sim: end -->\nb\n" {
		t.Errorf("%s", got)
	}
	if err := fill(file, map[string]string{"y": ""}); err == nil {
		t.Error("a mark that is missing was filled")
	}
}
