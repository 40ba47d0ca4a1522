package main

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/proto/inference"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

// hundred are latencies of 1 ms to 100 ms, times factor.
func hundred(factor float64) (out []time.Duration) {
	for i := 100; i > 0; i-- {
		out = append(out, time.Duration(float64(i)*factor*float64(time.Millisecond)))
	}
	return out
}

func TestQuantile(t *testing.T) {
	d := hundred(1)
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := quantile(d, q); got != want*time.Millisecond {
			t.Errorf("quantile %v: %s, want %d ms", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("a quantile of nothing is not 0")
	}
}

func TestRace(t *testing.T) {
	for name, c := range map[string]struct {
		race    race
		ratio   float64
		decided bool
	}{
		"alike":        {race{hundred(1), hundred(1), hundred(1)}, 1, true},
		"slower":       {race{hundred(1), hundred(1), hundred(1.5)}, 1.5, true},
		"twins differ": {race{hundred(1), hundred(1.1), hundred(1)}, 0.92, false},
		"the other":    {race{hundred(1.1), hundred(1), hundred(1)}, 0.92, false},
		"no samples":   {race{hundred(1), hundred(1), nil}, 0, false},
		"none at all":  {race{}, 0, false},
	} {
		o := c.race.judge()
		if math.Abs(o.ratio-c.ratio) > 0.01 || o.decided() != c.decided {
			t.Errorf("%s: %s: want ratio %v, decided %v", name, o, c.ratio, c.decided)
		}
		if strings.Contains(o.String(), "undecided") == c.decided {
			t.Errorf("%s: %q", name, o)
		}
	}
}

func TestLedger(t *testing.T) {
	m := parseMetrics(`# HELP x
understudy_records_eligible_total 10
understudy_records_recovered_total 2
understudy_records_delivered_total 7
understudy_records_dropped_total{reason="spool_full"} 1
understudy_records_dropped_total{reason="shutdown"} 1
understudy_records_spooled 2
understudy_records_in_flight 1
go_goroutines 1.2e+01
`)
	l, err := m.ledger()
	if want := (ledger{10, 2, 7, 2, 1, 2}); err != nil || l != want || !l.adds() || m["go_goroutines"] != 12 {
		t.Errorf("%v, %v, want %v", l, err, want)
	}
	if got := m.sum("understudy_records_dropped_total", `reason="shutdown"`); got != 1 {
		t.Errorf("%v dropped at shutdown, want 1", got)
	}
	for _, bad := range []ledger{{eligible: 1}, {eligible: 1, delivered: 2, spooled: -1}} {
		if bad.adds() || !strings.Contains(bad.String(), "≠") && bad.spooled >= 0 {
			t.Errorf("%v is said to add up", bad)
		}
	}
	if _, err := (metrics{}).ledger(); !errors.Is(err, errNoLedger) {
		t.Errorf("no ledger: %v", err)
	}
}

// The harness's config is one that the gateway takes.
func TestScriptIsValid(t *testing.T) {
	var yaml strings.Builder
	p := play{GRPC: "127.0.0.1:1", Admin: "127.0.0.1:2", Champion: "127.0.0.1:3", Challenger: "127.0.0.1:4", Broker: "127.0.0.1:5",
		Topic: "t", Dir: "/tmp", Spool: "/tmp/spool", SpoolBytes: "1GiB", Fsync: "always"}
	if err := script.Execute(&yaml, p); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("understudy.yaml", []byte(yaml.String()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, yaml.String())
	}
	if len(cfg.Warnings()) > 0 {
		t.Errorf("warnings: %v", cfg.Warnings())
	}
}

func heldOut(t *testing.T) []models.Row {
	t.Helper()
	rows, err := models.HeldOut()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestRequestsCanBeMadeAgain(t *testing.T) {
	rows := heldOut(t)
	q := request{1234, 3, 5000}
	again, err := parseRequest(q.id())
	if err != nil || again != q {
		t.Fatalf("%v, %v, want %v", again, err, q)
	}
	sent := q.message(rows)
	if !q.sentAs(rows, sent) {
		t.Error("a request is not itself")
	}
	sent.RawInputContents[0][100] ^= 1
	if q.sentAs(rows, sent) {
		t.Error("a flipped bit went unseen")
	}
	for _, bad := range []string{"", "request-1-2", "request-1-2-3-4", "request-01-2-0", "other-1-2-3"} {
		if _, err := parseRequest(bad); err == nil {
			t.Errorf("%q passed for a request", bad)
		}
	}
}

func TestInspect(t *testing.T) {
	q := request{1, 2, 0}
	good := func() *inference.ModelInferResponse {
		return &inference.ModelInferResponse{ModelName: "risk", ModelVersion: "1", Id: q.id(), RawOutputContents: [][]byte{make([]byte, 8)}}
	}
	header := metadata.Pairs("x-understudy-id", "id-1")
	if id, err := inspect(q, good(), header); id != "id-1" || err != nil {
		t.Errorf("a good answer: %q, %v", id, err)
	}
	if _, err := inspect(q, good(), nil); err == nil {
		t.Error("an answer without id passed")
	}
	for name, spoil := range map[string]func(*inference.ModelInferResponse){
		"another's":      func(r *inference.ModelInferResponse) { r.Id = "request-2-2-0" },
		"the challenger": func(r *inference.ModelInferResponse) { r.ModelVersion = "2" },
		"too short":      func(r *inference.ModelInferResponse) { r.RawOutputContents = nil },
	} {
		r := good()
		spoil(r)
		if _, err := inspect(q, r, header); err == nil {
			t.Errorf("%s answer passed", name)
		}
	}
}

// Only what no gateway can have seen is tried again.
func TestNobodyListened(t *testing.T) {
	for message, want := range map[string]bool{
		`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`: true,
		`connection error: desc = "error reading server preface: EOF"`:                                                 true,
		`error reading from server: EOF`: false,
		`the connection is draining`:     false,
	} {
		if got := nobodyListened(status.Error(codes.Unavailable, message)); got != want {
			t.Errorf("%s: %v", message, got)
		}
	}
	if nobodyListened(nil) || nobodyListened(status.Error(codes.Internal, "transport: Error while dialing")) {
		t.Error("other outcomes pass for a refused connection")
	}
}

// encoded is a record of q as it stands on the topic.
func encoded(t *testing.T, id string, q request, note string) []byte {
	t.Helper()
	b, err := proto.Marshal(&recordv1.Prediction{Id: id, RequestId: q.id(), Diverted: note, Request: q.message(heldOut(t))})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTopicAndReconcile(t *testing.T) {
	one, two, three := request{1, 1, 0}, request{2, 1, 0}, request{3, 1, 0}
	top := newTopic(heldOut(t))
	top.add([]byte("a"), encoded(t, "a", one, ""))
	top.add([]byte("a"), encoded(t, "a", one, ""))
	top.add([]byte("a"), encoded(t, "a", one, "altered"))
	top.add([]byte("b"), encoded(t, "b", two, ""))
	top.add([]byte("c"), encoded(t, "c", three, ""))
	if top.messages != 5 || top.duplicates != 2 || top.altered != 1 || top.strange != 0 || len(top.records) != 3 {
		t.Errorf("%+v", top)
	}
	rec := top.reconcile([]answer{
		{id: "a", request: one},
		{id: "b", request: three},                                 // mixed up
		{id: "gone", request: request{9, 1, 0}},                   // lost
		{err: errors.New("no answer"), request: request{8, 1, 0}}, // and "c" may be its record
	})
	if rec.answered != 3 || len(rec.missing) != 1 || rec.missing[0].id != "gone" || rec.mixed != 1 || rec.unanswered != 1 {
		t.Errorf("%+v", rec)
	}
	var f finding
	f.whole(top, rec)
	if len(f.broken) != 3 {
		t.Errorf("want the lost, the altered and the mixed one to break the row, got %q", f.broken)
	}
}

func TestTopicSeesStrangers(t *testing.T) {
	q := request{1, 1, 0}
	other := &recordv1.Prediction{Id: "a", RequestId: q.id(), Request: request{2, 1, 0}.message(heldOut(t))}
	swapped, err := proto.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := proto.Marshal(&recordv1.Prediction{Id: "a", RequestId: "who"})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{
		"no protobuf":      {0xff},
		"another key":      encoded(t, "b", q, ""),
		"another request":  swapped,
		"a request nobody": stranger,
	} {
		top := newTopic(heldOut(t))
		top.add([]byte("a"), value)
		if top.strange != 1 || top.first == nil || len(top.records) != 0 {
			t.Errorf("%s passed for a record", name)
		}
	}
}

// An answer counts as settled only if its own process outlived it for long enough.
func TestAge(t *testing.T) {
	start := time.Unix(0, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	k := kills{at: []time.Time{at(1000), at(2000)}, gone: []time.Time{at(1010), at(2010)}}
	for _, c := range []struct{ sent, done, want int }{
		{500, 510, 490},
		{990, 1005, -5},    // arrived behind the kill
		{1005, 1300, -300}, // sent to the dying process, answered by the next perhaps
		{1500, 1600, 400},
		{2500, 2600, int(time.Hour.Milliseconds())},
	} {
		if got := k.age(answer{sent: at(c.sent), done: at(c.done)}); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("sent %d, done %d: %s, want %d ms", c.sent, c.done, got, c.want)
		}
	}
}

func TestWatchDuring(t *testing.T) {
	start := time.Unix(0, 0)
	w := &watch{}
	for i, rss := range []int64{9, 1, 7, 3, 5, 99} {
		w.samples = append(w.samples, sample{at: start.Add(time.Duration(i) * time.Second), rss: rss, spooled: rss, goroutines: 10 - i})
	}
	got, err := w.during(span{start.Add(time.Second), start.Add(4 * time.Second)})
	if want := (vitals{rss: 5, peakRSS: 7, goroutines: 9}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if w.last().spooled != 99 {
		t.Errorf("the last one is %+v", w.last())
	}
	if _, err := w.during(span{start.Add(time.Hour), start.Add(2 * time.Hour)}); err == nil {
		t.Error("nothing seen passed for flat")
	}
}
