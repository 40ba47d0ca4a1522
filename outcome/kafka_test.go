package outcome

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/kafkatest"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// logs keeps what is logged.
type logs struct {
	mu sync.Mutex
	strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

func (l *logs) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.String(), what)
}

func (w *world) eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s after two minutes", what)
		}
	}
}

func jsonReport(field, value, name string) kafkatest.Message {
	return kafkatest.Message{Value: fmt.Appendf(nil, `{%q: %q, "name": %q, "value": 1, "source": "shop"}`, field, value, name)}
}

func fromKafka(addresses []string, topic string, l *logs) func(*Options) {
	return func(o *Options) {
		o.Kafka = &KafkaOptions{Brokers: addresses, Topic: topic, Group: "understudy-" + topic}
		o.Logger = slog.New(slog.NewTextHandler(l, nil))
	}
}

// What is on a topic counts once, whatever lies between, and also where the consumer
// starts anew and the topic repeats itself.
func TestReportsFromKafka(t *testing.T) {
	addresses := brokers.Brokers(t)
	topic := kafkatest.Topic(t, addresses, 3, nil)
	var l logs
	w := newWorld(t, fromKafka(addresses, topic, &l))
	byTicket, byID, binary := w.ticket("fraud"), w.ticket("fraud"), w.ticket("fraud")
	ticket := w.Issue(byTicket)
	w.Issue(byID)
	raw, err := proto.Marshal(&adminv1.ReportOutcomeRequest{Request: &adminv1.ReportOutcomeRequest_Ticket{Ticket: w.Issue(binary)}, Name: "converted", Value: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	messages := []kafkatest.Message{
		jsonReport("ticket", ticket, "converted"),
		{Value: []byte("garbage")}, {}, {Value: []byte("{}")}, {Value: []byte(`{"ticket": 7}`)}, {Value: []byte(strings.Repeat("x", maxMessage+1))},
		{Value: raw}, // protobuf without its header is no JSON
		jsonReport("ticket", ticket, "bought"),
		jsonReport("ticket", "B"+ticket[1:], "converted"),
		{Value: []byte("\xff\xff"), Headers: map[string]string{"content-type": protobufType}},
		jsonReport("ticket", ticket, "converted"),
		jsonReport("id", idOf(byID), "converted"),
		{Value: raw, Headers: map[string]string{"content-type": protobufType}},
	}
	kafkatest.Produce(t, addresses, topic, messages)
	sum := func(result string) (n float64) {
		for _, model := range []string{"fraud", "other"} {
			for _, name := range []string{"converted", "other"} {
				n += w.counted(t, model, name, result)
			}
		}
		return n
	}
	w.eventually(t, "reports", func() bool { return sum("accepted") == 3 && sum("duplicate") == 1 && sum("malformed") == 7 })
	if sum("unknown") != 1 || sum("forged") != 1 {
		t.Errorf("%v unknown, %v forged", sum("unknown"), sum("forged"))
	}
	if n := l.count("passed over"); n == 0 || n > 5 {
		t.Errorf("%d lines about garbage:\n%s", n, l.String())
	}
	cursor := w.Last("fraud")
	w.end()
	w.start(t)
	last := w.ticket("fraud")
	kafkatest.Produce(t, addresses, topic, append(messages[:1:1], jsonReport("ticket", w.Issue(last), "converted")))
	w.eventually(t, "the report after the restart", func() bool { return sum("accepted") == 1 && sum("duplicate") == 1 })
	if sum("malformed") != 0 {
		t.Errorf("offsets were not committed: garbage came again")
	}
	if found, err := w.After("fraud", cursor, 10); err != nil || len(found) != 1 || found[0].ID != last.ID {
		t.Errorf("after the restart: %+v, %v", found, err)
	}
}

// The offsets of a consumer that is killed behind the disk and before its commit are lost.
func TestOffsetsThatWereNotCommitted(t *testing.T) {
	addresses := brokers.Brokers(t)
	topic := kafkatest.Topic(t, addresses, 1, nil)
	var l logs
	w := newWorld(t, fromKafka(addresses, topic, &l))
	const n = 2000
	messages := make([]kafkatest.Message, n)
	for i := range messages {
		messages[i] = jsonReport("ticket", w.Issue(w.ticket("fraud")), "converted")
	}
	kafkatest.Produce(t, addresses, topic, messages)
	began := time.Now()
	w.eventually(t, "all reports", func() bool { return w.counted(t, "fraud", "converted", "accepted") == n })
	t.Logf("%d reports in %s", n, time.Since(began))
	w.end()
	w.opts.Kafka.Group += "-another" // it has no offsets
	w.start(t)
	w.eventually(t, "all duplicates", func() bool { return w.counted(t, "fraud", "converted", "duplicate") == n })
	if found, err := w.After("fraud", 0, 2*n); err != nil || len(found) != n {
		t.Errorf("%d reports, %v; want %d", len(found), err, n)
	}
}

func TestKafkaAway(t *testing.T) {
	broker := kafkatest.StartBroker(t)
	topic := kafkatest.Topic(t, []string{broker.Addr}, 1, nil)
	broker.Kill()
	var l logs
	began := time.Now()
	w := newWorld(t, fromKafka([]string{broker.Addr}, topic, &l))
	ticket := w.Issue(w.ticket("fraud"))
	w.report(t, rollout.Accepted, Request{Ticket: ticket, Name: "converted", Value: 1})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("without Kafka the first report took %s", took)
	}
	w.eventually(t, "word about Kafka", func() bool { return l.count("can't be read from Kafka") > 0 })
	if err := broker.Restart(); err != nil {
		t.Fatal(err)
	}
	kafkatest.Produce(t, []string{broker.Addr}, topic, []kafkatest.Message{jsonReport("ticket", ticket, "clicked")})
	w.eventually(t, "the report from Kafka", func() bool { return w.counted(t, "fraud", "clicked", "accepted") == 1 })

	// A broker that hangs does not keep the gateway from ending.
	if err := broker.Pause(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	w.end()
	if took := time.Since(began); took > 3*closeWait {
		t.Errorf("the end took %s", took)
	}
	_ = broker.Resume()
}
