package sink

import (
	"context"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

// How records are produced. kafka-go's own retries are off: the sender does better,
// for it knows what heals, and can be told to stop.
const (
	batchRecords  = 250 // kafka-go reserves room for that many in each batch of each partition
	batchTimeout  = 10 * time.Millisecond
	leastBatch    = 16 << 10 // below, batches are not worth the try
	writeTimeout  = 10 * time.Second
	metadataTTL   = time.Second
	closeWatchdog = time.Second
	probeTimeout  = 5 * time.Second
	probeUp       = 10 * time.Second
	probeDown     = time.Second
)

// kafkaProducer is the producer on segmentio/kafka-go.
//
// Its writers are synchronous, and a delivery's end comes from their Completion
// alone wherever there is one: WriteMessages may give up on a write (context) that
// reaches the broker all the same.
type kafkaProducer struct {
	*envelope
	opts      KafkaOptions
	health    *health
	addr      net.Addr
	dialer    *dialer
	transport *kafka.Transport
	// grouped makes large requests, single one for each record: those that ask for it
	// and those that are larger than a batch.
	grouped, single *kafka.Writer
	dead            *kafka.Writer // to the dead letter topic, if there is one
	batchBytes      int64
	messages        []kafka.Message
	together, apart []*delivery
	letters         []*delivery

	stopProbe context.CancelFunc
	probed    chan struct{}
}

func newKafkaProducer(o KafkaOptions, h *health) (*kafkaProducer, error) {
	mechanism, err := o.SASL.Login()
	if err != nil {
		return nil, err
	}
	p := &kafkaProducer{envelope: newEnvelope(o), opts: o, health: h, addr: kafka.TCP(o.Brokers...),
		dialer: newDialer(), batchBytes: maxBatchBytes, probed: make(chan struct{})}
	p.transport = &kafka.Transport{
		Dial:           p.dialer.DialContext,
		ClientID:       o.ClientID,
		TLS:            o.TLS,
		SASL:           mechanism,
		MetadataTTL:    metadataTTL,
		MetadataTopics: []string{o.Topic},
	}
	p.grouped = p.writer(batchRecords, p.batchBytes)
	p.single = p.writer(1, math.MaxInt32)
	if o.DeadLetterTopic != "" {
		p.transport.MetadataTopics = append(p.transport.MetadataTopics, o.DeadLetterTopic)
		p.dead = p.writer(1, math.MaxInt32)
		p.dead.Topic = o.DeadLetterTopic
	}
	if mechanism != nil && mechanism.Name() == "PLAIN" && o.TLS == nil {
		h.log.Warn("the Kafka password travels in clear: configure tls, or a scram mechanism")
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stopProbe = cancel
	go p.probe(ctx)
	return p, nil
}

func (p *kafkaProducer) writer(records int, bytes int64) *kafka.Writer {
	codec, _ := p.opts.codec() // validated
	return &kafka.Writer{
		Addr:         p.addr,
		Topic:        p.opts.Topic,
		Balancer:     &byKey{},
		MaxAttempts:  1,
		BatchSize:    records,
		BatchBytes:   bytes,
		BatchTimeout: batchTimeout,
		ReadTimeout:  writeTimeout,
		WriteTimeout: writeTimeout,
		RequiredAcks: kafka.RequireAll,
		Compression:  codec,
		Transport:    p.transport,
		Completion: func(messages []kafka.Message, err error) {
			for i := range messages {
				messages[i].WriterData.(*delivery).end(err, len(messages))
			}
		},
	}
}

// byKey is kafka.Hash, but does not divide by zero where a topic has no partition yet.
type byKey struct{ kafka.Hash }

func (b *byKey) Balance(m kafka.Message, partitions ...int) int {
	if len(partitions) == 0 {
		return 0
	}
	return b.Hash.Balance(m, partitions...)
}

func (p *kafkaProducer) message(d *delivery) (bool, error) { return p.seal(d) }

func (p *kafkaProducer) write(ctx context.Context, batch []*delivery) {
	p.together, p.apart, p.letters = p.together[:0], p.apart[:0], p.letters[:0]
	for _, d := range batch {
		switch {
		case d.why != nil:
			p.letters = append(p.letters, d)
		case d.alone || weight(&d.message) > p.batchBytes:
			p.apart = append(p.apart, d)
		default:
			p.together = append(p.together, d)
		}
	}
	p.writeWith(ctx, p.grouped, p.together)
	p.writeWith(ctx, p.single, p.apart)
	p.writeWith(ctx, p.dead, p.letters)
	if ctx.Err() == nil && tooLargeTogether(p.together) {
		p.shrinkBatches()
	}
	clear(p.together)
	clear(p.apart)
	clear(p.letters)
}

// weight is at least what kafka-go takes the message's size for.
func weight(m *kafka.Message) int64 {
	n := 64 + len(m.Key) + len(m.Value)
	for i := range m.Headers {
		n += 20 + len(m.Headers[i].Key) + len(m.Headers[i].Value)
	}
	return int64(n)
}

func (p *kafkaProducer) writeWith(ctx context.Context, w *kafka.Writer, batch []*delivery) {
	if len(batch) == 0 || ctx.Err() != nil {
		return
	}
	p.messages = p.messages[:0]
	for _, d := range batch {
		p.messages = append(p.messages, d.message)
	}
	err := w.WriteMessages(ctx, p.messages...)
	clear(p.messages)
	if ctx.Err() != nil {
		return // what was begun goes on: completions will tell
	}
	if err == nil {
		err = errUnwritten
	}
	for _, d := range batch {
		if !d.done.Load() { // nothing was begun
			d.end(err, len(batch))
		}
	}
}

func tooLargeTogether(batch []*delivery) bool {
	for _, d := range batch {
		if d.err != nil && d.company > 1 {
			if v, _ := classify(d.err); v == tooLarge {
				return true
			}
		}
	}
	return false
}

// shrinkBatches makes requests smaller than the one that the topic's
// max.message.bytes did not let pass.
func (p *kafkaProducer) shrinkBatches() {
	if p.batchBytes /= 2; p.batchBytes < leastBatch {
		p.batchBytes = 0 // each record alone
	}
	p.health.log.Warn("the topic takes smaller requests than usual, sending smaller ones: raise its max.message.bytes for better throughput",
		"topic", p.opts.Topic, "batch_bytes", p.batchBytes)
	if p.batchBytes > 0 {
		old := p.grouped
		p.grouped = p.writer(batchRecords, p.batchBytes)
		old.Close() // nothing is being written, so this does not wait
	}
}

// close cuts the connections off: what is being written ends, and the writers with
// it. kafka-go's Close has hung before, so it is not trusted to return.
func (p *kafkaProducer) close() {
	p.stopProbe()
	p.dialer.close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.grouped.Close()
		p.single.Close()
		if p.dead != nil {
			p.dead.Close()
		}
		<-p.probed
	}()
	watchdog := time.NewTimer(closeWatchdog)
	defer watchdog.Stop()
	select {
	case <-closed:
	case <-watchdog.C:
		p.health.log.Error("the Kafka client did not close in time and was left behind: ending the process ends it")
	}
	p.transport.CloseIdleConnections()
}

// probe watches brokers and topic, whether or not there is anything to send.
func (p *kafkaProducer) probe(ctx context.Context) {
	defer close(p.probed)
	limited := false
	for {
		err := p.check(ctx)
		if ctx.Err() != nil {
			return
		}
		p.health.probed(err)
		again := probeDown
		if err == nil {
			again = probeUp
			if !limited {
				limited = true
				p.compareLimit(ctx)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(again):
		}
	}
}

func (p *kafkaProducer) client() *kafka.Client {
	return &kafka.Client{Addr: p.addr, Transport: p.transport, Timeout: probeTimeout}
}

// check asks a broker for its version, which no cache answers, and then for the topic.
func (p *kafkaProducer) check(ctx context.Context) error {
	if _, err := p.client().ApiVersions(ctx, &kafka.ApiVersionsRequest{}); err != nil {
		return err
	}
	m, err := p.client().Metadata(ctx, &kafka.MetadataRequest{Topics: []string{p.opts.Topic}})
	if err != nil {
		return err
	}
	for _, t := range m.Topics {
		if t.Name == p.opts.Topic {
			return t.Error
		}
	}
	return kafka.UnknownTopicOrPartition
}

// compareLimit warns of a topic that takes less than the largest record. Brokers may
// keep the limit to themselves; it shows in time.
func (p *kafkaProducer) compareLimit(ctx context.Context) {
	const name = "max.message.bytes"
	r, err := p.client().DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: p.opts.Topic, ConfigNames: []string{name}}}})
	if err != nil {
		return
	}
	for _, resource := range r.Resources {
		for _, c := range resource.ConfigEntries {
			limit, err := strconv.Atoi(c.ConfigValue)
			if err == nil && c.ConfigName == name && limit < p.opts.MaxRecordBytes+1024 {
				p.health.log.Warn("the topic takes less than the largest record, larger ones are cut only after the broker refused them: "+
					"raise the topic's max.message.bytes or lower maxRecordBytes",
					"topic", p.opts.Topic, name, limit, "maxRecordBytes", p.opts.MaxRecordBytes)
			}
		}
	}
}

var _ producer = (*kafkaProducer)(nil)
