package sink

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
)

// How records are produced. Nothing is tried again here: the sender does better, for it
// knows what heals, and can be told to stop.
const (
	leastBatch    = 16 << 10 // below, batches are not worth the try
	writeTimeout  = 10 * time.Second
	ackTimeout    = writeTimeout / 2 // what the broker may wait for its replicas
	metadataTTL   = time.Second
	closeWatchdog = time.Second
)

// kafkaProducer is the producer on segmentio/kafka-go: its transport routes requests to
// brokers, keeps the metadata and connections, and speaks TLS and SASL. The batches are
// made here; docs/adr/0008 says why.
type kafkaProducer struct {
	*envelope
	opts      KafkaOptions
	health    *health
	addr      net.Addr
	dialer    *dialer
	transport *kafka.Transport
	codec     compress.Codec // nil for none
	balancer  kafka.Hash
	// batchBytes bounds a batch before compression; 0 is one record.
	batchBytes       int
	records, letters []*delivery    // of the write at hand: for the topic, for the dead letter topic
	writing          sync.WaitGroup // requests, and what waits behind them
	packers          sync.Pool

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
	p.codec, _ = o.codec() // validated
	p.packers.New = func() any { return &packer{envelope: p.envelope, codec: p.codec} }
	p.transport = &kafka.Transport{
		Dial:           p.dialer.DialContext,
		ClientID:       o.ClientID,
		TLS:            o.TLS,
		SASL:           mechanism,
		MetadataTTL:    metadataTTL,
		MetadataTopics: []string{o.Topic},
	}
	if o.DeadLetterTopic != "" {
		p.transport.MetadataTopics = append(p.transport.MetadataTopics, o.DeadLetterTopic)
	}
	if mechanism != nil && mechanism.Name() == "PLAIN" && o.TLS == nil {
		h.log.Warn("the Kafka password travels in clear: configure tls, or a scram mechanism")
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stopProbe = cancel
	go p.probe(ctx)
	return p, nil
}

func (p *kafkaProducer) message(d *delivery) (bool, error) { return p.seal(d) }

func (p *kafkaProducer) write(ctx context.Context, batch []*delivery) {
	p.records, p.letters = p.records[:0], p.letters[:0]
	for _, d := range batch {
		if d.why != nil {
			p.letters = append(p.letters, d)
		} else {
			p.records = append(p.records, d)
		}
	}
	p.send(ctx, p.opts.Topic, p.batchBytes, p.records)
	p.send(ctx, p.opts.DeadLetterTopic, 0, p.letters)
	if ctx.Err() == nil && tooLargeTogether(p.records) {
		p.shrinkBatches()
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

// shrinkBatches makes batches smaller than the one that the topic's max.message.bytes
// did not let pass.
func (p *kafkaProducer) shrinkBatches() {
	if p.batchBytes /= 2; p.batchBytes < leastBatch {
		p.batchBytes = 0 // each record alone
	}
	p.health.log.Warn("the topic takes smaller requests than usual, sending smaller ones: raise its max.message.bytes for better throughput",
		"topic", p.opts.Topic, "batch_bytes", p.batchBytes)
}

// close cuts the connections off: what is being written ends. The library is not trusted
// to return.
func (p *kafkaProducer) close() {
	p.stopProbe()
	p.dialer.close()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		p.writing.Wait()
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

var _ producer = (*kafkaProducer)(nil)
