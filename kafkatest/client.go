package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// requestTimeout bounds one administrative request.
const requestTimeout = 30 * time.Second

// Message is one message of a topic.
type Message struct {
	Partition  int32
	Offset     int64
	Timestamp  time.Time
	Key, Value []byte
	// Headers holds the last value of each key.
	Headers map[string]string
}

// Fake starts a Kafka in this process, one broker without replication, and closes it
// when the test ends. It proves nothing about acknowledgements. It has no topics, but
// those of the options.
func Fake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatalf("kafkatest: start the fake: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// Topic creates a topic with a name of its own and returns the name. configs are the
// topic's, such as "max.message.bytes". On a Kafka of KAFKA_BROKERS it is deleted when
// the test ends.
func Topic(t testing.TB, brokers []string, partitions int32, configs map[string]string) string {
	t.Helper()
	var suffix [6]byte
	_, _ = rand.Read(suffix[:]) // never fails
	name := "understudy-test-" + hex.EncodeToString(suffix[:])
	CreateTopic(t, brokers, name, partitions, configs)
	if os.Getenv(EnvBrokers) != "" {
		t.Cleanup(func() { deleteTopic(t, brokers, name) })
	}
	return name
}

// CreateTopic creates a topic with a given name, unreplicated.
func CreateTopic(t testing.TB, brokers []string, name string, partitions int32, configs map[string]string) {
	t.Helper()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for k, v := range configs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, &v
		topic.Configs = append(topic.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, topic)
	req.TimeoutMillis = int32(requestTimeout.Milliseconds())
	resp, err := request(brokers, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("kafkatest: create topic %s: %v", name, err)
	}
	awaitLeaders(t, brokers, name, partitions)
}

// awaitLeaders returns when every partition can be written to: creation returns before.
func awaitLeaders(t testing.TB, brokers []string, topic string, partitions int32) {
	t.Helper()
	for deadline := time.Now().Add(requestTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := endOffsets(brokers, topic, partitions); err == nil {
			return
		}
	}
	t.Fatalf("kafkatest: topic %s has no leaders after %v", topic, requestTimeout)
}

func deleteTopic(t testing.TB, brokers []string, name string) {
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = &name
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames, req.Topics = []string{name}, append(req.Topics, topic)
	if _, err := request(brokers, req); err != nil {
		t.Logf("kafkatest: topic %s stays: %v", name, err)
	}
}

// Produce writes messages to the topic, each to the partition of its key, and waits until
// all are acknowledged.
func Produce(t testing.TB, brokers []string, topic string, messages []Message) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*requestTimeout)
	defer cancel()
	var first atomic.Pointer[error]
	for _, m := range messages {
		r := &kgo.Record{Key: m.Key, Value: m.Value, Timestamp: m.Timestamp}
		for k, v := range m.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
		}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				first.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatalf("kafkatest: produce to %s: %v", topic, err)
	}
	if err := first.Load(); err != nil {
		t.Fatalf("kafkatest: produce to %s: %v", topic, *err)
	}
}

// Consume reads the topic from its beginning until it has n messages, and fails the
// test where they have not come in time. It may return a few more than n.
func Consume(t testing.TB, brokers []string, topic string, n int, timeout time.Duration) []Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	got, err := read(ctx, brokers, topic, func(got []Message) bool { return len(got) >= n })
	if err != nil {
		t.Fatalf("kafkatest: %d of %d messages on %s: %v", len(got), n, topic, err)
	}
	return got
}

// All reads everything that the topic holds at the time of the call.
func All(t testing.TB, brokers []string, topic string, timeout time.Duration) []Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	partitions, err := partitionsOf(brokers, topic)
	if err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	ends, err := endOffsets(brokers, topic, partitions)
	if err != nil {
		t.Fatalf("kafkatest: %v", err)
	}
	got, err := read(ctx, brokers, topic, func(got []Message) bool {
		left := map[int32]int64{}
		for p, end := range ends {
			if end > 0 {
				left[p] = end
			}
		}
		for _, m := range got {
			if m.Offset+1 >= ends[m.Partition] {
				delete(left, m.Partition)
			}
		}
		return len(left) == 0
	})
	if err != nil {
		t.Fatalf("kafkatest: %d messages on %s, and then: %v", len(got), topic, err)
	}
	return got
}

// read consumes from the beginning until enough says so.
func read(ctx context.Context, brokers []string, topic string, enough func([]Message) bool) (got []Message, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	for !enough(got) {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return got, err
		}
		for _, e := range fetches.Errors() {
			return got, e.Err
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, message(r)) })
	}
	return got, nil
}

func message(r *kgo.Record) Message {
	m := Message{Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value, Headers: map[string]string{}}
	for _, h := range r.Headers {
		m.Headers[h.Key] = string(h.Value)
	}
	return m
}

// partitionsOf returns how many partitions a topic has.
func partitionsOf(brokers []string, topic string) (int32, error) {
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(req.Topics, t)
	resp, err := request(brokers, req)
	if err != nil {
		return 0, err
	}
	got := resp.(*kmsg.MetadataResponse).Topics[0]
	return int32(len(got.Partitions)), kerr.ErrorForCode(got.ErrorCode)
}

// endOffsets returns the offset behind the last message of each partition.
func endOffsets(brokers []string, topic string, partitions int32) (map[int32]int64, error) {
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for i := range partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = i, -1 // the end
		t.Partitions = append(t.Partitions, p)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	req.Topics = append(req.Topics, t)
	resp, err := request(brokers, req)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("partition %d: %w", p.Partition, err)
			}
			ends[p.Partition] = p.Offset
		}
	}
	if len(ends) != int(partitions) {
		return nil, errors.New("not every partition answered")
	}
	return ends, nil
}

// request sends one request with a client of its own.
func request(brokers []string, req kmsg.Request) (kmsg.Response, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	return cl.Request(ctx, req)
}

// ready tells whether the broker at addr leads its cluster and takes clients.
func ready(addr string) bool {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0), kgo.DialTimeout(time.Second))
	if err != nil {
		return false
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	resp, err := cl.Request(ctx, kmsg.NewPtrMetadataRequest())
	if err != nil {
		return false
	}
	m := resp.(*kmsg.MetadataResponse)
	return len(m.Brokers) == 1 && m.ControllerID >= 0
}
