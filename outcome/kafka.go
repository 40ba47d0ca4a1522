package outcome

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// KafkaOptions name a topic of reports. Brokers, Topic and Group are required.
type KafkaOptions struct {
	Brokers []string
	Topic   string
	// Group is the consumer group that the gateway's replicas share.
	Group string
	// TLS and SASL are nil for none.
	TLS  *tls.Config
	SASL sasl.Mechanism
}

const (
	dialTimeout = 10 * time.Second
	// fetchWait is how long the broker waits for a first report, and gatherWait how long
	// the gateway then waits for more.
	fetchWait  = time.Second
	gatherWait = 50 * time.Millisecond
	// retryAfter is the pause where Kafka or the disk fails.
	retryAfter = time.Second
	// closeWait is for the last words with Kafka.
	closeWait = 2 * time.Second
	// maxQueued bounds the messages that the library reads ahead, whatever their size, and
	// gatherBytes those of a batch: what is no report may be large.
	maxQueued   = 100
	gatherBytes = 1 << 20
	// maxMessage is far over what a report takes.
	maxMessage = 64 << 10
	// protobufType is the header `content-type` of a message that is no JSON.
	protobufType = "application/protobuf"
)

// consumer reads the topic. An offset is committed once what came before it is on disk, so
// each report comes at least once, and what comes again is a duplicate.
type consumer struct {
	desk   *Desk
	topic  *kafka.Reader
	failed seldom // what is wrong with Kafka or the disk
	junk   seldom // what is wrong with messages
}

// consume reads until ctx ends.
func (d *Desk) consume(ctx context.Context) {
	c := &consumer{desk: d}
	dialer := &kafka.Dialer{ClientID: "understudy-outcomes", Timeout: dialTimeout, TLS: d.opts.Kafka.TLS, SASLMechanism: d.opts.Kafka.SASL}
	c.topic = kafka.NewReader(kafka.ReaderConfig{
		Brokers: d.opts.Kafka.Brokers, Topic: d.opts.Kafka.Topic, GroupID: d.opts.Kafka.Group, Dialer: dialer,
		StartOffset: kafka.FirstOffset, QueueCapacity: maxQueued, MaxWait: fetchWait, ReadLagInterval: -1,
		JoinGroupBackoff: retryAfter, MaxAttempts: 1, WatchPartitionChanges: true, ErrorLogger: kafka.LoggerFunc(c.complain),
	})
	defer c.close()
	for ctx.Err() == nil {
		if err := c.once(ctx); err != nil && ctx.Err() == nil {
			c.complain("%v", err)
			pause(ctx, retryAfter)
		}
	}
}

// close leaves the group, so that another replica takes over at once. The library waits for
// brokers that hang, the gateway does not.
func (c *consumer) close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = c.topic.Close() // it has no error to tell
	}()
	select {
	case <-closed:
	case <-time.After(closeWait):
	}
}

// complain logs what fails, which is tried again for ever. The library says the same things
// every moment.
func (c *consumer) complain(format string, args ...any) {
	if unsaid, ok := c.failed.say(); ok {
		c.desk.log.Warn("outcomes can't be read from Kafka now; tried again until they can",
			"topic", c.desk.opts.Kafka.Topic, "error", strings.TrimSpace(fmt.Sprintf(format, args...)), "unsaid", unsaid)
	}
}

// once takes the messages that are there to the disk, and commits their offsets.
func (c *consumer) once(ctx context.Context) error {
	messages, err := c.gather(ctx)
	if len(messages) == 0 {
		return err
	}
	batch := make([]*entry, len(messages))
	for i, m := range messages {
		batch[i] = c.receive(m)
	}
	if !c.desk.writeAll(ctx, batch) {
		return nil // not committed: they come again
	}
	for i, e := range batch {
		if e.err != nil {
			c.discard(messages[i], e.err)
		}
	}
	// Also while the gateway shuts down. Where the group has another generation by now the
	// library would wait for ever, and the messages come again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	if err := c.topic.CommitMessages(ctx, messages...); err != nil {
		return fmt.Errorf("commit offsets: %w", err)
	}
	return nil
}

// gather waits for a message, and takes along those that come with it.
func (c *consumer) gather(ctx context.Context) (messages []kafka.Message, err error) {
	m, err := c.topic.FetchMessage(ctx)
	if err != nil {
		return nil, err
	}
	more, cancel := context.WithTimeout(ctx, gatherWait)
	defer cancel()
	for bytes := 0; ; {
		messages = append(messages, m)
		if bytes += len(m.Value); bytes >= gatherBytes || len(messages) >= maxBatch {
			return messages, nil
		}
		if m, err = c.topic.FetchMessage(more); err != nil {
			return messages, nil // what is wrong comes again
		}
	}
}

// receive reads a message as the RPC reads its request.
func (c *consumer) receive(m kafka.Message) *entry {
	var r adminv1.ReportOutcomeRequest
	if err := decode(m, &r); err != nil {
		e := &entry{done: make(chan struct{})}
		c.desk.settle(e, "", fmt.Errorf("%w: message: %w", rollout.ErrMalformed, err))
		return e
	}
	return c.desk.receive(Request{Ticket: r.GetTicket(), ID: r.GetId(), Name: r.Name, Value: r.Value})
}

func decode(m kafka.Message, r *adminv1.ReportOutcomeRequest) error {
	if len(m.Value) > maxMessage {
		return fmt.Errorf("%d bytes, want %d at most", len(m.Value), maxMessage)
	}
	for _, h := range m.Headers {
		if strings.EqualFold(h.Key, "content-type") && string(h.Value) == protobufType {
			return proto.Unmarshal(m.Value, r)
		}
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(m.Value, r)
}

// discard logs a message that is not to be had, at most once a second: there may be many.
func (c *consumer) discard(m kafka.Message, err error) {
	if unsaid, ok := c.junk.say(); ok {
		c.desk.log.Warn("a message is no report of an outcome, and is passed over", "topic", m.Topic, "partition", m.Partition,
			"offset", m.Offset, "error", err, "unsaid", unsaid)
	}
}

// writeAll takes a batch to the disk, however long that fails; false where ctx or the
// writer ended first.
func (d *Desk) writeAll(ctx context.Context, batch []*entry) bool {
	for {
		var left []*entry
		for _, e := range batch {
			if !e.settled() {
				left = append(left, e)
			}
		}
		d.write(ctx, left)
		failed := false
		for i, e := range batch {
			switch {
			case !e.settled():
				return false
			case errors.Is(e.err, rollout.ErrUnavailable):
				batch[i], failed = e.again(), true
			}
		}
		if !failed {
			return true
		}
		if !pause(ctx, retryAfter) {
			return false
		}
	}
}

// pause waits; false where ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
