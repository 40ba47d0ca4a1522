package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/demo/models"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

// topic is what a consumer found on a topic, by the gateway's id.
type topic struct {
	rows    []models.Row
	records map[string]*record
	// messages counts all, duplicates those with an id that came before, and altered
	// the duplicates whose payload is not the first one's.
	messages, duplicates, altered int
	// strange are records that do not decode, stand under another key, or hold another
	// request than was sent; first says what was wrong with the first.
	strange int
	first   error
}

// record is one id on the topic.
type record struct {
	request request
	value   [sha256.Size]byte
	arrived time.Time
	cut     *recordv1.Cut
}

func newTopic(rows []models.Row) *topic {
	return &topic{rows: rows, records: map[string]*record{}}
}

// add takes one message in.
func (t *topic) add(key, value []byte) {
	t.messages++
	sum := sha256.Sum256(value)
	if known := t.records[string(key)]; known != nil {
		t.duplicates++
		if known.value != sum {
			t.altered++
		}
		return
	}
	rec, err := t.decode(key, value)
	if err != nil {
		if t.strange++; t.first == nil {
			t.first = err
		}
		return
	}
	rec.value, rec.arrived = sum, time.Now()
	t.records[string(key)] = rec
}

func (t *topic) decode(key, value []byte) (*record, error) {
	var p recordv1.Prediction
	if err := proto.Unmarshal(value, &p); err != nil {
		return nil, fmt.Errorf("the record under %s does not decode: %w", key, err)
	}
	if p.Id != string(key) {
		return nil, fmt.Errorf("record %s stands under key %s", p.Id, key)
	}
	q, err := parseRequest(p.RequestId)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", p.Id, err)
	}
	if p.Cut == nil && !q.sentAs(t.rows, p.Request) {
		return nil, fmt.Errorf("record %s holds another request than %s, which was sent", p.Id, q.id())
	}
	return &record{request: q, cut: p.Cut}, nil
}

// read consumes everything that a topic holds at the time of the call.
func (b *broker) read(ctx context.Context, name string, rows []models.Row) (*topic, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("topic %s was not read to its end in a minute", name))
	defer cancel()
	left, err := b.ends(ctx, name)
	if err != nil {
		return nil, err
	}
	for p, end := range left {
		if end == 0 {
			delete(left, p)
		}
	}
	t := newTopic(rows)
	cl, err := b.consumer(name)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for _, e := range fetches.Errors() {
			return nil, fmt.Errorf("read topic %s: %w", name, e.Err)
		}
		fetches.EachRecord(func(m *kgo.Record) {
			t.add(m.Key, m.Value)
			if end, ok := left[m.Partition]; ok && m.Offset+1 >= end {
				delete(left, m.Partition)
			}
		})
	}
	return t, nil
}

func (b *broker) consumer(name string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.ConsumeTopics(name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
}

// reconciled is a topic held against a client's own list.
type reconciled struct {
	answered int
	// missing are answered ids that the topic does not have.
	missing []answer
	// unanswered are ids on the topic that no client knows: its answer got lost.
	unanswered int
	// mixed are ids on the topic with another request than the client sent.
	mixed int
}

// reconcile holds the topic against good answers.
func (t *topic) reconcile(answers []answer) (out reconciled) {
	known := map[string]bool{}
	for _, a := range answers {
		if a.id == "" {
			continue
		}
		known[a.id] = true
		out.answered++
		switch rec := t.records[a.id]; {
		case rec == nil:
			out.missing = append(out.missing, a)
		case rec.request != a.request:
			out.mixed++
		}
	}
	for id := range t.records {
		if !known[id] {
			out.unanswered++
		}
	}
	return out
}

// whole checks that every id answered is on the topic, and nothing that should not be.
func (f *finding) whole(t *topic, rec reconciled) {
	f.check(len(rec.missing) == 0, "%d of %d answered ids missing on the topic", len(rec.missing), rec.answered)
	f.sound(t, rec)
}

// sound checks that what is on the topic is what was sent.
func (f *finding) sound(t *topic, rec reconciled) {
	f.check(t.altered == 0, "%d duplicates, %d of them altered", t.duplicates, t.altered)
	if wrong := t.strange + rec.mixed; wrong > 0 {
		f.check(false, "%d records are not what was sent (%v)", wrong, t.first)
	}
}
