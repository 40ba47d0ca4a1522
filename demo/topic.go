package demo

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

// reader consumes the topic from its beginning, as any consumer of the records would.
type reader struct {
	client *kgo.Client

	mu      sync.Mutex
	records map[string]recordFigures // by id
	bad     error
	// forgot counts records that are no longer kept.
	forgot int
}

// recordFigures is what the demo keeps of a record.
type recordFigures struct {
	model string
	// clinic is what the client's request said.
	clinic string
	// pair says that both arms' predictions are in it.
	pair      bool
	disagrees bool
}

func newReader(brokerAddr string) (*reader, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokerAddr), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("kafka consumer: %w", err)
	}
	return &reader{client: client, records: map[string]recordFigures{}}, nil
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		r.client.PollFetches(ctx).EachRecord(func(k *kgo.Record) { r.add(k.Key, k.Value) })
	}
	r.client.Close()
}

// add counts a record once, however often it is delivered.
func (r *reader) add(key, value []byte) {
	var p recordv1.Prediction
	err := proto.Unmarshal(value, &p)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.bad = fmt.Errorf("record %q on the topic: %w", key, err)
	case p.GetId() != string(key):
		r.bad = fmt.Errorf("record %q on the topic carries id %q", key, p.GetId())
	default:
		r.records[p.GetId()] = recordFigures{
			model:     p.GetModel(),
			clinic:    p.GetRequest().GetParameters()[clinicKey].GetStringParam(),
			pair:      p.GetChampion().GetResponse() != nil && p.GetChallenger().GetResponse() != nil,
			disagrees: p.GetComparison() != nil && !p.GetComparison().GetAgree(),
		}
	}
}

// count returns the number of unique ids.
func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.forgot + len(r.records)
}

// forget keeps the count and gives the memory back, for a demo that runs for days. What
// is delivered twice across the call counts twice.
func (r *reader) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgot += len(r.records)
	clear(r.records)
}

// all returns the records read so far by id, and an error if one was not as it should be.
func (r *reader) all() (map[string]recordFigures, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.records), r.bad
}
