package sink

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
)

// flaky is a spool on which things happen that happen to disks.
type flaky struct {
	Spool
	unreadable atomic.Bool
	evict      int
	durable    bool
}

func (f *flaky) Append(record []byte, at time.Time) (int, error) {
	_, err := f.Spool.Append(record, at)
	return f.evict, err
}

func (f *flaky) Read(dst []Entry, after uint64, n, size int) ([]Entry, error) {
	if f.unreadable.Load() {
		return dst, errors.New("input/output error")
	}
	return f.Spool.Read(dst, after, n, size)
}

func (f *flaky) Close() (int, error) {
	lost, err := f.Spool.Close()
	if f.durable {
		lost = 0
	}
	return lost, err
}

func TestSpoolThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		spool := &flaky{Spool: NewMemorySpool(1 << 20)}
		spool.unreadable.Store(true)
		s := on(t, newBroker(func(*delivery, int) error { return nil }), func(o *Options) { o.Spool = spool })
		record(t, s, &c, 0, 5)
		time.Sleep(time.Minute)
		synctest.Wait()
		want(t, s, 0, 5)
		closed := make(chan error)
		go func() { closed <- s.Close(t.Context()) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		spool.unreadable.Store(false)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		want(t, s, 5, 0)
	})
}

func TestDamagedAndRecoveredRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		spool := NewMemorySpool(1 << 20)
		x := exchange(t, &c, id(0))
		good, _ := (&encoder{limit: defaultRecordBytes}).encode(x)
		x.Free()
		for _, r := range [][]byte{nil, good, {0xff}, field(2, 'x')} {
			spool.Append(r, time.Now())
		}
		s := on(t, newBroker(func(*delivery, int) error { return nil }), func(o *Options) { o.Spool = spool })
		s.sender.poke()
		synctest.Wait()
		if got := want(t, s, 1, 0); got.Recovered != 4 || got.Dropped[DropEncode] != 3 {
			t.Errorf("ledger %+v", got)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A durable spool keeps what was not sent: it is not dropped.
func TestDurableSpoolKeepsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		spool := &flaky{Spool: NewMemorySpool(1 << 20), durable: true}
		s := on(t, newBroker(func(d *delivery, _ int) error {
			if string(d.message.Key) == id(0) {
				return kafka.NotEnoughReplicas
			}
			return nil
		}), func(o *Options) { o.Spool = spool })
		record(t, s, &c, 0, 5)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if got := want(t, s, 4, 1); got.DroppedTotal() != 0 {
			t.Errorf("ledger %+v", got)
		}
	})
}

func TestEvictionsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		spool := &flaky{Spool: NewMemorySpool(1 << 20), evict: 1, durable: true}
		spool.unreadable.Store(true)
		s := on(t, newBroker(func(*delivery, int) error { return nil }), func(o *Options) { o.Spool = spool })
		record(t, s, &c, 0, 5)
		synctest.Wait()
		if got := want(t, s, 0, 0); got.Dropped[DropSpoolFull] != 5 {
			t.Errorf("ledger %+v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.Close(ctx)
	})
}
