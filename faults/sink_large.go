package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"
)

const (
	// topicLimit is the broker's message.max.bytes while records are too large, and
	// largeBytes what a request has that makes one.
	topicLimit = "16384"
	largeBytes = 120 << 10
)

// tail consumes a topic as it grows.
type tail struct {
	mu    sync.Mutex
	topic *topic
	err   error
}

// tail begins to consume; it ends with the row.
func (r *rig) tail(b *broker, name string) (*tail, error) {
	cl, err := b.consumer(name)
	if err != nil {
		return nil, err
	}
	t := &tail{topic: newTopic(r.rows)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			t.poll(ctx, cl)
		}
	}()
	r.after(func() {
		cancel()
		<-ended
		cl.Close()
	})
	return t, nil
}

func (t *tail) poll(ctx context.Context, cl *kgo.Client) {
	fetches := cl.PollFetches(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range fetches.Errors() {
		t.err = e.Err
	}
	fetches.EachRecord(func(m *kgo.Record) { t.topic.add(m.Key, m.Value) })
}

// await returns the record with an id when it has come.
func (t *tail) await(ctx context.Context, id string) (rec *record, err error) {
	err = await(ctx, "record "+id+" is on the topic", 20*time.Second, func() (bool, string) {
		t.mu.Lock()
		defer t.mu.Unlock()
		rec = t.topic.records[id]
		return rec != nil, fmt.Sprintf("%d others are there, last error %v", len(t.topic.records), t.err)
	})
	return rec, err
}

// tooLarge sends requests whose records the topic does not take, among others.
func tooLarge(ctx context.Context, r *rig, f *finding) error {
	b, err := r.victim()
	if err != nil {
		return err
	}
	if err := b.limitMessages(ctx, topicLimit); err != nil {
		return err
	}
	r.after(func() { _ = b.limitMessages(context.Background(), "") })
	g, err := r.serving(ctx, "large", b, b.Addr, nil)
	if err != nil {
		return err
	}
	t, err := r.tail(b, g.play.Topic)
	if err != nil {
		return err
	}
	l, err := newLoad(r, 100, 4, g)
	if err != nil {
		return err
	}
	stop := l.start()
	n := pick(r, 40, 10)
	behind, broken, err := sendLarge(ctx, l, t, n)
	if err != nil {
		return err
	}
	stop()
	f.check(broken == 0, "%d of %d large records not cut to the request's true size and SHA-256", broken, n)
	f.check(median(behind) <= time.Second, "the next record on the topic %s behind its answer in the median, %s at most",
		seconds(median(behind)), seconds(quantile(behind, 1)))
	return settleLarge(ctx, r, g, b, l, n, f)
}

// sendLarge sends n large requests with a small one behind each. It returns how long
// after their answers the small ones were on the topic, and how many of the large ones
// did not come as they should.
func sendLarge(ctx context.Context, l *load, t *tail, n int) (behind []time.Duration, broken int, err error) {
	for i := range n {
		l.rig.progress("large record %d of %d", i+1, n)
		large, small := l.one(1, largeBytes), l.one(1, 0)
		if large.err != nil || small.err != nil {
			return nil, 0, fmt.Errorf("a call failed: %w", errorOr(large.err, fmt.Sprint(small.err)))
		}
		next, err := t.await(ctx, small.id)
		if err != nil {
			return nil, 0, err
		}
		behind = append(behind, next.arrived.Sub(small.done))
		came, err := t.await(ctx, large.id)
		if err != nil {
			return nil, 0, err
		}
		if !came.describes(large.request, l) {
			broken++
		}
	}
	return behind, broken, nil
}

// describes tells whether a record was cut and says the truth about what it left out.
func (rec *record) describes(q request, l *load) bool {
	whole, err := proto.Marshal(q.message(l.rig.rows))
	if err != nil || rec.cut == nil {
		return false
	}
	sum := sha256.Sum256(whole)
	d := rec.cut.Request
	return d.GetBytes() == uint64(len(whole)) && bytes.Equal(d.GetSha256(), sum[:])
}

func settleLarge(ctx context.Context, r *rig, g *gateway, b *broker, l *load, n int, f *finding) error {
	account, _, err := g.awaitDrained(ctx, 20*time.Second)
	if err != nil {
		return err
	}
	tries := func() (float64, error) {
		m, err := g.scrape(ctx)
		return m.sum("understudy_sink_produce_errors_total", `reason="too_large"`), err
	}
	before, err := tries()
	if err != nil {
		return err
	}
	if err := rest(ctx, 2*time.Second); err != nil {
		return err
	}
	after, err := tries()
	if err != nil {
		return err
	}
	most := float64(3*n + 50) // until the batches have become small enough
	f.check(after <= most && after == before, "%.0f refusals of the broker, %.0f of them in 2 s after the end", after, after-before)
	t, err := b.read(ctx, g.play.Topic, r.rows)
	if err != nil {
		return err
	}
	answers := l.of(0)
	_, bad, _, first := served(answers)
	f.check(bad == 0, "%d calls failed%s", bad, because(first))
	f.whole(t, t.reconcile(answers))
	f.check(account.adds() && account.dropped == 0, "%s", account)
	return nil
}
