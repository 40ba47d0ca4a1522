package sink

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/understudy-serving/understudy/rollout"
)

const topic = "understudy.predictions"

// cluster starts a broker in this process, with the topic in four partitions.
func cluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(4, topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// open starts a sink that logs to l.
func open(t testing.TB, l *logs, brokers []string, change ...func(*Options)) *Sink {
	t.Helper()
	o := Options{Kafka: KafkaOptions{Brokers: brokers, Topic: topic}, Logger: l.logger()}
	for _, f := range change {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return s
}

// consume reads the topic by another client than the sink's until it has n ids.
func consume(t testing.TB, brokers []string, topic string, n int, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out []*kgo.Record
	for distinct(out) < n {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records came", distinct(out), n)
		}
		out = append(out, fetches.Records()...)
	}
	return out
}

// record accepts and records exchanges from to to-1.
func record(t testing.TB, s *Sink, c *tally, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		s.Accept()
		s.Record(exchange(t, c, id(i)))
	}
}

// distinct counts the ids among records.
func distinct(records []*kgo.Record) int {
	seen := map[string]bool{}
	for _, r := range records {
		seen[string(r.Key)] = true
	}
	return len(seen)
}

func TestTenThousandRecords(t *testing.T) {
	kafka := cluster(t)
	weak := kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Observe: true,
		When: func(r kmsg.Request) bool { return r.(*kmsg.ProduceRequest).Acks != -1 }})
	var c tally
	var l logs
	s := open(t, &l, kafka.ListenAddrs(), func(o *Options) { o.IntakeRecords = 10_000 })
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for range 200 {
			balanced(t, s.Snapshot())
			time.Sleep(time.Millisecond)
		}
	}()
	record(t, s, &c, 0, 10_000)
	<-stop
	if err := closeIn(t, s, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	got := s.Snapshot()
	balanced(t, got)
	if weak.Hits() != 0 {
		t.Errorf("%d produce requests without acks=all", weak.Hits())
	}
	if got.Eligible != 10_000 || got.Delivered != 10_000 || got.InFlight != 0 || got.Spooled != 0 {
		t.Errorf("ledger %+v", got)
	}
	records := consume(t, kafka.ListenAddrs(), topic, 10_000)
	if len(records) != 10_000 || distinct(records) != 10_000 {
		t.Errorf("%d records, %d ids", len(records), distinct(records))
	}
	same(t, decode(t, records[0].Value), prediction(string(records[0].Key)))
	c.check(t)
}

func TestHeadersAndKey(t *testing.T) {
	kafka := cluster(t)
	var c tally
	var l logs
	s := open(t, &l, kafka.ListenAddrs())
	record(t, s, &c, 7, 8)
	r := consume(t, kafka.ListenAddrs(), topic, 1)[0]
	if string(r.Key) != id(7) {
		t.Errorf("key %q", r.Key)
	}
	var got []string
	for _, h := range r.Headers {
		got = append(got, h.Key+"="+string(h.Value))
	}
	want := []string{"ce_specversion=1.0", "ce_id=" + id(7), "ce_source=/understudy/fraud", "ce_type=understudy.record.v1.Prediction",
		"ce_time=2026-11-23T06:28:01.25Z", "content-type=application/protobuf"}
	if !slices.Equal(got, want) {
		t.Errorf("headers\n%q, want\n%q", got, want)
	}
}

func TestCompression(t *testing.T) {
	kafka := cluster(t)
	for i, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			if err := kafka.CreateTopic(codec, 1, nil); err != nil {
				t.Fatal(err)
			}
			var c tally
			var l logs
			s := open(t, &l, kafka.ListenAddrs(), func(o *Options) { o.Kafka.Topic, o.Kafka.Compression = codec, codec })
			record(t, s, &c, 0, 100)
			records := consume(t, kafka.ListenAddrs(), codec, 100)
			if got := int(records[0].Attrs.CompressionType()); got != i {
				t.Errorf("compression type %d, want %d", got, i)
			}
			same(t, decode(t, records[99].Value), prediction(string(records[99].Key)))
			if err := closeIn(t, s, 5*time.Second); err != nil {
				t.Error(err)
			}
			c.check(t)
		})
	}
}

func TestBrokerDownThenUp(t *testing.T) {
	first := cluster(t)
	addrs := first.ListenAddrs()
	var c tally
	var l logs
	s := open(t, &l, addrs)
	record(t, s, &c, 0, 100)
	eventually(t, "the first records", func() bool { return s.Snapshot().Delivered == 100 })
	first.Close()
	record(t, s, &c, 100, 600)
	eventually(t, "the loss of the broker to be seen", func() bool { return l.count("Kafka takes no records") == 1 })
	eventually(t, "all to be spooled", func() bool { return s.Snapshot().InFlight == 0 })
	if got := s.Snapshot(); got.Delivered != 100 || got.Spooled != 500 {
		t.Errorf("ledger while down %+v", got)
	}
	_, port, _ := net.SplitHostPort(addrs[0])
	n, _ := strconv.Atoi(port)
	second := cluster(t, kfake.Ports(n))
	eventually(t, "the rest", func() bool { return s.Snapshot().Delivered == 600 })
	if got := distinct(consume(t, second.ListenAddrs(), topic, 500)); got != 500 {
		t.Errorf("%d ids on the new broker", got)
	}
	if down, up := l.count("Kafka takes no records"), l.count("Kafka takes records again"); down != 1 || up > 1 {
		t.Errorf("the outage was logged %d times, its end %d times", down, up)
	}
	if err := closeIn(t, s, 5*time.Second); err != nil {
		t.Error(err)
	}
	c.check(t)
}

// What heals is tried again, and nothing is lost.
func TestFaultsThatHeal(t *testing.T) {
	for _, fault := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend,
		kerr.RequestTimedOut, kerr.UnknownServerError, kerr.TopicAuthorizationFailed, kerr.ThrottlingQuotaExceeded} {
		t.Run(fault.Message, func(t *testing.T) {
			kafka := cluster(t)
			h := kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: fault, Count: 6})
			var c tally
			var l logs
			s := open(t, &l, kafka.ListenAddrs())
			record(t, s, &c, 0, 50)
			eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 50 })
			if h.Hits() == 0 {
				t.Error("the fault was never met")
			}
			if got := distinct(consume(t, kafka.ListenAddrs(), topic, 50)); got != 50 {
				t.Errorf("%d ids on the topic", got)
			}
		})
	}
}

// All partitions of a broker share a request, and records that come one by one do, too.
func TestRecordsShareRequests(t *testing.T) {
	broker := cluster(t)
	produced := broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, Observe: true})
	var c tally
	var l logs
	s := open(t, &l, broker.ListenAddrs())
	began := time.Now()
	for i := range 200 {
		record(t, s, &c, i, i+1)
		time.Sleep(time.Millisecond)
	}
	eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 200 })
	if n, most := int64(produced.Hits()), int64(time.Since(began)/gatherTime)+2; n > most {
		t.Errorf("%d requests for 200 records in four partitions, want at most %d", n, most)
	}
}

// One partition that fails does not hold up the others.
func TestOneBadPartition(t *testing.T) {
	broker := cluster(t)
	h := broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{2}, Err: kerr.NotEnoughReplicas, Count: -1})
	bad := int64(0)
	for i := range 400 {
		if new(kafka.Hash).Balance(kafka.Message{Key: []byte(id(i))}, 0, 1, 2, 3) == 2 {
			bad++
		}
	}
	var c tally
	var l logs
	s := open(t, &l, broker.ListenAddrs())
	for i := 0; i < 400; i += 40 {
		record(t, s, &c, i, i+40)
		eventually(t, "encoding", func() bool { return s.Snapshot().InFlight == 0 })
	}
	eventually(t, "the good partitions' records", func() bool { return s.Snapshot().Delivered == 400-bad })
	if got := s.Snapshot(); got.Spooled != bad || bad == 0 {
		t.Errorf("%d of %d records wait: %+v", got.Spooled, bad, got)
	}
	h.Remove()
	eventually(t, "the bad partition's records", func() bool { return s.Snapshot().Delivered == 400 })
}

// The topic takes less than a batch: batches get smaller, and nothing is cut.
func TestTopicLimitBelowBatch(t *testing.T) {
	kafka := cluster(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000"}))
	var c tally
	var l logs
	s := open(t, &l, kafka.ListenAddrs())
	record(t, s, &c, 0, 1000)
	eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 1000 })
	for _, r := range consume(t, kafka.ListenAddrs(), topic, 1000) {
		if decode(t, r.Value).Cut != nil {
			t.Fatal("a record was cut")
		}
	}
	if l.count("smaller requests") == 0 {
		t.Error("no word about the topic's limit")
	}
}

// The topic takes less than one record: it is cut and sent again, and what follows
// does not wait for it.
func TestTopicLimitBelowRecord(t *testing.T) {
	kafka := cluster(t)
	if err := kafka.CreateTopic("small", 4, map[string]string{"max.message.bytes": "20000"}); err != nil {
		t.Fatal(err)
	}
	var c tally
	var l logs
	s := open(t, &l, kafka.ListenAddrs(), func(o *Options) { o.Kafka.Topic = "small" })
	eventually(t, "the broker", func() bool { up, _ := s.sender.health.up(); return up })
	began := time.Now()
	s.Accept()
	s.Record(large(t, &c, id(0), 400_000))
	record(t, s, &c, 1, 20)
	eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 20 })
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %s", took)
	}
	for _, r := range consume(t, kafka.ListenAddrs(), "small", 20) {
		p := decode(t, r.Value)
		if (p.Id == id(0)) != (p.Cut != nil) {
			t.Errorf("%s: cut %v", p.Id, p.Cut)
		}
		if p.Id == id(0) && p.Cut.Request.Bytes < 400_000 {
			t.Errorf("digest %v", p.Cut.Request)
		}
	}
	eventually(t, "a word about the topic's limit", func() bool { return l.count("the topic takes less than the largest record") == 1 })
}

// A record that not even cut to the bone is small enough is dropped, with a word.
func TestRecordRefusedForGood(t *testing.T) {
	kafka := cluster(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "900"}))
	var c tally
	var l logs
	s := open(t, &l, kafka.ListenAddrs())
	s.Accept()
	x := large(t, &c, id(0), 4000)
	x.Model = string(make([]byte, 200)) + "m"
	x.RequestID = fmt.Sprintf("%0400d", 0)
	s.Record(x)
	for i := 1; i < 4; i++ {
		s.Accept()
		small := exchange(t, &c, id(i))
		small.Free()
		s.Record(&rollout.Exchange{ID: small.ID, Model: "m"})
	}
	eventually(t, "an end", func() bool { return s.Snapshot().Spooled+s.Snapshot().InFlight == 0 })
	got := s.Snapshot()
	balanced(t, got)
	if got.Delivered != 3 || got.Dropped[DropRejected] != 1 || l.count("refuses a record for good") != 1 {
		t.Errorf("ledger %+v", got)
	}
}
