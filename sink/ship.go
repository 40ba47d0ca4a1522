package sink

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// lane is what goes to one partition in one write, in the order of the spool.
type lane struct {
	partition int32
	waiting   []*delivery
	batch     []*delivery // in the request at hand
}

// load moves what fits into limit bytes from waiting to batch: one record at least, and
// no other where it is to be alone.
func (l *lane) load(limit int) {
	n := 0
	for room := limit; n < len(l.waiting); n++ {
		d := l.waiting[n]
		if room -= d.message.size(); n > 0 && (room < 0 || d.alone || l.waiting[n-1].alone) {
			break
		}
	}
	l.batch, l.waiting = l.waiting[:n], l.waiting[n:]
}

// end says how the request ended.
func (l *lane) end(err error) {
	for _, d := range l.batch {
		d.end(err, len(l.batch))
	}
	l.batch = nil
}

// send writes records to topic, in batches of limit bytes, and returns when the end of
// each is known or ctx has ended. Then what was begun goes on, and writing is done when
// that has ended.
func (p *kafkaProducer) send(ctx context.Context, topic string, limit int, records []*delivery) {
	if len(records) == 0 || ctx.Err() != nil {
		return
	}
	leaders, err := p.place(ctx, topic, records)
	if err != nil && ctx.Err() == nil {
		l := lane{batch: records}
		l.end(err)
	}
	ended := make(chan struct{}, len(leaders))
	for _, lanes := range leaders {
		p.writing.Go(func() {
			p.ship(topic, limit, lanes)
			ended <- struct{}{}
		})
	}
	for range leaders {
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}

// place sorts records by the leader of their partition.
func (p *kafkaProducer) place(ctx context.Context, topic string, records []*delivery) (map[int32][]*lane, error) {
	partitions, err := p.partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	lanes := make([]lane, len(partitions))
	numbers := make([]int, len(partitions))
	for i := range numbers {
		numbers[i] = i
	}
	for _, d := range records {
		l := &lanes[p.balancer.Balance(kafka.Message{Key: d.message.key}, numbers...)]
		l.waiting = append(l.waiting, d)
	}
	leaders := make(map[int32][]*lane, 1)
	for i := range lanes {
		if l := &lanes[i]; len(l.waiting) > 0 {
			l.partition = partitions[i].PartitionIndex
			leader := partitions[i].LeaderID
			leaders[leader] = append(leaders[leader], l)
		}
	}
	return leaders, nil
}

// partitions returns those of topic, in order, from the transport's cache.
func (p *kafkaProducer) partitions(ctx context.Context, topic string) ([]metadata.ResponsePartition, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	answer, err := p.transport.RoundTrip(ctx, p.addr, &metadata.Request{TopicNames: []string{topic}})
	if err != nil {
		return nil, err
	}
	for _, t := range answer.(*metadata.Response).Topics {
		switch {
		case t.Name != topic:
		case t.ErrorCode != 0:
			return nil, kafka.Error(t.ErrorCode)
		case len(t.Partitions) == 0:
			return nil, protocol.ErrNoPartition
		default:
			return t.Partitions, nil
		}
	}
	return nil, kafka.UnknownTopicOrPartition
}

// ship writes lanes to the one broker that leads them, one request after the other, each
// with a batch of every lane that is not empty yet.
func (p *kafkaProducer) ship(topic string, limit int, lanes []*lane) {
	pack := p.packers.Get().(*packer)
	for len(lanes) > 0 {
		for _, l := range lanes {
			l.load(limit)
		}
		if err := p.request(topic, pack, lanes); err != nil {
			for _, l := range lanes {
				l.end(err)
				l.batch = l.waiting // would fare no better
				l.end(err)
			}
			return // pack is left alone: a connection may still read from it
		}
		lanes = slices.DeleteFunc(lanes, func(l *lane) bool { return len(l.waiting) == 0 })
	}
	p.packers.Put(pack)
}

// request writes the batches of lanes, and ends each as the broker answers. An error is
// that of the request as a whole.
func (p *kafkaProducer) request(topic string, pack *packer, lanes []*lane) error {
	sets, err := pack.sets(lanes)
	if err != nil {
		return err
	}
	partitions := make([]rawproduce.RequestPartition, len(lanes))
	for i, l := range lanes {
		partitions[i] = rawproduce.RequestPartition{Partition: l.partition,
			RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(sets[i])}}
	}
	// Not the write's context: the end of a request that has begun counts.
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	answer, err := p.transport.RoundTrip(ctx, p.addr, &rawproduce.Request{
		Acks: int16(kafka.RequireAll), Timeout: int32(ackTimeout / time.Millisecond),
		Topics: []rawproduce.RequestTopic{{Topic: topic, Partitions: partitions}},
	})
	if err != nil {
		return err
	}
	for _, l := range lanes {
		l.end(verdictOn(answer.(*produce.Response), topic, l.partition))
	}
	return nil
}

// verdictOn finds what the broker says of a partition.
func verdictOn(answer *produce.Response, topic string, partition int32) error {
	for i := range answer.Topics {
		t := &answer.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			switch {
			case t.Topic != topic || p.Partition != partition:
			case p.ErrorCode == 0:
				return nil
			case p.ErrorMessage == "":
				return kafka.Error(p.ErrorCode)
			default:
				return fmt.Errorf("%w: %s", kafka.Error(p.ErrorCode), p.ErrorMessage)
			}
		}
	}
	return errUnwritten
}
