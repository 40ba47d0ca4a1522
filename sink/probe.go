package sink

import (
	"context"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	probeTimeout = 5 * time.Second
	probeUp      = 10 * time.Second
	probeDown    = time.Second
)

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
