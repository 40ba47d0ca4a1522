package demo

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is a screen's paper that a test can read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// The whole play, as `understudy demo --once`.
func TestOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	var out buffer
	dir := filepath.Join(t.TempDir(), "demo")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	begin := time.Now()
	m, err := Run(ctx, Options{Once: true, Dir: dir, Screen: &Screen{out: &out}})
	log, _ := os.ReadFile(filepath.Join(dir, "gateway.log"))
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), log)
	}
	t.Logf("took %v", time.Since(begin))
	if err := m.Check(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out.String(), log)
	}
	// The report looks at all records at once, and so may say less of a cohort than the gates
	// did while these came; what all requests disagree in stays.
	for _, want := range []string{"shadow", "canary 10%", "canary 25%", "canary 50%", "promoted", "(fault)", "rolled_back",
		"gate disagreement: ", "gate disagreement (clinic=harbour): ", "All is as promised",
		"What the records say", "at shadow these gates fail: disagreement", "file://" + m.Report} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story does not tell of %q", want)
		}
	}
	for _, name := range []string{"understudy.yaml", "audit.jsonl", "state.db", "report.html"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// The interactive play, with short steps, up to Ctrl-C.
func TestUntilInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Setenv("TMPDIR", t.TempDir())
	var out buffer
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan error, 1)
	go func() {
		_, err := Run(ctx, Options{Step: 500 * time.Millisecond, GRPCPort: freePort(0), AdminPort: freePort(0), KafkaPort: freePort(0),
			Screen: &Screen{out: &out, redraw: true, width: func() int { return 120 }}})
		ended <- err
	}()
	lights := regexp.MustCompile(`cancer-risk .* promoted · [1-9]\d* requests · 0 errors`)
	for deadline := time.Now().Add(3 * time.Minute); !lights.MatchString(out.String()); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("ended by itself: %v\n%s", err, out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("no light traffic after three minutes:\n%s", out.String())
		}
	}
	interrupt()
	if err := <-ended; err != nil {
		t.Errorf("interrupted: %v", err)
	}
	for _, want := range []string{"All is as promised", "Try next", "kcat -C -b 127.0.0.1:", "grpcurl -plaintext", "understudy watch", "understudy explain screening-recall", "The curtain falls", "requests, 0 errors."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story does not tell of %q:\n%s", want, out.String())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) != 1 || !strings.Contains(out.String(), "file://"+left[0]) {
		t.Errorf("%q is left behind: want the report's page alone, and the story to name it", left)
	}
}

func TestInterruptedEarly(t *testing.T) {
	if testing.Short() {
		t.Skip("starts everything")
	}
	t.Setenv("TMPDIR", t.TempDir())
	for once, fails := range map[bool]bool{false: false, true: true} {
		for _, after := range []time.Duration{0, time.Second} {
			ctx, interrupt := context.WithCancel(t.Context())
			time.AfterFunc(after, interrupt)
			if _, err := Run(ctx, Options{Once: once}); (err != nil) != fails {
				t.Errorf("once %v, after %s: %v", once, after, err)
			}
			if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
				t.Errorf("once %v, after %s: %s is left behind", once, after, left[0].Name())
			}
		}
	}
}
