package main

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// rowOf has one figure of CPU a round, and peak in all of them.
func rowOf(arm string, c cell, peak float64, cpu ...float64) *row {
	r := &row{Arm: arm, Cell: c}
	for i, v := range cpu {
		r.Samples = append(r.Samples, sample{Round: i, CPU: v, PeakMB: peak})
	}
	return r
}

func named(t *testing.T, goals []goal, part string) goal {
	t.Helper()
	i := slices.IndexFunc(goals, func(g goal) bool { return strings.Contains(g.Name, part) })
	if i < 0 {
		t.Fatalf("no goal %q", part)
	}
	return goals[i]
}

func near(g goal, want float64) bool { return g.Measured != nil && math.Abs(*g.Measured-want) < 1e-9 }

func TestGoalsOfCPU(t *testing.T) {
	goals := judgeAll(&report{Rows: results{
		rowOf(champion, some, 79, 70, 140, 71), rowOf(remarshaller, some, 20, 100, 200, 100), rowOf(nginx, some, 20, 40, 80, 40),
		rowOf(shadowing, some, 100, 105, 210, 106.5), rowOf(shadowDead, some, 40, 88, 176, 88),
		rowOf(shadowUncopied, some, 40, 80, 160, 80),
	}})
	for _, c := range []struct {
		name string
		want float64
		met  bool
	}{
		{"beside grpc-go, decoding: 200 B, 16", 0.7, true},
		{"beside nginx: 200 B, 16", 1.75, false},
		{"shadow's extra CPU: 200 B, 16", 0.5, true},
		{"dead challenger's extra CPU: 200 B, 16", 0.1, false},
		{"requests to 16 KiB", 79, true},
	} {
		if g := named(t, goals, c.name); !near(g, c.want) || g.Met != c.met {
			t.Errorf("%s: %s, met %v, want %.2f, met %v", g.Name, g.figure(), g.Met, c.want, c.met)
		}
	}
}

// What was not measured is not met, and says so.
func TestGoalsOfNothing(t *testing.T) {
	for _, g := range judgeAll(&report{}) {
		if g.Met || g.Measured != nil || g.Note == "" || g.figure() != "–" {
			t.Errorf("%+v", g)
		}
	}
}

func TestGoalsAsJSON(t *testing.T) {
	text, err := json.Marshal([]goal{goal{Name: "a", Limit: 4}.judge(3.5, ""), goal{Name: "b", Limit: 4}.without("why")})
	want := `[{"name":"a","limit":4,"measured":3.5,"met":true},{"name":"b","limit":4,"measured":null,"met":false,"note":"why"}]`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

// windows are n latencies each, of a microsecond and more, times a factor.
func windows(n int, factors ...float64) (all []window) {
	for _, f := range factors {
		var w window
		for i := range n {
			w.latencies = append(w.latencies, time.Duration(f*float64(n-i)*1000))
		}
		all = append(all, w)
	}
	return all
}

func TestRaceCountsOnlyWhereTwinsAgree(t *testing.T) {
	names := []string{champion, twin, shadowSlow, shadowHung, shadowDead}
	for name, c := range map[string]struct {
		race *race
		met  []bool
	}{
		"agree":          {judgeRace(names, windows(raceLeast, 1, 1.02, 1.1, 1.3, 1)), []bool{true, false, true}},
		"apart":          {judgeRace(names, windows(raceLeast, 1, 1.2, 1.1, 1.3, 1)), []bool{false, false, false}},
		"too few":        {judgeRace(names, windows(raceLeast-1, 1, 1, 1, 1, 1)), []bool{false, false, false}},
		"nobody was run": {nil, []bool{false, false, false}},
	} {
		for i, g := range raceGoals(c.race) {
			if g.Met != c.met[i] {
				t.Errorf("%s: %s: %s, met %v (%s)", name, g.Name, g.figure(), g.Met, g.Note)
			}
			if name == "apart" && !strings.HasPrefix(g.Note, "undecided") {
				t.Errorf("%s: note %q", g.Name, g.Note)
			}
		}
	}
	failing := windows(raceLeast, 1, 1, 1, 1, 1)
	failing[2].failed = 1
	if g := raceGoals(judgeRace(names, failing))[1]; g.Met {
		t.Errorf("failed calls pass as quick ones: %+v", g)
	}
}

func TestRecordingIsRead(t *testing.T) {
	r := parseRecording(`goos: linux
BenchmarkCPUPerRecord/500B/none/interval/16callers-2   	  200000	     64000 ns/op	      1800 control-cpu-ns/record	      3150 sink-cpu-ns/record
BenchmarkCPUPerRecord/500B/zstd/interval/16callers-2   	  200000	     64000 ns/op	      1800 control-cpu-ns/record	      6020.5 sink-cpu-ns/record
PASS
`)
	g := recordGoal(r)
	if !near(g, 3.15) || !g.Met || !strings.Contains(g.Note, "6.0 µs with zstd") {
		t.Errorf("%v: %+v", r, g)
	}
}
