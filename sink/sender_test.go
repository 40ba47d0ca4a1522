package sink

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/understudy-serving/understudy/spool"
)

// broker is a producer that answers as told.
type broker struct {
	*envelope
	// answer says how the write of d ends, together with company records.
	answer func(d *delivery, company int) error
	// late, if set, ends what a write left open when the producer is closed.
	late   func(d *delivery)
	open   []*delivery
	took   time.Duration // by one write
	writes atomic.Int64
	most   atomic.Int64 // records in one write
	taken  []string
}

func newBroker(answer func(*delivery, int) error) *broker {
	return &broker{envelope: newEnvelope(KafkaOptions{MaxRecordBytes: defaultRecordBytes}), answer: answer}
}

func (b *broker) message(d *delivery) (bool, error) { return b.seal(d) }

// errHang makes a write wait until its context ends.
var errHang = errors.New("hang")

func (b *broker) write(ctx context.Context, batch []*delivery) {
	b.writes.Add(1)
	b.most.Store(max(b.most.Load(), int64(len(batch))))
	time.Sleep(b.took)
	together := 0
	for _, d := range batch {
		if !d.alone {
			together++
		}
	}
	for _, d := range batch {
		company := together
		if d.alone {
			company = 1
		}
		err := b.answer(d, company)
		if errors.Is(err, errHang) {
			b.open = append(b.open, d)
			continue
		}
		if err == nil {
			b.taken = append(b.taken, string(d.message.key))
		}
		d.end(err, company)
	}
	if len(b.open) > 0 {
		<-ctx.Done()
	}
}

func (b *broker) close() {
	for _, d := range b.open {
		if b.late != nil {
			b.late(d)
		}
	}
}

// on starts a sink on b, in a bubble of its own time.
func on(t *testing.T, b *broker, change ...func(*Options)) *Sink {
	t.Helper()
	o := Options{Kafka: KafkaOptions{Brokers: []string{"b:1"}, Topic: "t"}}
	if err := o.Kafka.setDefaults(); err != nil {
		t.Fatal(err)
	}
	o.setDefaults()
	for _, f := range change {
		f(&o)
	}
	o.setDefaults()
	s, err := start(o, newMetrics(), newHealth(o.Logger, o.Kafka, o.Clock), b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// want checks the ledger.
func want(t *testing.T, s *Sink, delivered, spooled int64) Counts {
	t.Helper()
	c := s.Snapshot()
	balanced(t, c)
	if c.Delivered != delivered || c.Spooled != spooled || c.InFlight != 0 {
		t.Errorf("delivered %d and spooled %d, want %d and %d; ledger %+v", c.Delivered, c.Spooled, delivered, spooled, c)
	}
	return c
}

// Where the first writes hold records of a bad partition alone, that is no outage: the
// others' records, which come behind, are sent.
func TestABadPartitionThatComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		var down atomic.Bool
		down.Store(true)
		b := newBroker(func(d *delivery, _ int) error {
			if down.Load() && string(d.message.key) < id(2) {
				return kafka.NotEnoughReplicas
			}
			return nil
		})
		s := on(t, b)
		for i := range 2 {
			record(t, s, &c, i, i+1)
			time.Sleep(time.Second)
		}
		record(t, s, &c, 2, 100)
		time.Sleep(2 * backoffMax)
		idle()
		want(t, s, 98, 2)
		down.Store(false)
		time.Sleep(2 * backoffMax)
		idle()
		want(t, s, 100, 0)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestOutageIsRetriedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		var down atomic.Bool
		down.Store(true)
		b := newBroker(func(*delivery, int) error {
			if down.Load() {
				return kafka.NotEnoughReplicas
			}
			return nil
		})
		s := on(t, b)
		const outage, records = 2 * time.Minute, 6000
		record(t, s, &c, 0, records)
		time.Sleep(outage)
		idle()
		got := s.Snapshot()
		balanced(t, got)
		if got.Spooled+got.DroppedTotal() != records || got.Dropped[DropRejected] != 0 {
			t.Errorf("after the outage %+v", got)
		}
		if n, least, most := b.writes.Load(), int64(outage/backoffMax), int64(2*outage/backoffMax)+20; n < least || n > most {
			t.Errorf("%d writes in %s, want %d to %d", n, outage, least, most)
		}
		if n := b.most.Load(); n > windowRecords {
			t.Errorf("%d records in one write", n)
		}
		down.Store(false)
		time.Sleep(backoffMax + time.Second)
		idle()
		want(t, s, got.Spooled, 0)
		if !slices.IsSorted(b.taken) {
			t.Error("not in the order of the spool")
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		c.check(t)
	})
}

// Records that keep coming and failing must not put off the retry of those before them.
func TestFreshFailuresDoNotStarveRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		tried := map[string]bool{}
		b := newBroker(func(d *delivery, _ int) error {
			key := string(d.message.key)
			if again := tried[key]; !again && key[len(key)-1] == '3' {
				tried[key] = true
				return kafka.NotLeaderForPartition
			}
			return nil
		})
		b.took = 25 * time.Millisecond // so that a failure has company that succeeds
		s := on(t, b)
		for i := range 1000 {
			record(t, s, &c, i, i+1)
			time.Sleep(10 * time.Millisecond)
		}
		idle()
		perBackoff := int64(backoffMax/(100*time.Millisecond)) + 5 // one in ten fails: one each 100 ms
		if got := s.Snapshot(); got.Spooled > perBackoff {
			t.Errorf("%d records wait, want at most the %d that failed since the last retry", got.Spooled, perBackoff)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		want(t, s, 1000, 0)
	})
}

// One record that is refused does not take its batch with it.
func TestRefusedRecordIsFoundAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		s := on(t, newBroker(func(d *delivery, company int) error {
			if company > 1 || string(d.message.key) == id(5) {
				return kafka.InvalidRecord
			}
			return nil
		}))
		began := time.Now()
		record(t, s, &c, 0, 20)
		idle()
		if got := want(t, s, 19, 0); got.Dropped[DropRejected] != 1 {
			t.Errorf("ledger %+v", got)
		}
		if took := time.Since(began); took >= backoffMin/2 {
			t.Errorf("the others waited %s", took)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// An answer that may be meant for one record or for all: it depends on the others.
func TestDoubtfulAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		poisoned := func(d *delivery) bool { return string(d.message.key) == id(5) }
		var broken atomic.Bool
		broken.Store(true)
		b := newBroker(func(d *delivery, _ int) error {
			if broken.Load() || poisoned(d) {
				return kafka.Unknown
			}
			return nil
		})
		disk := &flaky{Spool: spool.NewMemory(1 << 20)} // read once all is in it
		disk.unreadable.Store(true)
		s := on(t, b, func(o *Options) { o.Spool = disk })
		record(t, s, &c, 0, 20)
		idle()
		disk.unreadable.Store(false)
		time.Sleep(10 * time.Minute)
		idle()
		want(t, s, 0, 20) // the broker takes nothing: nobody is to blame
		broken.Store(false)
		time.Sleep(time.Minute)
		idle()
		if got := want(t, s, 19, 0); got.Dropped[DropRejected] != 1 {
			t.Errorf("ledger %+v", got)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestTooLargeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		var seen []int
		s := on(t, newBroker(func(d *delivery, _ int) error {
			if string(d.message.key) != id(0) {
				return nil
			}
			if seen = append(seen, len(d.message.value)); len(seen) < 3 {
				return kafka.MessageSizeTooLarge
			}
			return nil
		}))
		s.Accept()
		s.Record(large(t, &c, id(0), 100_000))
		idle()
		want(t, s, 1, 0)
		if len(seen) != 3 || seen[0] < 100_000 || seen[1] > 2000 || seen[2] >= seen[1] {
			t.Errorf("sizes sent: %v", seen)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		c.check(t)
	})
}

// A write that Close cut off counts by how it ended, not by having been cut off.
func TestCutOffWriteThatGotThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		b := newBroker(func(*delivery, int) error { return errHang })
		through := int64(0)
		b.late = func(d *delivery) {
			if string(d.message.key) != id(2) {
				d.end(nil, 1)
				through++
			}
		}
		disk := &flaky{Spool: spool.NewMemory(1 << 20)} // read once all is in it
		disk.unreadable.Store(true)
		s := on(t, b, func(o *Options) { o.Spool = disk })
		record(t, s, &c, 0, 5)
		idle()
		disk.unreadable.Store(false)
		time.Sleep(backoffMax)
		idle()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v", err)
		}
		got := s.Snapshot()
		balanced(t, got)
		if through != 4 || got.Delivered != 4 || got.Dropped[DropShutdown] != 1 || got.InFlight != 0 || got.Spooled != 0 {
			t.Errorf("%d got through; ledger %+v", through, got)
		}
		c.check(t)
	})
}

// A backlog is worked off with rests in between, for the requests' sake, unless it grows
// all the same; Close does not rest.
func TestCatchingUpRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const records = 20 * readRecords
		var c tally
		var down atomic.Bool
		down.Store(true)
		b := newBroker(func(*delivery, int) error {
			if down.Load() {
				return kafka.NotLeaderForPartition
			}
			return nil
		})
		b.took = 2 * time.Millisecond // by a broker that is quick again
		s := on(t, b)
		for i := range records {
			record(t, s, &c, i, i+1)
			if i%1000 == 0 {
				idle() // no faster than the encoder
			}
		}
		idle()
		want(t, s, 0, records)
		down.Store(false)
		for s.Snapshot().Delivered == 0 {
			time.Sleep(time.Millisecond)
		}
		began := time.Now()
		time.Sleep(150 * time.Millisecond) // six writes with rests, or twenty without
		if got := s.Snapshot().Delivered; got > 8*readRecords {
			t.Errorf("%d records were sent in %s, in writes of 2 ms and %d records: want rests in between", got, time.Since(began), readRecords)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		want(t, s, records, 0)
		c.check(t)
	})
}
