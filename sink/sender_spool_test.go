package sink

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/understudy-serving/understudy/spool"
)

// flaky is a spool on which things happen that happen to disks.
type flaky struct {
	Spool
	unreadable atomic.Bool
	evict      int // records a record
	lasting    bool
}

func (f *flaky) Append(records [][]byte, at time.Time) (int, int, error) {
	kept, _, err := f.Spool.Append(records, at)
	return kept, f.evict * kept, err
}

func (f *flaky) Read(dst []spool.Entry, after uint64, n, size int) ([]spool.Entry, error) {
	if f.unreadable.Load() {
		return dst, errors.New("input/output error")
	}
	return f.Spool.Read(dst, after, n, size)
}

func (f *flaky) Close() (int, error) {
	lost, err := f.Spool.Close()
	if f.lasting {
		lost = 0
	}
	return lost, err
}

func (f *flaky) durable() bool { return f.lasting }

func TestSpoolThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		disk := &flaky{Spool: spool.NewMemory(1 << 20)}
		disk.unreadable.Store(true)
		s := on(t, newBroker(func(*delivery, int) error { return nil }), func(o *Options) { o.Spool = disk })
		record(t, s, &c, 0, 5)
		time.Sleep(time.Minute)
		idle()
		want(t, s, 0, 5)
		closed := make(chan error)
		go func() { closed <- s.Close(t.Context()) }()
		time.Sleep(time.Minute)
		idle()
		disk.unreadable.Store(false)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		want(t, s, 5, 0)
	})
}

func TestDamagedAndRecoveredRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		found := spool.NewMemory(1 << 20)
		x := exchange(t, &c, id(0))
		good, _ := (&encoder{limit: defaultRecordBytes}).encode(x)
		x.Free()
		found.Append([][]byte{nil, good, {0xff}, field(2, 'x')}, time.Now())
		s := on(t, newBroker(func(*delivery, int) error { return nil }), func(o *Options) { o.Spool = found })
		s.sender.poke()
		idle()
		if got := want(t, s, 1, 0); got.Recovered != 4 || got.Dropped[DropCorrupt] != 3 {
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
		disk := &flaky{Spool: spool.NewMemory(1 << 20), lasting: true}
		s := on(t, newBroker(func(d *delivery, _ int) error {
			if string(d.message.key) == id(0) {
				return kafka.NotEnoughReplicas
			}
			return nil
		}), func(o *Options) { o.Spool = disk })
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
		disk := &flaky{Spool: spool.NewMemory(1 << 20), evict: 1, lasting: true}
		disk.unreadable.Store(true)
		s := on(t, newBroker(func(*delivery, int) error { return nil }), func(o *Options) { o.Spool = disk })
		record(t, s, &c, 0, 5)
		idle()
		if got := want(t, s, 0, 0); got.Dropped[DropSpoolFull] != 5 {
			t.Errorf("ledger %+v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.Close(ctx)
	})
}
