package kafkasource

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/understudy-serving/understudy/kafkatest"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/report"
	"github.com/understudy-serving/understudy/report/reporttest"
	"github.com/understudy-serving/understudy/sink"
)

var real kafkatest.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(real.Around(m)) }

func message(id string, value []byte, contentType string) kafkatest.Message {
	return kafkatest.Message{Key: []byte(id), Value: value, Timestamp: reporttest.Noon, Headers: map[string]string{
		"ce_specversion": "1.0", "ce_id": id, "ce_type": "understudy.record.v1.Prediction", "content-type": contentType}}
}

func protobuf(t *testing.T, p *recordv1.Prediction) kafkatest.Message {
	return message(p.Id, reporttest.Wire(t, p), "application/protobuf")
}

func inJSON(t *testing.T, p *recordv1.Prediction) kafkatest.Message {
	t.Helper()
	text, err := protojson.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return message(p.Id, text, "application/json")
}

func open(t *testing.T, brokers []string, topic string) *Topic {
	t.Helper()
	s, err := New(sink.KafkaOptions{Brokers: brokers, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// read runs a report to the end.
func read(t *testing.T, s report.Source, o report.Options) report.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := report.Run{Options: o, Source: s}
	if err := r.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Read(ctx); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	return r.Summarize("")
}

// everything is a topic as years of gateways and their neighbours leave it, and what is to be
// counted of it.
func everything(t *testing.T) (all []kafkatest.Message, want report.Messages) {
	for i, p := range reporttest.Traffic(3000) {
		want.Records++
		m := protobuf(t, p)
		switch {
		case i%10 == 1:
			m = inJSON(t, p)
			want.JSON++
		case i%10 == 2: // of a later version
			m.Value = protowire.AppendString(protowire.AppendTag(m.Value, 99, protowire.BytesType), "later")
			want.NewerSchema++
		case i%10 == 3:
			p.Request, p.Champion.Response, p.Challenger.Response, p.Cut = nil, nil, nil, &recordv1.Cut{OriginalBytes: 2_000_000}
			m = protobuf(t, p)
		}
		all = append(all, m)
		if i%50 == 7 {
			all = append(all, m)
			want.Duplicates++
		}
	}
	all = append(all, slices.Clone(all[1000:1020])...) // a window that was sent again
	want.Duplicates += 20
	want.Undecodable = map[string]int64{"not protobuf": 1, "not JSON of a record": 1, "another type": 1, "unknown content type": 1, "empty": 1}
	for _, m := range []kafkatest.Message{
		message("a", []byte("\x0a\xffcorrupt"), "application/protobuf"), message("b", []byte(`{"id": 3`), "application/json"),
		{Key: []byte("c"), Value: []byte("hello"), Timestamp: reporttest.Noon, Headers: map[string]string{"ce_type": "com.example.order"}},
		message("d", []byte("Obj\x01"), "application/avro"), {Key: []byte("e"), Timestamp: reporttest.Noon},
	} {
		all = slices.Insert(all, len(all)/2, m)
	}
	want.Read = int64(len(all))
	want.Protobuf = want.Records - want.JSON
	return all, want
}

func TestRealTopicWithEverything(t *testing.T) {
	brokers := real.Brokers(t)
	name := kafkatest.Topic(t, brokers, 3, nil)
	all, want := everything(t)
	kafkatest.Produce(t, brokers, name, all)
	r := read(t, open(t, brokers, name), report.Options{})
	got := r.Messages
	for reason, n := range want.Undecodable {
		if got.Undecodable[reason] != n {
			t.Errorf("%s: %d, want %d", reason, got.Undecodable[reason], n)
		}
	}
	if got.Read != want.Read || got.Records != want.Records || got.Duplicates != want.Duplicates || got.JSON != want.JSON ||
		got.Protobuf != want.Protobuf || got.NewerSchema != want.NewerSchema || !r.Complete || r.Removed != 0 {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	a := r.Rollouts[0].Agree
	if a.Recorded == 0 || a.Recomputed == 0 || r.Rollouts[0].Records != want.Records {
		t.Errorf("%+v", a)
	}
}

// A report ends where the topic ended when it began, and begins where it is told.
func TestRealTopicBounds(t *testing.T) {
	brokers := real.Brokers(t)
	name := kafkatest.Topic(t, brokers, 2, nil)
	var old, late []kafkatest.Message
	for i, p := range reporttest.Traffic(400) {
		m := protobuf(t, p)
		m.Timestamp = p.ReceivedAt.AsTime()
		if i < 200 {
			old = append(old, m)
		} else {
			m.Timestamp = m.Timestamp.Add(time.Hour)
			late = append(late, m)
		}
	}
	kafkatest.Produce(t, brokers, name, old)
	s := open(t, brokers, name)
	r := report.Run{Source: s}
	if err := r.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	kafkatest.Produce(t, brokers, name, late)
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.Summarize("").Messages.Read; got != 200 {
		t.Errorf("%d messages, want the 200 that there were", got)
	}
	s.Since = reporttest.Noon.Add(30 * time.Minute) // of the messages; the requests came before
	if got := read(t, s, report.Options{}).Messages; got.Read != 200 {
		t.Errorf("since: %d messages", got.Read)
	}
	s.Since = reporttest.Noon.Add(24 * time.Hour)
	if got := read(t, s, report.Options{}).Messages; got.Read != 0 {
		t.Errorf("since tomorrow: %d messages", got.Read)
	}
}

// What the state has is committed for those who watch, and following ends when it is told.
func TestRealGroupAndFollow(t *testing.T) {
	brokers := real.Brokers(t)
	name := kafkatest.Topic(t, brokers, 2, nil)
	s := open(t, brokers, name)
	state, err := report.OpenState(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	r := report.Run{Source: s, State: state, Follow: true, SaveEach: 50 * time.Millisecond}
	r.Committed = func(ctx context.Context, next map[int]int64) error { return s.Commit(ctx, "watched", next) }
	if err := r.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Read(ctx) }()
	var all []kafkatest.Message
	for _, p := range reporttest.Traffic(100) {
		all = append(all, protobuf(t, p))
	}
	kafkatest.Produce(t, brokers, name, all)
	for deadline := time.Now().Add(30 * time.Second); r.Progress().Messages < 100 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	got, err := s.client.OffsetFetch(t.Context(), &kafka.OffsetFetchRequest{GroupID: "watched", Topics: map[string][]int{name: {0, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, p := range got.Topics[name] {
		sum += p.CommittedOffset
	}
	if sum != 100 || r.Summarize("").Messages.Records != 100 {
		t.Errorf("%d committed, %+v", sum, r.Summarize("").Messages)
	}
}

// Retention may take what was not read; a broker that goes away comes back.
func TestRealBrokerRestarts(t *testing.T) {
	b := kafkatest.StartBroker(t)
	brokers := []string{b.Addr}
	name := kafkatest.Topic(t, brokers, 1, nil)
	var all []kafkatest.Message
	for _, p := range reporttest.Traffic(5000) {
		all = append(all, protobuf(t, p))
	}
	kafkatest.Produce(t, brokers, name, all)
	s := open(t, brokers, name)
	r := report.Run{Source: breaking{s, b, t}}
	if err := r.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.Summarize("").Messages; got.Records != 5000 || got.Duplicates != 0 {
		t.Errorf("%+v", got)
	}
}

// breaking kills the broker behind the first 500 messages, and starts it again.
type breaking struct {
	*Topic
	broker *kafkatest.Broker
	t      *testing.T
}

func (b breaking) Read(ctx context.Context, p report.Part, follow bool, do func(m *report.Message) error) error {
	n := 0
	return b.Topic.Read(ctx, p, follow, func(m *report.Message) error {
		if n++; n == 500 {
			b.broker.Kill()
			if err := b.broker.Restart(); err != nil {
				return err
			}
		}
		return do(m)
	})
}

func TestTLSAndSASL(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(web.Certificate())
	brokers := kafkatest.Fake(t, kfake.TLS(&tls.Config{Certificates: web.TLS.Certificates}), kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", "reader", "secret"), kfake.SeedTopics(2, "guarded")).ListenAddrs()
	secure := &tls.Config{RootCAs: trusted}
	writer := kafka.Writer{Addr: kafka.TCP(brokers...), Topic: "guarded", BatchTimeout: time.Millisecond}
	for password, want := range map[string]int64{"secret": 1, "wrong": 0} {
		o := sink.KafkaOptions{Brokers: brokers, Topic: "guarded", TLS: secure, SASL: sink.SASL{Mechanism: "scram-sha-256", Username: "reader", Password: password}}
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if want == 1 {
			writer.Transport = s.client.Transport
			if err := writer.WriteMessages(t.Context(), kafka.Message{Value: reporttest.Wire(t, reporttest.Prediction(1, 0.5, 0.5))}); err != nil {
				t.Fatal(err)
			}
			if got := read(t, s, report.Options{}).Messages.Records; got != want {
				t.Errorf("%d records", got)
			}
			continue
		}
		if err := (&report.Run{Source: s}).Begin(t.Context()); err == nil {
			t.Error("a wrong password was taken")
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNoSuchTopic(t *testing.T) {
	brokers := kafkatest.Fake(t).ListenAddrs()
	r := report.Run{Source: open(t, brokers, "no-such-topic")}
	if err := r.Begin(t.Context()); !errors.Is(err, kafka.UnknownTopicOrPartition) {
		t.Errorf("%v", err)
	}
	r = report.Run{Source: open(t, []string{"127.0.0.1:1"}, "any")}
	if err := r.Begin(t.Context()); err == nil {
		t.Error("nobody is there")
	}
}
