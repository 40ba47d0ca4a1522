package sink

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// realTopic creates a topic on the brokers of KAFKA_BROKERS and returns both.
func realTopic(t *testing.T, config ...kafka.ConfigEntry) (brokers []string, name string) {
	t.Helper()
	list := os.Getenv("KAFKA_BROKERS")
	if list == "" {
		t.Skip("KAFKA_BROKERS is not set: not tested against a real Kafka broker")
	}
	brokers = strings.Split(list, ",")
	name = fmt.Sprintf("understudy-sink-%d", time.Now().UnixNano())
	dialer := newDialer()
	transport := &kafka.Transport{Dial: dialer.DialContext, MetadataTopics: []string{name}}
	client := &kafka.Client{Addr: kafka.TCP(brokers...), Transport: transport}
	t.Cleanup(func() { dialer.close(); transport.CloseIdleConnections() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{
		{Topic: name, NumPartitions: 4, ReplicationFactor: -1, ConfigEntries: config}}})
	if err == nil {
		err = r.Errors[name]
	}
	if err != nil {
		t.Fatalf("create topic %s on %s: %v", name, list, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{name}})
	})
	return brokers, name
}

func TestRealBrokerConservation(t *testing.T) {
	brokers, name := realTopic(t)
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
	brokers, name := realTopic(t, kafka.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: "20000"})
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
	brokers, _ := realTopic(t)
	var l logs
	s := open(t, &l, brokers, func(o *Options) { o.Kafka.Topic = "understudy-no-such-topic" })
	eventually(t, "a word about the topic", func() bool { return l.count("--create --topic understudy-no-such-topic") == 1 })
	if err := closeIn(t, s, time.Second); err != nil {
		t.Error(err)
	}
}

// A cut connection loses nothing; what arrives twice has the same id.
func TestRealBrokerCutConnections(t *testing.T) {
	brokers, name := realTopic(t)
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
