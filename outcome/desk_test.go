package outcome

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/understudy-serving/understudy/kafkatest"
	"github.com/understudy-serving/understudy/rollout"
)

var brokers kafkatest.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(brokers.Around(m)) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// horizons has a model with two outcomes and one with another.
func horizons(model string) map[string]time.Duration {
	return map[string]map[string]time.Duration{
		"fraud": {"converted": 24 * time.Hour, "clicked": time.Hour},
		"spam":  {"kept": 24 * time.Hour},
		"calm":  {},
	}[model]
}

// world is a desk that runs, and the clock that it reads.
type world struct {
	*Desk
	*clock
	registry *prometheus.Registry
	opts     Options
	end      func()
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{clock: &clock{now: noon}}
	w.opts = Options{Dir: t.TempDir(), Window: 24 * time.Hour, MaxBytes: 1 << 30, Horizons: horizons, Clock: w.Now,
		Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&w.opts)
	}
	w.start(t)
	return w
}

// start opens the desk, also after an end.
func (w *world) start(t *testing.T) {
	t.Helper()
	w.registry = prometheus.NewRegistry()
	w.opts.Registerer = w.registry
	d, err := Open(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	w.Desk = d
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.Run(ctx) }()
	w.end = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := d.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(func() { w.end() })
}

// ticket is one of a request that is routed now.
func (w *world) ticket(model string) rollout.Ticket {
	id := uuid.Must(uuid.NewV7())
	ms := uint64(w.Now().UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return rollout.Ticket{ID: id, Model: model, Rollout: 3, At: w.Now(), Arm: rollout.Challenger, Entered: 5, Index: 2,
		Weight: 500, Vote: rollout.Fresh | rollout.First, Segments: [rollout.MaxSegmentSources]string{"eu"}}
}

// report wants a result of a report.
func (w *world) report(t *testing.T, want rollout.ReportResult, r Request) {
	t.Helper()
	got, err := w.Report(t.Context(), r)
	if err != nil || got != want {
		t.Errorf("%+v: %q, %v; want %q", r, got, err, want)
	}
}

func (w *world) counted(t *testing.T, model, name, result string) float64 {
	t.Helper()
	return value(t, w.metrics.outcomes.WithLabelValues(model, name, result))
}

func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

func idOf(t rollout.Ticket) string { return uuid.UUID(t.ID).String() }

func TestReportByTicketAndByID(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.ticket("fraud"), w.ticket("fraud")
	ticketA, ticketB := w.Issue(a), w.Issue(b)
	w.report(t, rollout.Accepted, Request{Ticket: ticketA, Name: "converted", Value: 1})
	w.report(t, rollout.Duplicate, Request{Ticket: ticketA, Name: "converted", Value: 0})
	w.report(t, rollout.Duplicate, Request{ID: idOf(a), Name: "converted", Value: 0})
	w.report(t, rollout.Accepted, Request{ID: idOf(b), Name: "converted", Value: 0.25})
	w.report(t, rollout.Duplicate, Request{Ticket: ticketB, Name: "converted", Value: 0.25})
	w.report(t, rollout.Accepted, Request{ID: idOf(b), Name: "clicked", Value: -3})
	w.report(t, rollout.Unmatched, Request{ID: idOf(w.ticket("fraud")), Name: "converted"})

	got, err := w.After("fraud", 0, 10)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, want := range []rollout.Reported{{Ticket: a, Name: "converted", Value: 1}, {Ticket: b, Name: "converted", Value: 0.25}, {Ticket: b, Name: "clicked", Value: -3}} {
		want.Sequence = got[0].Sequence + uint64(i)
		if !got[i].At.Equal(want.At) {
			t.Errorf("%d: at %v, want %v", i, got[i].At, want.At)
		}
		got[i].At = want.At
		if got[i] != want {
			t.Errorf("%d: %+v, want %+v", i, got[i], want)
		}
	}
	if last := w.Last("fraud"); last != got[2].Sequence || w.Last("spam") != 0 {
		t.Errorf("last %d, %d", last, w.Last("spam"))
	}
	if rest, err := w.After("fraud", got[1].Sequence, 10); err != nil || len(rest) != 1 || rest[0].Name != "clicked" {
		t.Errorf("after the second: %+v, %v", rest, err)
	}
	if few, err := w.After("fraud", 0, 2); err != nil || len(few) != 2 {
		t.Errorf("at most 2: %+v, %v", few, err)
	}
	for result, want := range map[string]float64{"accepted": 2, "duplicate": 3} {
		if got := w.counted(t, "fraud", "converted", result); got != want {
			t.Errorf("counted %v %s, want %v", got, result, want)
		}
	}
	if got := w.counted(t, "other", "other", "unmatched"); got != 1 {
		t.Errorf("counted %v unmatched", got)
	}
}

func TestRefusedReports(t *testing.T) {
	w := newWorld(t, nil)
	ticket := w.Issue(w.ticket("fraud"))
	elsewhere := newWorld(t, nil)
	calm, gone := w.Issue(w.ticket("calm")), w.Issue(w.ticket("gone"))
	id := idOf(w.ticket("fraud"))
	for _, c := range []struct {
		name string
		r    Request
		is   error
		say  string
	}{
		{"neither", Request{Name: "converted"}, rollout.ErrMalformed, "exactly one"},
		{"both", Request{Ticket: ticket, ID: id, Name: "converted"}, rollout.ErrMalformed, "exactly one"},
		{"no name", Request{Ticket: ticket}, rollout.ErrMalformed, "name: is empty"},
		{"no number", Request{Ticket: ticket, Name: "converted", Value: math.NaN()}, rollout.ErrMalformed, "value: is NaN"},
		{"infinite", Request{ID: id, Name: "converted", Value: math.Inf(-1)}, rollout.ErrMalformed, "finite"},
		{"no id", Request{ID: "4711", Name: "converted"}, rollout.ErrMalformed, "x-understudy-id"},
		{"id in braces", Request{ID: "{" + id + "}", Name: "converted"}, rollout.ErrMalformed, "x-understudy-id"},
		{"cut", Request{Ticket: ticket[:20], Name: "converted"}, rollout.ErrMalformed, "whole"},
		{"another alphabet", Request{Ticket: ticket + "==", Name: "converted"}, rollout.ErrMalformed, "whole"},
		{"long", Request{Ticket: strings.Repeat(ticket, 100), Name: "converted"}, rollout.ErrMalformed, "characters"},
		{"changed", Request{Ticket: "B" + ticket[1:], Name: "converted"}, rollout.ErrForged, "signature"},
		{"one character more", Request{Ticket: ticket[:4] + "AAAA" + ticket[4:], Name: "converted"}, rollout.ErrForged, "signature"},
		{"another gateway's", Request{Ticket: elsewhere.Issue(w.ticket("fraud")), Name: "converted"}, rollout.ErrForged, "keyFile"},
		{"unknown name", Request{Ticket: ticket, Name: "bought"}, rollout.ErrUnknownOutcome, `no outcome "bought"; there are: clicked, converted`},
		{"no outcomes", Request{Ticket: calm, Name: "bought"}, rollout.ErrUnknownOutcome, "no gate that judges outcomes"},
		{"a model that is gone", Request{Ticket: gone, Name: "bought"}, rollout.ErrUnknownOutcome, `"gone"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := w.Report(t.Context(), c.r); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.say) || got != "" {
				t.Errorf("%q, %v; want %v with %q", got, err, c.is, c.say)
			}
		})
	}
	if w.Last("fraud") != 0 {
		t.Error("something was stored")
	}
	if got := w.counted(t, "fraud", "other", "unknown"); got != 1 {
		t.Errorf("counted %v unknown", got)
	}
	if got := w.counted(t, "other", "converted", "forged"); got != 0 {
		t.Errorf("a name of no model is a label")
	}
	byID := w.ticket("fraud")
	w.Issue(byID)
	if _, err := w.Report(t.Context(), Request{ID: idOf(byID), Name: "bought"}); !errors.Is(err, rollout.ErrUnknownOutcome) {
		t.Errorf("unknown name by id: %v", err)
	}
}

func TestLateReports(t *testing.T) {
	w := newWorld(t, nil)
	a := w.ticket("fraud")
	ticket := w.Issue(a)
	w.add(time.Hour)
	w.report(t, rollout.Accepted, Request{Ticket: ticket, Name: "clicked", Value: 1}) // at its horizon, to the millisecond
	b := w.ticket("fraud")
	w.Issue(b)
	w.add(time.Hour + time.Millisecond)
	w.report(t, rollout.Expired, Request{ID: idOf(b), Name: "clicked", Value: 1})
	w.add(24*time.Hour - 2*time.Hour - time.Millisecond)
	w.report(t, rollout.Accepted, Request{Ticket: ticket, Name: "converted", Value: 1})
	w.add(time.Millisecond)
	w.report(t, rollout.Expired, Request{Ticket: ticket, Name: "converted", Value: 1})
	if got := w.counted(t, "fraud", "clicked", "expired") + w.counted(t, "fraud", "converted", "expired"); got != 2 {
		t.Errorf("counted %v expired", got)
	}
}

// A process is killed between a report and its reading: what was acknowledged is read
// once, and is known when it comes again.
func TestReportsOutliveTheProcess(t *testing.T) {
	w := newWorld(t, nil)
	var tickets []string
	for range 10 {
		tickets = append(tickets, w.Issue(w.ticket("fraud")))
	}
	for _, ticket := range tickets[:6] {
		w.report(t, rollout.Accepted, Request{Ticket: ticket, Name: "converted", Value: 1})
	}
	read, err := w.After("fraud", 0, 4)
	if err != nil || len(read) != 4 {
		t.Fatalf("%+v, %v", read, err)
	}
	cursor := read[3].Sequence
	killed := w.kill(t)
	w.start(t)
	killed()

	for _, ticket := range tickets[:6] {
		w.report(t, rollout.Duplicate, Request{Ticket: ticket, Name: "converted", Value: 1})
	}
	w.report(t, rollout.Accepted, Request{Ticket: tickets[6], Name: "converted", Value: 1})
	rest, err := w.After("fraud", cursor, 100)
	if err != nil || len(rest) != 3 || rest[0].Sequence != cursor+1 || w.Last("fraud") != rest[2].Sequence {
		t.Errorf("%+v, %v; last %d", rest, err, w.Last("fraud"))
	}
}

// kill leaves the desk's file as a killed process would: another desk goes on with a copy.
func (w *world) kill(t *testing.T) (end func()) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{fileName, keyName} {
		b, err := os.ReadFile(filepath.Join(w.opts.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.opts.Dir = dir
	return w.end
}

func TestManyReportersAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	const reporters, each = 50, 20
	var tickets [each]string
	for i := range tickets {
		tickets[i] = w.Issue(w.ticket("fraud"))
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	results := map[rollout.ReportResult]int{}
	for range reporters {
		all.Go(func() {
			for _, ticket := range tickets {
				got, err := w.Report(t.Context(), Request{Ticket: ticket, Name: "converted", Value: 1})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				results[got]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if results[rollout.Accepted] != each || results[rollout.Duplicate] != (reporters-1)*each {
		t.Errorf("%v", results)
	}
}

func TestTheWindowEmptiesTheFile(t *testing.T) {
	w := newWorld(t, nil)
	old := w.ticket("fraud")
	ticket := w.Issue(old)
	w.report(t, rollout.Accepted, Request{Ticket: ticket, Name: "converted", Value: 1})
	before := w.Last("fraud")
	w.add(25 * time.Hour)
	w.end()
	w.start(t) // tidies first
	w.end()
	w.start(t)
	if found, err := w.After("fraud", 0, 10); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	w.report(t, rollout.Unmatched, Request{ID: idOf(old), Name: "converted"})
	if w.Last("fraud") != before {
		t.Errorf("last %d, before %d", w.Last("fraud"), before)
	}
	w.report(t, rollout.Accepted, Request{Ticket: w.Issue(w.ticket("fraud")), Name: "converted", Value: 1})
	if w.Last("fraud") != before+1 {
		t.Errorf("sequence %d after %d", w.Last("fraud"), before)
	}
	// A longer window does not bring back what was forgotten.
	w.end()
	w.opts.Window, w.opts.Horizons = 100*time.Hour, func(string) map[string]time.Duration {
		return map[string]time.Duration{"converted": 100 * time.Hour}
	}
	w.start(t)
	w.report(t, rollout.Expired, Request{Ticket: ticket, Name: "converted", Value: 1})
}

func TestMaxBytes(t *testing.T) {
	const most = 512 << 10
	w := newWorld(t, func(o *Options) { o.MaxBytes = most })
	first := w.ticket("fraud")
	ticket := w.Issue(first)
	w.report(t, rollout.Accepted, Request{Ticket: ticket, Name: "converted", Value: 1})
	// Ids leave first; what was reported stays known.
	for range 6 {
		for range 2500 {
			w.Issue(w.ticket("fraud"))
		}
		w.report(t, rollout.Duplicate, Request{Ticket: ticket, Name: "converted", Value: 1})
		w.add(time.Hour)
	}
	w.report(t, rollout.Unmatched, Request{ID: idOf(first), Name: "converted"})
	w.holds(t, most)

	// Then the oldest hour of reports.
	seconds := 0
	for hour := range 6 {
		for range 2 {
			batch := make([]*entry, 1000)
			for i := range batch {
				batch[i] = w.receive(Request{Ticket: w.Issue(w.ticket("spam")), Name: "kept", Value: 1})
			}
			w.write(t.Context(), batch)
			for _, e := range batch {
				if e.err != nil || e.result != rollout.Accepted {
					t.Fatalf("hour %d: %q, %v", hour, e.result, e.err)
				}
				seconds++
			}
		}
		w.add(time.Hour)
	}
	w.holds(t, most)
	w.report(t, rollout.Expired, Request{Ticket: ticket, Name: "converted", Value: 1})
	left, err := w.After("spam", 0, 1<<20)
	if err != nil || len(left) == 0 || len(left) >= seconds || left[len(left)-1].Sequence != w.Last("spam") {
		t.Errorf("%d of %d reports are left, %v", len(left), seconds, err)
	}
}

// holds wants no more bytes in use than that, and the file not much larger.
func (w *world) holds(t *testing.T, most int64) {
	t.Helper()
	used, err := w.file.used()
	for end := time.Now().Add(10 * time.Second); err == nil && used > most && time.Now().Before(end); { // it is bounded behind the answers
		time.Sleep(time.Millisecond)
		used, err = w.file.used()
	}
	if err != nil || used > most {
		t.Errorf("%d bytes are used, %v; want %d at most", used, err, most)
	}
	if size := w.file.size(); size > 8*most {
		t.Errorf("the file has %d bytes", size)
	}
	t.Logf("%d bytes used, %d on disk", used, w.file.size())
}

func TestIssueNeverWaits(t *testing.T) {
	w := newWorld(t, nil)
	w.end() // nobody writes
	for range maxIssued + 10 {
		w.Issue(w.ticket("fraud"))
	}
	if got := value(t, w.metrics.unremembered); got != 10 {
		t.Errorf("%v unremembered", got)
	}
	if _, err := w.Report(t.Context(), Request{Ticket: w.Issue(w.ticket("fraud")), Name: "converted"}); !errors.Is(err, rollout.ErrUnavailable) {
		t.Errorf("report after the end: %v", err)
	}
}

func TestAReportWhoseCallerLeaves(t *testing.T) {
	d, err := Open(Options{Dir: t.TempDir(), Window: time.Hour, MaxBytes: 1 << 30, Horizons: horizons})
	if err != nil {
		t.Fatal(err)
	}
	w := world{Desk: d, clock: &clock{now: time.Now()}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	// Run was not called.
	if _, err := d.Report(ctx, Request{Ticket: d.Issue(w.ticket("fraud")), Name: "clicked"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Error(err)
	}
	d.Run(t.Context()) // ends at once
}

func TestOpen(t *testing.T) {
	w := newWorld(t, nil)
	w.opts.Registerer = nil
	if _, err := Open(w.opts); err == nil || !strings.Contains(err.Error(), "another process has it") {
		t.Errorf("opened twice: %v", err)
	}
	for _, name := range []string{fileName, keyName} {
		if info, err := os.Stat(filepath.Join(w.opts.Dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
		}
	}
	ticket := w.Issue(w.ticket("fraud"))

	// Another replica with the same key takes the ticket.
	w.opts.Dir, w.opts.KeyFile = t.TempDir(), filepath.Join(w.opts.Dir, keyName)
	second := *w
	second.start(t)
	second.report(t, rollout.Accepted, Request{Ticket: ticket, Name: "converted", Value: 1})
	if _, err := os.Stat(filepath.Join(second.opts.Dir, keyName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key of its own beside keyFile: %v", err)
	}

	for name, content := range map[string]string{"short": "abc", "31 bytes": strings.Repeat("a", 31), "no hex": strings.Repeat("g", 64), "empty": ""} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		o := w.opts
		o.Dir, o.KeyFile, o.Registerer = t.TempDir(), path, nil
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "openssl rand -hex 32") {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := w.opts
	o.Dir, o.KeyFile = t.TempDir(), filepath.Join(t.TempDir(), "missing")
	o.Registerer = nil
	if _, err := Open(o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing keyFile: %v", err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, fileName), []byte(strings.Repeat("no database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, rollout.ErrUnavailable) || !strings.Contains(err.Error(), fileName) {
		t.Errorf("damaged: %v", err)
	}
}

// A file that is lost and begun anew does not reuse sequences.
func TestSequencesOutliveTheFile(t *testing.T) {
	w := newWorld(t, nil)
	w.report(t, rollout.Accepted, Request{Ticket: w.Issue(w.ticket("fraud")), Name: "converted", Value: 1})
	cursor := w.Last("fraud")
	w.end()
	w.opts.Dir = t.TempDir()
	w.add(time.Second)
	w.start(t)
	w.report(t, rollout.Accepted, Request{Ticket: w.Issue(w.ticket("fraud")), Name: "converted", Value: 1})
	if found, err := w.After("fraud", cursor, 10); err != nil || len(found) != 1 {
		t.Errorf("behind %d: %+v, %v", cursor, found, err)
	}
}

func BenchmarkIssue(b *testing.B) {
	d, err := Open(Options{Dir: b.TempDir(), Window: time.Hour, MaxBytes: 1 << 30, Horizons: horizons})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = d.Close(context.Background()) }()
	w := world{Desk: d, clock: &clock{now: noon}}
	t := w.ticket("fraud")
	b.ReportAllocs()
	for b.Loop() {
		d.Issue(t)
		select {
		case <-d.issued:
		default:
		}
	}
}

func BenchmarkReport(b *testing.B) {
	w := &world{clock: &clock{now: time.Now()}}
	d, err := Open(Options{Dir: b.TempDir(), Window: time.Hour, MaxBytes: 1 << 30, Horizons: horizons})
	if err != nil {
		b.Fatal(err)
	}
	w.Desk = d
	ctx, cancel := context.WithCancel(context.Background())
	go d.Run(ctx)
	defer func() { cancel(); _ = d.Close(context.Background()) }()
	for _, reporters := range []int{1, 64} {
		b.Run(fmt.Sprintf("reporters=%d", reporters), func(b *testing.B) {
			b.SetParallelism(reporters)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if got, err := d.Report(ctx, Request{Ticket: d.Issue(w.ticket("fraud")), Name: "converted", Value: 1}); got != rollout.Accepted {
						b.Fatal(got, err)
					}
				}
			})
		})
	}
}

// A disk that fails refuses reports, and they may come again.
func TestADiskThatFails(t *testing.T) {
	w := newWorld(t, nil)
	first := w.Issue(w.ticket("fraud"))
	w.report(t, rollout.Accepted, Request{Ticket: first, Name: "converted", Value: 1})
	if err := w.file.db.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Report(t.Context(), Request{Ticket: w.Issue(w.ticket("fraud")), Name: "converted", Value: 1}); !errors.Is(err, rollout.ErrUnavailable) {
		t.Errorf("%q, %v; want ErrUnavailable", got, err)
	}
	if _, err := w.After("fraud", 0, 10); !errors.Is(err, rollout.ErrUnavailable) {
		t.Errorf("After: %v", err)
	}
	if got := value(t, w.metrics.unremembered); got == 0 {
		t.Error("the ticket's id is lost and not counted")
	}
	w.end()
	w.start(t)
	w.report(t, rollout.Duplicate, Request{Ticket: first, Name: "converted", Value: 1})
}

// A page that can't be is an error, for good, and neither a crash nor a wait.
func TestAFileThatIsDamaged(t *testing.T) {
	w := newWorld(t, nil)
	for range 2000 {
		w.Issue(w.ticket("fraud"))
	}
	w.report(t, rollout.Accepted, Request{Ticket: w.Issue(w.ticket("fraud")), Name: "converted", Value: 1})
	w.end()
	path := filepath.Join(w.opts.Dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for i := 2 * page; i < len(whole); i++ { // behind the meta pages
		whole[i] = 'x'
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	w.opts.Registerer = nil
	if _, err := Open(w.opts); !errors.Is(err, rollout.ErrUnavailable) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v; want an error about a damaged file", err)
	}
}
