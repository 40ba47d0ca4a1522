package demo

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (-update writes it); got:\n%s", path, got)
	}
}

// terminal is a Screen that thinks it is on one.
func terminal(out *bytes.Buffer, width int) *Screen {
	return &Screen{out: out, redraw: true, width: func() int { return width }}
}

func examplePanel() panel {
	return panel{
		rollout: &adminv1.Rollout{
			Model: act1Model, Mode: adminv1.Mode_MODE_CANARY, WeightPercent: 25, WaitingFor: "1.2s of 5s",
			ChallengerFigures: &adminv1.ArmFigures{Requests: 306, Failures: 2}, Fallbacks: 2, Breaker: "half_open",
			MirrorFigures: &adminv1.MirrorFigures{Sent: 1012, Failures: 1, Compared: 1009, Disagreed: 41},
			Gates: []*adminv1.GateStatus{
				{Gate: "error-rate", Applies: true, Verdict: adminv1.Verdict_VERDICT_PASS},
				{Gate: "slow-rate", Verdict: adminv1.Verdict_VERDICT_INCONCLUSIVE},
				{Gate: "disagreement", Applies: true, Verdict: adminv1.Verdict_VERDICT_INCONCLUSIVE},
				{Gate: "disagreement", Segment: "clinic=harbour", Applies: true, Verdict: adminv1.Verdict_VERDICT_FAIL},
				{Gate: "disagreement", Segment: "clinic=north", Applies: true, Verdict: adminv1.Verdict_VERDICT_PASS},
			},
		},
		users:   clientFigures{Requests: 1318, Answered: 1318, ByChallenger: 304, P50: 3100 * time.Microsecond, P99: 6 * time.Millisecond},
		records: 1290,
	}
}

func TestPanel(t *testing.T) {
	var out strings.Builder
	fresh := panel{rollout: &adminv1.Rollout{Model: act1Model, Mode: adminv1.Mode_MODE_SHADOW}}
	done := panel{rollout: &adminv1.Rollout{Model: act2Model, Mode: rolledBack, Breaker: "open"}, users: clientFigures{Requests: 1234567, Errors: 1}}
	for _, p := range []panel{fresh, examplePanel(), done} {
		out.WriteString(strings.Join(p.lines(), "\n") + "\n" + p.short() + "\n")
	}
	golden(t, "panel.txt", out.String())
}

func TestScreenRedrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	s := terminal(&out, 60)
	s.Say("first")
	s.Show([]string{"", "figures 1"}, "short 1", time.Hour)
	s.Show([]string{"", "figures 2"}, "short 2", time.Hour)
	s.Say("second")
	s.Show(examplePanel().lines(), "", 0)
	s.Leave()
	s.Say(s.Good("third"))
	golden(t, "terminal.txt", strings.ReplaceAll(out.String(), "\x1b", "␛"))
}

// What a reader of the terminal sees in the end must not depend on how it was drawn.
func TestScreenLeavesNoTraces(t *testing.T) {
	var out bytes.Buffer
	s := terminal(&out, 40)
	s.Say("a")
	s.Show([]string{"x", "y"}, "", 0)
	s.Say("b", "c")
	s.Show([]string{"z"}, "", 0)
	s.Leave()
	s.Say("d")
	if got := replay(out.String()); got != "a\nb\nc\nz\nd\n" {
		t.Errorf("the terminal shows %q", got)
	}
}

// replay is a terminal that knows what draw uses: "up n lines, wipe the rest".
func replay(text string) string {
	var lines []string
	for _, line := range strings.SplitAfter(text, "\n") {
		for strings.HasPrefix(line, "\x1b[") {
			up := int(line[2] - '0')
			lines = lines[:len(lines)-up]
			line = strings.TrimPrefix(line[4:], "\x1b[J")
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestPlainScreenPrintsFiguresNowAndThen(t *testing.T) {
	var out bytes.Buffer
	s := &Screen{out: &out}
	s.Say(s.Bold("first"))
	s.Show([]string{"long"}, "short 1", 0)
	s.Show([]string{"long"}, "short 2", 0)
	s.Show([]string{"long"}, "short 3", time.Hour)
	s.Show([]string{"long"}, "short 4", 0)
	s.Leave()
	s.Say(s.Bad("last"))
	if got, want := out.String(), "first\nshort 2\nshort 4\nlast\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := NewScreen(f)
	if s.redraw || s.Good("x") != "x" || s.width() != 80 {
		t.Errorf("a file is styled as a terminal of width %d", s.width())
	}
}

func TestZeroScreenTellsNobody(t *testing.T) {
	var s Screen
	s.Say("x")
	s.Show([]string{"x"}, "x", 0)
	s.Leave()
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", -1234: "-1,234", -999: "-999", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	if got := clip("äöü", 3); got != "äöü" {
		t.Errorf("clip cut a line that fits: %q", got)
	}
	if got := clip("äöüß", 3); got != "äö…" {
		t.Errorf("clip = %q", got)
	}
	if got := bar(0) + bar(100); strings.Count(got, "█") != barWidth || strings.Count(got, "░") != barWidth {
		t.Errorf("bars %q", got)
	}
}

func TestEachChangeIsToldOnce(t *testing.T) {
	var out bytes.Buffer
	s := &story{Options: Options{Screen: &Screen{out: &out}}, told: map[string]uint64{}}
	at := timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local))
	events := []*adminv1.Event{
		{Revision: 6, Time: at, Mode: rolledBack, Actor: "gate", Reason: "gate disagreement (clinic=harbour): 39 of 123 (31.7%) pairs disagree"},
		{Revision: 5, Time: at, Mode: adminv1.Mode_MODE_SHADOW},
		{Revision: 4, Time: at, Mode: rolledBack, Actor: "breaker", Reason: "10 consecutive failures"},
		{Revision: 3, Time: at, Mode: promoted},
		{Revision: 2, Time: at, Mode: adminv1.Mode_MODE_CANARY, WeightPercent: 12.5},
		{Revision: 1, Time: at, Mode: adminv1.Mode_MODE_SHADOW},
	}
	for first := len(events) - 1; first >= 0; first-- {
		for range 2 {
			s.tell(&adminv1.Rollout{Model: "m", Events: events[first:]})
		}
	}
	golden(t, "events.txt", out.String())
}
