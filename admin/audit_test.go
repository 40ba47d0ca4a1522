package admin_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/understudy-serving/understudy/admin"
	"github.com/understudy-serving/understudy/rollout"
)

func openAudit(t *testing.T, path string, reg prometheus.Registerer) *admin.Audit {
	t.Helper()
	a, err := admin.OpenAudit(admin.AuditOptions{Path: path, Now: func() time.Time { return start }, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func lines(t *testing.T, path string) []admin.Entry {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseEntries(t, b)
}

func TestAnAutomaticRollbackInTheAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := openAudit(t, path, nil)
	before := fraud().State
	before.Mode, before.Weight, before.Step = rollout.ModeCanary, 500, 2
	e := rollout.Event{Kind: rollout.EventRollback, Actor: "gateway", Reason: "breaker: 10 failures in a row"}
	after, err := before.Apply(e, start.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	figures := rollout.Figures{Fallbacks: 10, Challenger: rollout.ArmFigures{Requests: 50, Failures: 10, Latency: rollout.Quantiles{P50: 1500 * time.Microsecond}},
		Mirror: rollout.MirrorFigures{Skipped: map[rollout.Reason]int64{rollout.Shed: 7}}}
	if err := a.Change(before, after, e, figures); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-03-01T12:01:00Z","actor":"gateway","event":"rollback","model":"fraud","reason":"breaker: 10 failures in a row","outcome":"accepted",` +
		`"before":{"revision":3,"mode":"canary","weight_percent":5,"step":2,"paused":false,"challenger":"fraud:2 at dns:///two:8081"},` +
		`"after":{"revision":4,"mode":"rolled_back","weight_percent":0,"step":2,"paused":false,"challenger":"fraud:2 at dns:///two:8081"},` +
		`"evidence":{"champion":{"requests":0,"failures":0,"p50_ms":0,"p95_ms":0,"p99_ms":0},"challenger":{"requests":50,"failures":10,"p50_ms":1.5,"p95_ms":0,"p99_ms":0},` +
		`"mirror":{"sent":0,"failures":0,"skipped":{"shed":7},"compared":0,"disagreed":0,"p50_ms":0,"p95_ms":0,"p99_ms":0},"fallbacks":10}}` + "\n"
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %s", info.Mode())
	}
}

func TestANewModelHasNoBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := openAudit(t, path, nil).Change(rollout.State{}, spam().State, rollout.Event{Kind: rollout.EventConfigure, Actor: "config"}, rollout.Figures{}); err != nil {
		t.Fatal(err)
	}
	if e := lines(t, path)[0]; e.Before != nil || e.After.Challenger != "" || !e.Time.Equal(start) {
		t.Errorf("%+v", e)
	}
}

func TestLongFieldsAreCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	long := strings.Repeat("ö", 5000)
	err := openAudit(t, path, nil).Write(admin.Entry{Actor: long, Remote: long, Model: long, Asked: long, Reason: long + "\n", Refusal: long})
	if err != nil {
		t.Fatal(err)
	}
	e := lines(t, path)[0]
	for _, f := range []string{e.Actor, e.Remote, e.Model, e.Asked} {
		if n := len([]rune(f)); n != 256 {
			t.Errorf("%d characters, want 256", n)
		}
	}
	if n := len([]rune(e.Reason)); n != 1024 || !strings.HasSuffix(e.Reason, "…") {
		t.Errorf("reason has %d characters", n)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	a := openAudit(t, path, nil)
	write := func(reason string) {
		t.Helper()
		if err := a.Write(admin.Entry{Reason: reason}); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("two")
	if err := a.Reopen(); err != nil {
		t.Fatal(err)
	}
	write("three")
	if old := lines(t, path+".1"); len(old) != 2 || old[1].Reason != "two" {
		t.Errorf("old file: %+v", old)
	}
	if now := lines(t, path); len(now) != 1 || now[0].Reason != "three" {
		t.Errorf("new file: %+v", now)
	}
	// A rotation that can't be done keeps the old file.
	if err := os.Rename(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.Reopen(); err == nil {
		t.Error("a directory was opened")
	}
	write("four")
	if old := lines(t, path+".2"); len(old) != 2 || old[1].Reason != "four" {
		t.Errorf("after a failed rotation: %+v", old)
	}
}

func TestATornLineDoesNotSpoilTheNext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte("{\"time\":\"2026"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := openAudit(t, path, nil)
	for range 2 {
		if err := a.Write(admin.Entry{Reason: "whole"}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n")
	if got := parseEntries(t, []byte(rest)); len(got) != 2 || got[0].Reason != "whole" {
		t.Errorf("%s", b)
	}
}

// /dev/full takes no byte: writing fails, and is said to.
func TestAWriteThatFailsIsAnError(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full on this system")
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	a := openAudit(t, path, reg)
	for range 2 {
		if err := a.Write(admin.Entry{Reason: "lost"}); err == nil {
			t.Fatal("no error from a full disk")
		}
	}
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "understudy_audit_failures_total" || families[0].Metric[0].Counter.GetValue() != 2 {
		t.Errorf("%v, %v; want 2 failures", families, err)
	}
	// Space again: the next entry is written without a restart.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := a.Write(admin.Entry{Reason: "kept"}); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, path); len(got) != 1 || got[0].Reason != "kept" {
		t.Errorf("%+v", got)
	}
}

func TestAuditThatCannotBeOpened(t *testing.T) {
	_, err := admin.OpenAudit(admin.AuditOptions{Path: filepath.Join(t.TempDir(), "no", "such", "folder")})
	if err == nil || !strings.Contains(err.Error(), "audit: open") {
		t.Errorf("%v", err)
	}
}

func TestWithoutAFileTheLogHasTheEntries(t *testing.T) {
	var log syncBuffer
	a, err := admin.OpenAudit(admin.AuditOptions{Logger: slog.New(slog.NewJSONHandler(&log, nil)), Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Change(fraud().State, spam().State, rollout.Event{Kind: rollout.EventPause, Actor: "ci", Reason: "why"}, rollout.Figures{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Reopen(); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if got := log.String(); !strings.Contains(got, `"msg":"audit","entry":{"time":"2026-03-01T12:00:00Z","actor":"ci","event":"pause"`) {
		t.Errorf("%s", got)
	}
}

func TestEntriesOfManyWritersAreWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := openAudit(t, path, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				if err := a.Write(admin.Entry{Reason: strings.Repeat("x", 1000)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := lines(t, path); len(got) != 40 {
		t.Errorf("%d entries, want 40", len(got))
	}
}
