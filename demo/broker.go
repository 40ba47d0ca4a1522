package demo

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
)

// topic is where the gateway writes its records.
const topic = "understudy.predictions"

// broker is an in-process Kafka broker that speaks the real protocol on 127.0.0.1.
type broker struct {
	cluster *kfake.Cluster
}

// startBroker listens on the port, or on a free one for 0.
func startBroker(port int) (*broker, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(3, topic))
	if err != nil {
		return nil, fmt.Errorf("kafka broker: %w", err)
	}
	return &broker{cluster}, nil
}

// addr is the broker's host and port.
func (b *broker) addr() string { return b.cluster.ListenAddrs()[0] }

func (b *broker) close() { b.cluster.Close() }
