package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/understudy-serving/understudy/kafkatest"
)

// partitions of every topic.
const partitions = 4

// broker is a real Kafka of one node with two listeners: a direct one, and one that
// tells its clients to come by the line.
type broker struct {
	*kafkatest.Broker
	line *proxy
}

// healthy returns the broker that nothing happens to.
func (r *rig) healthy() (*broker, error) { return r.broker(&r.healthyBroker, "healthy") }

// victim returns the broker that faults happen to, in good shape.
func (r *rig) victim() (*broker, error) {
	b, err := r.broker(&r.victimBroker, "victim")
	if err != nil {
		return nil, err
	}
	b.line.set(quality{})
	_ = b.Resume()        // it runs unless a row left it stopped
	return b, b.Restart() // nor has one killed it for good
}

func (r *rig) broker(b **broker, what string) (*broker, error) {
	if *b != nil {
		return *b, nil
	}
	r.progress("starting a Kafka broker, the %s one", what)
	started, err := launch()
	if err != nil {
		return nil, err
	}
	*b = started
	r.ofRig = append(r.ofRig, func() {
		started.Stop()
		started.line.close()
	})
	return started, nil
}

func launch() (*broker, error) {
	line, err := newProxy()
	if err != nil {
		return nil, err
	}
	var failed error
	b, err := kafkatest.Launch(func(b *kafkatest.Broker) { failed = behind(b, line) })
	if err == nil && failed != nil {
		b.Stop()
		err = failed
	}
	if err != nil {
		line.close()
		return nil, err
	}
	return &broker{b, line}, nil
}

// behind gives a broker its second listener. The first keeps the address that
// kafkatest chose.
func behind(b *kafkatest.Broker, line *proxy) error {
	var free []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() // both are open at once, so that they differ
		free = append(free, l.Addr().String())
	}
	controller, second := free[0], free[1]
	line.connect(second)
	for key, value := range map[string]string{
		"controller.quorum.voters":       "1@" + controller,
		"listeners":                      fmt.Sprintf("PLAINTEXT://%s,LINE://%s,CONTROLLER://%s", b.Addr, second, controller),
		"advertised.listeners":           fmt.Sprintf("PLAINTEXT://%s,LINE://%s", b.Addr, line.addr()),
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,LINE:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     "PLAINTEXT",
	} {
		kafkatest.Property(key, value)(b)
	}
	return nil
}

// createTopic makes a topic and returns when it can be written to.
func (b *broker) createTopic(ctx context.Context, name string) error {
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.TimeoutMillis = append(req.Topics, topic), 10_000
	resp, err := b.request(ctx, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return await(ctx, "topic "+name+" has leaders", 20*time.Second, func() (bool, string) {
		_, err := b.ends(ctx, name)
		return err == nil, fmt.Sprint(err)
	})
}

// limitMessages sets or, with an empty value, unsets the broker's message.max.bytes,
// which all its topics follow.
func (b *broker) limitMessages(ctx context.Context, value string) error {
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Op = "message.max.bytes", kmsg.IncrementalAlterConfigOpSet
	c.Value = &value
	if value == "" {
		c.Op, c.Value = kmsg.IncrementalAlterConfigOpDelete, nil
	}
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeBroker, "" // all brokers of the cluster
	res.Configs = append(res.Configs, c)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, res)
	resp, err := b.request(ctx, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("set message.max.bytes: %w", err)
	}
	return nil
}

// ends returns the offset behind the last message of each of a topic's partitions.
func (b *broker) ends(ctx context.Context, topic string) (map[int32]int64, error) {
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for i := range int32(partitions) {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = i, -1 // the end
		t.Partitions = append(t.Partitions, p)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.Topics = -1, append(req.Topics, t)
	resp, err := b.request(ctx, req)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("end of %s, partition %d: %w", topic, p.Partition, err)
			}
			ends[p.Partition] = p.Offset
		}
	}
	if len(ends) != partitions {
		return nil, fmt.Errorf("ends of %s: %d partitions answered, want %d", topic, len(ends), partitions)
	}
	return ends, nil
}

// request sends one request on a connection of its own, past the line.
func (b *broker) request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return cl.Request(ctx, req)
}
