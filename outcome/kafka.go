package outcome

import (
	"context"
	"crypto/tls"

	"github.com/segmentio/kafka-go/sasl"
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

func (d *Desk) consume(ctx context.Context) { <-ctx.Done() }
