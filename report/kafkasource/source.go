// Package kafkasource reads the records of a report from a Kafka topic.
//
// It reads each partition on a connection of its own, one batch at a time, so that what is
// in memory does not grow with the topic. It joins no consumer group: a report's offsets
// are in its state, where they change together with what they stand for. They are
// committed to a group afterwards, for those who watch its lag.
package kafkasource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/understudy-serving/understudy/report"
	"github.com/understudy-serving/understudy/sink"
)

const (
	requestTimeout = 15 * time.Second
	fetchBytes     = 8 << 20
	fetchWait      = 500 * time.Millisecond
	// readTimeout is for one batch to come.
	readTimeout = 30 * time.Second
	// patience is how long a partition may give nothing, with the brokers failing, before a
	// report ends. It can go on later.
	patience    = 2 * time.Minute
	retryAfter  = 500 * time.Millisecond
	commitTries = 5
	// late is how much later than its request a message may be stamped by another clock.
	late = 5 * time.Minute
)

// Topic is a report.Source.
type Topic struct {
	// Since, if set, leaves out messages that are stamped well before it.
	Since time.Time
	// Retrying, if set, is told of what is tried again.
	Retrying func(partition int, err error)

	options sink.KafkaOptions
	login   sasl.Mechanism
	client  *kafka.Client
}

// New takes brokers, topic, TLS and SASL of the options. Nothing is contacted yet.
func New(o sink.KafkaOptions) (*Topic, error) {
	login, err := o.SASL.Login()
	if err != nil {
		return nil, err
	}
	transport := &kafka.Transport{ClientID: "understudy-report", TLS: o.TLS, SASL: login, DialTimeout: requestTimeout}
	return &Topic{options: o, login: login, client: &kafka.Client{Addr: kafka.TCP(o.Brokers...), Transport: transport, Timeout: requestTimeout}}, nil
}

// Close closes idle connections.
func (t *Topic) Close() { t.client.Transport.(*kafka.Transport).CloseIdleConnections() }

// Parts implements report.Source.
func (t *Topic) Parts(ctx context.Context) (parts []report.Part, err error) {
	ids, err := t.partitions(ctx)
	if err != nil {
		return nil, err
	}
	var asked []kafka.OffsetRequest
	for _, id := range ids {
		asked = append(asked, kafka.FirstOffsetOf(id), kafka.LastOffsetOf(id))
	}
	bounds, err := t.offsets(ctx, asked)
	if err != nil {
		return nil, err
	}
	for _, b := range bounds {
		parts = append(parts, report.Part{ID: b.Partition, Next: b.FirstOffset, End: b.LastOffset})
	}
	slices.SortFunc(parts, func(a, b report.Part) int { return a.ID - b.ID })
	if !t.Since.IsZero() {
		err = t.skip(ctx, parts)
	}
	return parts, err
}

func (t *Topic) partitions(ctx context.Context) (ids []int, err error) {
	m, err := t.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{t.options.Topic}})
	if err != nil {
		return nil, fmt.Errorf("ask Kafka at %v for topic %s: %w", t.options.Brokers, t.options.Topic, err)
	}
	for _, topic := range m.Topics {
		if topic.Name != t.options.Topic {
			continue
		}
		if topic.Error != nil {
			return nil, fmt.Errorf("topic %s: %w", t.options.Topic, topic.Error)
		}
		for _, p := range topic.Partitions {
			ids = append(ids, p.ID)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("topic %s: %w", t.options.Topic, kafka.UnknownTopicOrPartition)
	}
	return ids, nil
}

func (t *Topic) offsets(ctx context.Context, asked []kafka.OffsetRequest) ([]kafka.PartitionOffsets, error) {
	got, err := t.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{t.options.Topic: asked}})
	if err != nil {
		return nil, fmt.Errorf("offsets of topic %s: %w", t.options.Topic, err)
	}
	for _, p := range got.Topics[t.options.Topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("offsets of topic %s, partition %d: %w", t.options.Topic, p.Partition, p.Error)
		}
	}
	return got.Topics[t.options.Topic], nil
}

// skip lets the parts begin at the messages of Since.
func (t *Topic) skip(ctx context.Context, parts []report.Part) error {
	var asked []kafka.OffsetRequest
	for _, p := range parts {
		asked = append(asked, kafka.TimeOffsetOf(p.ID, t.Since.Add(-late)))
	}
	found, err := t.offsets(ctx, asked)
	if err != nil {
		return err
	}
	for i := range parts {
		p := &parts[i]
		next := p.End // where no message is that late, Kafka has no offset
		for _, f := range found {
			if f.Partition != p.ID {
				continue
			}
			for offset := range f.Offsets {
				if offset >= 0 {
					next = offset
				}
			}
		}
		p.Next = max(p.Next, min(next, p.End))
	}
	return nil
}

// Commit commits offsets to a consumer group that has no members. A group that is new has
// no coordinator at first, so what is temporary is tried again for a moment.
func (t *Topic) Commit(ctx context.Context, group string, next map[int]int64) (err error) {
	for range commitTries {
		var temporary interface{ Temporary() bool }
		if err = t.commit(ctx, group, next); !errors.As(err, &temporary) || !temporary.Temporary() {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryAfter):
		}
	}
	if err != nil {
		return fmt.Errorf("commit to group %s: %w", group, err)
	}
	return nil
}

func (t *Topic) commit(ctx context.Context, group string, next map[int]int64) error {
	var commits []kafka.OffsetCommit
	for id, offset := range next {
		commits = append(commits, kafka.OffsetCommit{Partition: id, Offset: offset})
	}
	got, err := t.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{t.options.Topic: commits}})
	if err != nil {
		return err
	}
	for _, p := range got.Topics[t.options.Topic] {
		if p.Error != nil {
			return p.Error
		}
	}
	return nil
}

// Read implements report.Source. What fails is tried again for a while, from the message
// behind the last one.
func (t *Topic) Read(ctx context.Context, p report.Part, follow bool, do func(m *report.Message) error) error {
	r := reader{topic: t, part: p, follow: follow, do: do}
	failing := time.Time{}
	for ctx.Err() == nil && !r.done() {
		before := r.part.Next
		err := r.connected(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			continue
		case errors.Is(err, errStopped):
			return errors.Unwrap(err)
		case r.part.Next > before || failing.IsZero():
			failing = time.Now()
		case time.Since(failing) > patience:
			return fmt.Errorf("nothing came for %s: %w", patience, err)
		}
		if t.Retrying != nil {
			t.Retrying(p.ID, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
	return ctx.Err()
}

func (t *Topic) dialer() *kafka.Dialer {
	return &kafka.Dialer{ClientID: "understudy-report", Timeout: requestTimeout, TLS: t.options.TLS, SASLMechanism: t.login}
}

// dial connects to the leader of a partition.
func (t *Topic) dial(ctx context.Context, id int) (conn *kafka.Conn, err error) {
	for _, broker := range t.options.Brokers {
		var one error
		if conn, one = t.dialer().DialLeader(ctx, "tcp", broker, t.options.Topic, id); one == nil {
			return conn, nil
		}
		err = errors.Join(err, one)
	}
	return nil, err
}
