package sink

import (
	"net"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
)

// realKafka is Apache Kafka itself, started for these tests alone.
var realKafka kafkatest.Shared

// realTopic creates a topic on a real Kafka, with properties of the topic.
func realTopic(t *testing.T, properties map[string]string) (brokers []string, name string) {
	t.Helper()
	brokers = realKafka.Brokers(t)
	return brokers, kafkatest.Topic(t, brokers, 4, properties)
}

func TestRealBrokerConservation(t *testing.T) {
	brokers, name := realTopic(t, nil)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		var c tally
		var l logs
		s := open(t, &l, brokers, func(o *Options) { o.Kafka.Topic, o.Kafka.Compression = name, codec })
		record(t, s, &c, 0, 2000)
		if err := closeIn(t, s, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := s.Snapshot(); got.Delivered != 2000 {
			t.Errorf("%s: ledger %+v", codec, got)
		}
		c.check(t)
	}
	records := consume(t, brokers, name, 2000)
	same(t, decode(t, records[0].Value), prediction(string(records[0].Key)))
}

func TestRealBrokerLimitBelowRecord(t *testing.T) {
	brokers, name := realTopic(t, map[string]string{"max.message.bytes": "20000"})
	var c tally
	var l logs
	s := open(t, &l, brokers, func(o *Options) { o.Kafka.Topic = name })
	s.Accept()
	s.Record(large(t, &c, id(0), 400_000))
	record(t, s, &c, 1, 500)
	eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 500 })
	for _, r := range consume(t, brokers, name, 500) {
		if p := decode(t, r.Value); (p.Id == id(0)) != (p.Cut != nil) {
			t.Errorf("%s: cut %v", p.Id, p.Cut)
		}
	}
	eventually(t, "a word about the topic's limit", func() bool { return l.count("the topic takes less than the largest record") == 1 })
}

func TestRealBrokerTopicMissing(t *testing.T) {
	brokers, _ := realTopic(t, nil)
	var l logs
	s := open(t, &l, brokers, func(o *Options) { o.Kafka.Topic = "understudy-no-such-topic" })
	eventually(t, "a word about the topic", func() bool { return l.count("--create --topic understudy-no-such-topic") == 1 })
	if err := closeIn(t, s, time.Second); err != nil {
		t.Error(err)
	}
}

// A cut connection loses nothing; what arrives twice has the same id.
func TestRealBrokerCutConnections(t *testing.T) {
	brokers, name := realTopic(t, nil)
	var c tally
	var l logs
	s := open(t, &l, brokers, func(o *Options) { o.Kafka.Topic = name })
	d := s.sender.producer.(*kafkaProducer).dialer
	for i := 0; i < 5000; i += 100 {
		record(t, s, &c, i, i+100)
		d.mu.Lock()
		for open := range d.open {
			open.Conn.(*net.TCPConn).SetLinger(0)
			open.Conn.Close()
		}
		d.mu.Unlock()
		eventually(t, "encoding", func() bool { return s.Snapshot().InFlight == 0 })
	}
	eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 5000 })
	if got := distinct(consume(t, brokers, name, 5000)); got != 5000 {
		t.Errorf("%d ids", got)
	}
}
