package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGroupsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range groups() {
		if g.name == "" || len(g.rows) == 0 {
			t.Errorf("group %q has %d rows", g.name, len(g.rows))
		}
		for _, w := range g.rows {
			if w.fault == "" || w.must == "" || w.run == nil || w.quick <= 0 || w.limit < w.quick {
				t.Errorf("row %q lacks something", w.fault)
			}
			if seen[w.fault] {
				t.Errorf("two rows are called %q: --row can't tell them apart", w.fault)
			}
			seen[w.fault] = true
		}
	}
}

func TestPerform(t *testing.T) {
	measure := func(ok bool, err error) func(context.Context, *rig, *finding) error {
		return func(_ context.Context, _ *rig, f *finding) error {
			f.note("%d tries", 7)
			f.check(ok, "%d lost", 0)
			return err
		}
	}
	for name, c := range map[string]struct {
		run      func(context.Context, *rig, *finding) error
		skips    bool
		ok       bool
		measured string
	}{
		"holds":        {run: measure(true, nil), ok: true, measured: "7 tries; 0 lost"},
		"broken first": {run: measure(false, nil), measured: "BROKEN: 0 lost; 7 tries"},
		"not measured": {run: measure(true, errors.New("no disk")), measured: "7 tries; 0 lost; NOT MEASURED: no disk"},
		"skip":         {run: measure(true, fmt.Errorf("%w: no root", errSkip)), measured: "7 tries; 0 lost; SKIP: no root"},
		"skip allowed": {run: measure(true, fmt.Errorf("%w: no root", errSkip)), skips: true, ok: true, measured: "7 tries; 0 lost; SKIP: no root"},
		"nothing said": {run: func(context.Context, *rig, *finding) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			got := perform(t.Context(), &rig{}, "sink", row{fault: "f", must: "m", limit: time.Minute, run: c.run}, c.skips)
			if want := (result{"sink", "f", "m", c.measured, c.ok}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// A row that hangs ends with its time, and says what it waited for.
func TestPerformIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := row{limit: time.Hour, quick: time.Minute, run: func(ctx context.Context, _ *rig, _ *finding) error {
			return await(ctx, "pigs fly", 2*time.Hour, func() (bool, string) { return false, "none so far" })
		}}
		began := time.Now()
		got := perform(t.Context(), &rig{quick: true}, "sink", hangs, false)
		if took := time.Since(began); got.OK || took > 61*time.Second {
			t.Errorf("ended after %s, ok %v", took, got.OK)
		}
		for _, want := range []string{"pigs fly", "none so far", "the row took longer than 1m0s"} {
			if !strings.Contains(got.Measured, want) {
				t.Errorf("%q does not say %q", got.Measured, want)
			}
		}
	})
}

func TestAwaitLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := await(t.Context(), "pigs fly", time.Second, func() (bool, string) { return false, "none so far" })
		if err == nil || err.Error() != "not within 1s: pigs fly (none so far)" {
			t.Errorf("got %v", err)
		}
	})
}

func TestParse(t *testing.T) {
	env := map[string]string{"GROUP": "sink", "QUICK": "1", "ALLOW_SKIP": "0"}
	f, err := parse([]string{"--row", "killed"}, func(k string) string { return env[k] }, t.Output())
	if err != nil || f.group != "sink" || !f.quick || f.allowSkip || f.list || f.json != "build/faults.json" {
		t.Errorf("got %+v, %v", f, err)
	}
	for _, args := range [][]string{{"--row", "("}, {"sink"}, {"--what"}} {
		if _, err := parse(args, func(string) string { return "" }, t.Output()); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func TestWanted(t *testing.T) {
	all := []group{{"sink", []row{{fault: "broker killed"}, {fault: "disk full"}}}, {"etcd", []row{{fault: "etcd killed"}}}}
	for _, c := range []struct{ group, row, want string }{
		{"", "", "sink/broker killed sink/disk full etcd/etcd killed"},
		{"sink", "", "sink/broker killed sink/disk full"},
		{"", "KILLED", "sink/broker killed etcd/etcd killed"},
		{"etcd", "disk", ""},
		{"nobody", "", ""},
	} {
		f, err := parse([]string{"--group", c.group, "--row", c.row}, func(string) string { return "" }, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		chosen, err := f.wanted(all)
		var got []string
		for _, g := range chosen {
			for _, w := range g.rows {
				got = append(got, g.name+"/"+w.fault)
			}
		}
		if strings.Join(got, " ") != c.want || (err != nil) != (c.want == "") {
			t.Errorf("group %q, row %q: %q, %v", c.group, c.row, got, err)
		}
	}
}

// Rows show up in the table and the file as they finish; one that fails, fails the run.
func TestRunRows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "build", "faults.json")
	undone := 0
	says := func(ok bool) func(context.Context, *rig, *finding) error {
		return func(_ context.Context, r *rig, f *finding) error {
			r.after(func() { undone++ })
			f.check(ok, "%d records", 3)
			return nil
		}
	}
	var out strings.Builder
	ok, err := runRows(t.Context(), flags{json: file}, &rig{}, newTable(&out), []group{{"sink", []row{
		{fault: "one", must: "hold", limit: time.Minute, run: says(true)},
		{fault: "two", must: "hold too", limit: time.Minute, run: says(false)},
	}}})
	if ok || err != nil || undone != 2 {
		t.Errorf("ok %v, %v, %d undone: want a failure and 2", ok, err, undone)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Rows []result }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 2 || got.Rows[0] != (result{"sink", "one", "hold", "3 records", true}) || got.Rows[1].OK {
		t.Errorf("the file has %+v", got.Rows)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("%v stay behind", left)
	}
	for _, want := range []string{"3 records", "FAIL", "2 rows, 1 failed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"", 5, ""},
		{"one two three", 7, "one two|three"},
		{"p99 ≤ 1.15x", 5, "p99 ≤|1.15x"},
		{"unbreakable word", 6, "unbrea|kable|word"},
	} {
		if got := strings.Join(wrap(c.text, c.width), "|"); got != c.want {
			t.Errorf("wrap(%q, %d): %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

// Where lines stay, progress is no flood.
func TestProgressIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		tab := newTable(&out)
		tab.begin(row{fault: "broker killed"})
		for i := range 100 {
			tab.progress("record %d", i)
			time.Sleep(100 * time.Millisecond)
		}
		if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), "… broker killed, 5 s: record 50") {
			t.Errorf("%d lines in 10 s, want 2:\n%s", n, out.String())
		}
	})
}

// Runs are not made again for ever, and in the short form less often.
func TestAgain(t *testing.T) {
	for quick, want := range map[bool][]int{false: {4, 4, 4, 4}, true: {2, 2, 1, 0}} {
		r := &rig{quick: quick}
		for row, want := range want {
			n := 0
			for r.again() {
				n++
			}
			if r.endRow(); n != want {
				t.Errorf("quick %v, row %d: made again %d times, want %d", quick, row, n, want)
			}
		}
	}
}

func TestUndo(t *testing.T) {
	r := &rig{}
	var order []int
	for i := range 3 {
		r.after(func() { order = append(order, i) })
	}
	r.endRow()
	r.endRow()
	if fmt.Sprint(order) != "[2 1 0]" {
		t.Errorf("undone in order %v, want the newest first, each once", order)
	}
}
