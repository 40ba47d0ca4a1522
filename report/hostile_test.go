package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/report/reporttest"
)

// Whatever a message is, it is counted under a name.
func TestUndecodable(t *testing.T) {
	good := reporttest.Wire(t, reporttest.Prediction(1, 0.5, 0.5))
	text, err := protojson.Marshal(reporttest.Prediction(2, 0.5, 0.5))
	if err != nil {
		t.Fatal(err)
	}
	noID := reporttest.Prediction(3, 0.5, 0.5)
	noID.Id = ""
	for _, c := range []struct {
		name    string
		message Message
		reason  string // empty: it is a record
	}{
		{"protobuf", Message{Value: good, ContentType: "application/protobuf", Type: recordType}, ""},
		{"protobuf without headers", Message{Value: good}, ""},
		{"JSON", Message{Value: text, ContentType: "application/json; charset=utf-8"}, ""},
		{"JSON without headers", Message{Value: text}, ""},
		{"a newer protobuf", Message{Value: protowire.AppendVarint(protowire.AppendTag(good, 99, protowire.VarintType), 1)}, ""},
		{"a newer JSON", Message{Value: append([]byte(`{"someday":1,"mode":"MODE_NOVEL",`), text[1:]...)}, "not JSON of a record"},
		{"a newer JSON field", Message{Value: append([]byte(`{"someday":1,`), text[1:]...)}, ""},
		{"nothing", Message{}, "empty"},
		{"cut short", Message{Value: good[:len(good)-3]}, "not protobuf"},
		{"noise", Message{Value: []byte("\xff\xfe noise")}, "not protobuf"},
		{"a name that is no text", Message{Value: append(good, 0x1a, 1, 0xff)}, "not protobuf"},
		{"half JSON", Message{Value: text[:len(text)/2]}, "not JSON of a record"},
		{"JSON said to be protobuf", Message{Value: text, ContentType: "application/protobuf"}, "not protobuf"},
		{"Avro", Message{Value: good, ContentType: "application/avro"}, "unknown content type"},
		{"another event", Message{Value: good, Type: "com.example.order"}, "another type"},
		{"another version", Message{Value: good, Type: "understudy.record.v2.Prediction"}, "another type"},
		{"no id", Message{Value: reporttest.Wire(t, noID)}, "no id"},
	} {
		tally := newTally(&Options{})
		tally.add(4, &c.message, newWindow(10).seen)
		m := tally.Messages
		if c.reason == "" && m.Records != 1 || c.reason != "" && (m.Undecodable[c.reason] != 1 || m.First[c.reason].Partition != 4) {
			t.Errorf("%s: %+v", c.name, m)
		}
	}
}

// Extremes in a record must neither break the state nor the report.
func TestExtremes(t *testing.T) {
	wild := reporttest.Prediction(0, float32(math.Inf(1)), float32(math.NaN()))
	wild.ReceivedAt = &timestamppb.Timestamp{Seconds: math.MaxInt64, Nanos: -1}
	wild.Mode, wild.Weight, wild.Assigned = 77, math.MaxUint32, 9
	wild.Champion.Latency = &durationpb.Duration{Seconds: math.MinInt64}
	wild.Challenger.Latency = &durationpb.Duration{Seconds: math.MaxInt64, Nanos: math.MaxInt32}
	wild.Segments = map[string]string{"": "", "=": "=\x1b[2J"}
	recorded := reporttest.Prediction(1, 0, 0)
	recorded.Champion.Response, recorded.Challenger.Response, recorded.Cut = nil, nil, &recordv1.Cut{}
	recorded.Comparison = &recordv1.Comparison{Outputs: []*recordv1.OutputComparison{
		{Output: "x", Kind: "score", Finding: "values", MaxAbsDiff: math.NaN()}, {Output: "x", Kind: "novel", MaxAbsDiff: math.Inf(1)}}}
	big := reporttest.Prediction(2, -math.MaxFloat32, math.MaxFloat32)
	s := topicOf(t, 1, []*recordv1.Prediction{wild, recorded, big})
	dir := t.TempDir()
	r, err := read(t, s, dir, "")
	if err != nil || r.Messages.Records != 3 {
		t.Fatal(err, r.Messages)
	}
	again, err := read(t, s, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, r)
	for _, write := range []func() error{func() error { return r.WriteTable(&bytes.Buffer{}) }, func() error { return r.WriteHTML(&bytes.Buffer{}, reporttest.Noon) }} {
		if err := write(); err != nil {
			t.Error(err)
		}
	}
}

// Names that everybody can make up must not fill the memory.
func TestMemoryIsBounded(t *testing.T) {
	tally := newTally(&Options{Models: rules()})
	w := newWindow(1000)
	add := func(from, to int) {
		for i := from; i < to; i++ {
			p := reporttest.Prediction(i, 0.2, 0.9)
			p.Revision = uint64(i)
			p.Model = fmt.Sprintf("risk-%d", i%1000)
			p.Segments = map[string]string{"tenant": fmt.Sprint(i), fmt.Sprint("source", i%50): "a"}
			p.Challenger.Response.Outputs[0].Name = fmt.Sprint("output", i)
			p.Diverted, p.Challenger.Code = fmt.Sprint("why", i), uint32(i)
			tally.add(0, &Message{Value: reporttest.Wire(t, p)}, w.seen)
		}
	}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	add(0, 20_000)
	before := heap()
	add(20_000, 40_000)
	if after := heap(); after > 1.2*before+1e6 {
		t.Errorf("the heap grew from %.0f to %.0f", before, after)
	}
	if len(tally.Rollouts) != mostRollouts {
		t.Errorf("%d rollouts", len(tally.Rollouts))
	}
	if _, err := json.Marshal(tally); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(reporttest.Wire(f, reporttest.Prediction(1, 0.5, 0.6)), "")
	f.Add([]byte(`{"id":"x","segments":{"a":"b"}}`), "application/json")
	for _, p := range reporttest.Traffic(40) {
		f.Add(reporttest.Wire(f, p), "application/protobuf")
	}
	f.Fuzz(func(t *testing.T, value []byte, contentType string) {
		tally := newTally(&Options{Models: rules()})
		tally.add(0, &Message{Value: value, ContentType: contentType}, func(string) bool { return false })
		text, err := json.Marshal(tally)
		if err != nil {
			t.Fatal(err)
		}
		var read Tally
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}
