package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/admin"
	"github.com/understudy-serving/understudy/admin/admintest"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// awaited is an output on which a test can wait for words.
type awaited struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	written chan struct{}
}

func newAwaited() *awaited { return &awaited{written: make(chan struct{}, 1)} }

func (a *awaited) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.written <- struct{}{}:
	default:
	}
	return a.buf.Write(p)
}

func (a *awaited) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.buf.String()
}

func (a *awaited) await(t *testing.T, words string) {
	t.Helper()
	late := time.After(10 * time.Second)
	for !strings.Contains(a.String(), words) {
		select {
		case <-a.written:
		case <-late:
			t.Fatalf("no %q in %q", words, a)
		}
	}
}

// watching runs `understudy watch` until the test has seen enough.
type watching struct {
	out, notices *awaited
	stop         func() int
}

func startWatch(args ...string) watching {
	ctx, cancel := context.WithCancel(context.Background())
	w := watching{out: newAwaited(), notices: newAwaited()}
	code := make(chan int, 1)
	go func() { code <- run(ctx, append([]string{"watch"}, args...), w.out, w.notices) }()
	w.stop = func() int {
		cancel()
		return <-code
	}
	return w
}

func TestWatchFollowsChanges(t *testing.T) {
	t.Setenv("TZ", "UTC")
	rollouts := admintest.New(time.Now, fraud(), spam(), inCanary())
	url, err := serveAdmin(t.Cleanup, admin.Options{Rollouts: rollouts})
	if err != nil {
		t.Fatal(err)
	}
	lines := startWatch("--admin", url, "--interval", "1h")
	objects := startWatch("--admin", url, "fraud", "-o", "json")
	lines.out.await(t, "fraud canary 5% step 3/5 | champion 1,204,512 at -/s, <0.01% failed, p50 1.23ms p99 12.3ms | challenger 640 at -/s, 0.31% failed, "+
		"p50 980µs p99 123ms | copies 11,000 at -/s, 0.11% failed, p50 990µs p99 1.5s | 1.2% disagree | 20m left | waits for 20m0s and 11,880 requests\n")
	lines.out.await(t, "| 1.2% disagree | gates fail: error-rate (region=eu) | 20m left")
	lines.out.await(t, "spam champion | champion 0 at -/s, - failed, p50 - p99 -\n")
	objects.out.await(t, `"revision":"7"`)
	v := fraud()
	v.Revision, v.Paused = 8, true
	rollouts.Put(v)
	lines.out.await(t, "canary 5%, paused")
	objects.out.await(t, `"revision":"8"`)
	for _, w := range []watching{lines, objects} {
		if code := w.stop(); code != exitOK || w.notices.String() != "" {
			t.Errorf("exit code %d, said %s", code, w.notices)
		}
	}
	for line := range strings.Lines(objects.out.String()) {
		var r struct{ Model string }
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Model != "fraud" {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestWatchWaitsForAGatewayThatComesBack(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := lis.Addr().String()
	start := func(lis net.Listener, revision uint64) *admin.Server {
		v := fraud()
		v.Revision = revision
		s, err := admin.New(admin.Options{Rollouts: admintest.New(time.Now, v)})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Serve(lis) }()
		return s
	}
	end := func(s *admin.Server) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
	first := start(lis, 7)
	w := startWatch("--admin", address, "-o", "json")
	w.out.await(t, `"revision":"7"`)
	end(first)
	w.notices.await(t, "lost the gateway at http://"+address+", trying again")
	if lis, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	second := start(lis, 70)
	w.out.await(t, `"revision":"70"`)
	if code := w.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	end(second)
}

func TestWatchOfAnUnknownModelEnds(t *testing.T) {
	url, err := serveAdmin(t.Cleanup, admin.Options{Rollouts: admintest.New(time.Now, spam())})
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if code := run(context.Background(), []string{"watch", "--admin", url, "frod"}, io.Discard, &said); code != exitFailed || !strings.Contains(said.String(), "there are: spam") {
		t.Errorf("exit code %d, said %s", code, &said)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// A reader that has had enough (`watch | head -1`) ends the watch.
func TestWatchEndsWithItsOutput(t *testing.T) {
	url, err := serveAdmin(t.Cleanup, admin.Options{Rollouts: admintest.New(time.Now, spam())})
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if code := run(context.Background(), []string{"watch", "--admin", url}, brokenPipe{}, &said); code != exitFailed || !strings.Contains(said.String(), "broken pipe") {
		t.Errorf("exit code %d, said %s", code, &said)
	}
}

func TestScreenIsRedrawnInPlace(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out)
	r := &adminv1.Rollout{Model: "spam", Mode: adminv1.Mode_MODE_CHAMPION, ChampionFigures: &adminv1.ArmFigures{Requests: 100}}
	if err := s.show(r, noon); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, enterScreen+topLeft) || !strings.HasSuffix(got, eraseBelow) || !strings.Contains(got, "Ctrl-C ends") {
		t.Errorf("first frame %q", got)
	}
	out.Reset()
	r = &adminv1.Rollout{Model: "spam", Mode: adminv1.Mode_MODE_CHAMPION, ChampionFigures: &adminv1.ArmFigures{Requests: 350}}
	if err := s.show(r, noon.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	if !strings.HasPrefix(got, topLeft) || strings.Contains(got, enterScreen) || !strings.Contains(got, "PER SECOND") || !strings.Contains(got, " 250 ") {
		t.Errorf("second frame %q", got)
	}
	for line := range strings.Lines(strings.TrimSuffix(got, eraseBelow)) {
		if !strings.HasSuffix(line, eraseLine+"\r\n") {
			t.Errorf("line %q leaves the rest of the old one", line)
		}
	}
	out.Reset()
	s.notice("lost the gateway\x1b[31m")
	if !strings.Contains(out.String(), "lost the gateway·[31m") {
		t.Errorf("notice %q", &out)
	}
	out.Reset()
	s.end()
	if got := out.String(); !strings.HasPrefix(got, leaveScreen+"spam: champion") {
		t.Errorf("end %q", got)
	}
	out.Reset()
	newScreen(&out).end()
	if out.Len() != 0 {
		t.Errorf("a screen that was never entered wrote %q", &out)
	}
}

func TestManyRolloutsOnOneScreen(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out)
	for _, model := range []string{"b", "a"} {
		if err := s.show(&adminv1.Rollout{Model: model, Mode: adminv1.Mode_MODE_CHAMPION}, noon); err != nil {
			t.Fatal(err)
		}
	}
	frame := s.frame()
	if a, b := strings.Index(frame, "a: champion"), strings.Index(frame, "b: champion"); a < 0 || b < a {
		t.Errorf("%s", frame)
	}
}

func TestRates(t *testing.T) {
	at := func(champion, challenger, copies int64) *adminv1.Rollout {
		return &adminv1.Rollout{ChampionFigures: &adminv1.ArmFigures{Requests: champion}, ChallengerFigures: &adminv1.ArmFigures{Requests: challenger},
			MirrorFigures: &adminv1.MirrorFigures{Sent: copies}}
	}
	m := &meter{}
	steps := []struct {
		after time.Duration
		r     *adminv1.Rollout
		want  rates
	}{
		{0, at(1000, 10, 0), rates{true, unknownRate, unknownRate, unknownRate}},
		{time.Millisecond, at(1001, 10, 0), rates{true, unknownRate, unknownRate, unknownRate}},
		{2 * time.Second, at(1200, 14, 1), rates{true, 100, 2, 0.5}},
		{6 * time.Second, at(2401, 10+4, 1), rates{true, 1400 / 5.999, 4 / 5.999, 1 / 5.999}},
		{7 * time.Second, at(2700, 14, 1), rates{true, 300, 0, 0}},
		// A restart, or another rollout: counts begin anew.
		{8 * time.Second, at(5, 0, 0), rates{true, unknownRate, unknownRate, unknownRate}},
		{9 * time.Second, at(15, 0, 0), rates{true, 10, 0, 0}},
	}
	for i, s := range steps {
		got := m.add(s.r, noon.Add(s.after))
		for _, pair := range [][2]rate{{got.champion, s.want.champion}, {got.challenger, s.want.challenger}, {got.copies, s.want.copies}} {
			if d := pair[0] - pair[1]; d > 0.01 || d < -0.01 {
				t.Errorf("step %d: %+v, want %+v", i, got, s.want)
				break
			}
		}
	}
	if len(m.samples) > 3 {
		t.Errorf("%d samples kept", len(m.samples))
	}
}

func TestWords(t *testing.T) {
	for want, got := range map[string]string{
		"0": count(0), "999": count(999), "1,000": count(1000), "-1,234,567": count(-1234567),
		"-": share(0, 0), "0%": share(0, 5), "<0.01%": share(1, 1000000), "33.33%": share(1, 3), "100%": share(7, 7),
		"12.5%": percent(12.5), "0.01%": percent(0.01),
		"999ns": latency(999), "1.23µs": latency(1234), "12.3ms": latency(12345678), "1m2s": latency(62 * time.Second),
		"0s": span(0), "30m": span(30 * time.Minute), "1h": span(time.Hour), "1h0m5s": span(time.Hour + 5*time.Second), "1m10s": span(70*time.Second + time.Millisecond),
		"0.0": rate(0).String(), "9.9": rate(9.94).String(), "1,235": rate(1234.5).String(),
		"a·b\nc·":                    clean("a\x1bb\nc\u202e"),
		"shadow 10 pairs":            stepName(&adminv1.Step{Step: &adminv1.Step_Shadow{Shadow: &adminv1.ShadowStep{MinRequests: 10}}}),
		"pause 1m, 5 requests":       stepName(&adminv1.Step{Step: &adminv1.Step_Pause{Pause: &adminv1.PauseStep{Duration: durationpb.New(time.Minute), MinRequests: 5}}}),
		"step":                       stepName(nil),
		"m at t":                     specName(&adminv1.ArmSpec{Target: "t", Model: "m"}),
		"promoted":                   standing(&adminv1.Rollout{Mode: adminv1.Mode_MODE_PROMOTED, WeightPercent: 100}),
		"no models are configured\n": overview(nil),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAdminURLs(t *testing.T) {
	for in, want := range map[string]string{
		"http://a:1": "http://a:1", "https://a:1/": "https://a:1", "a:1": "http://a:1", ":8082": "http://127.0.0.1:8082",
		"localhost": "http://localhost", "[::1]:8082": "http://[::1]:8082", "http://proxy/understudy/": "http://proxy/understudy",
	} {
		if got, err := adminURL(in); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "ftp://a", "http://", "http://user:secret@a", "http://a?x", "http://a#x", "a b"} {
		if got, err := adminURL(in); err == nil {
			t.Errorf("%q: %s; want an error", in, got)
		}
	}
}
