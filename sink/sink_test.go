package sink

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/spool"
)

func deaf(*delivery, int) error { return kafka.NotEnoughReplicas }

// Neither a full intake nor a full spool makes Record wait, and both are counted.
func TestFullQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		var l logs
		s := on(t, newBroker(deaf), func(o *Options) {
			o.IntakeRecords, o.Spool, o.Logger = 100, spool.NewMemory(10_000), l.logger()
		})
		for i := 0; i < 1000; i += 100 {
			record(t, s, &c, i, i+100)
			idle()
		}
		got := s.Snapshot()
		balanced(t, got)
		if got.Spooled == 0 || got.Dropped[DropSpoolFull] != 1000-got.Spooled-got.Dropped[DropIntakeFull] || got.Dropped[DropSpoolFull] < 500 {
			t.Errorf("ledger %+v", got)
		}
		if got.Dropped[DropIntakeFull] > 0 && l.count("faster than they can be encoded") != 1 {
			t.Errorf("%d dropped at the intake, logged %d times", got.Dropped[DropIntakeFull], l.count("faster than"))
		}
		if s.spool.Stats().Bytes > 10_000 || l.count("is full and drops new records") != 1 {
			t.Errorf("%d bytes spooled; logged %d times", s.spool.Stats().Bytes, l.count("is full and drops"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); err == nil {
			t.Error("Close says that all was flushed")
		}
		want(t, s, 0, 0)
		c.check(t)
	})
}

func TestIntakeBounds(t *testing.T) {
	var c tally
	in := newIntake(2, 10_000)
	huge, small := large(t, &c, id(0), 50_000), exchange(t, &c, id(1))
	size := small.Size() + exchangeOverhead
	if !in.offer(huge) {
		t.Error("an empty intake refuses an exchange over its whole bound")
	}
	if in.offer(small) {
		t.Error("over the bound in bytes")
	}
	in.done(<-in.queue)
	for i := range 3 {
		if got := in.offer(small); got != (i < 2) {
			t.Errorf("offer %d of 2 = %v", i+1, got)
		}
	}
	if held := in.bytes.Load(); held != 2*size {
		t.Errorf("%d bytes held, want two of %d", held, size)
	}
	<-in.queue
	in.done(<-in.queue)
	if held := in.bytes.Load(); held != size {
		t.Errorf("%d bytes held, want %d", held, size)
	}
	c.check(t)
}

// Records that race with Close, and those that come later, are delivered or dropped, once.
func TestRecordWhileClosing(t *testing.T) {
	for range 300 {
		var c tally
		s := on(t, newBroker(func(*delivery, int) error { return nil }))
		var recorders sync.WaitGroup
		for r := range 4 {
			recorders.Go(func() { record(t, s, &c, r*20, r*20+20) })
		}
		for s.Snapshot().Eligible < 20 {
			runtime.Gosched()
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		recorders.Wait()
		got := s.Snapshot()
		balanced(t, got)
		if got.Eligible != 80 || got.InFlight != 0 || got.Spooled != 0 || got.Delivered+got.Dropped[DropShutdown] != 80 {
			t.Fatalf("ledger %+v", got)
		}
		c.check(t)
	}
}

// An exchange that gets into the intake when the encoder has just left is not forgotten.
func TestRecordBehindTheEncoder(t *testing.T) {
	var c tally
	s := on(t, newBroker(func(*delivery, int) error { return nil }))
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Accept()
	if !s.intake.offer(exchange(t, &c, id(0))) {
		t.Fatal("no room")
	}
	s.swept()
	if got := want(t, s, 0, 0); got.Dropped[DropShutdown] != 1 {
		t.Errorf("ledger %+v", got)
	}
	c.check(t)
}

func TestCloseAgain(t *testing.T) {
	s := on(t, newBroker(func(*delivery, int) error { return nil }))
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// With no time left, what waits to be encoded is dropped too.
func TestCloseWithoutTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		s := on(t, newBroker(deaf))
		record(t, s, &c, 0, 500)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Close = %v", err)
		}
		if got := want(t, s, 0, 0); got.Dropped[DropShutdown] != 500 {
			t.Errorf("ledger %+v", got)
		}
		c.check(t)
	})
}

// New and Record wait for nobody, and whoever is accepted but never recorded shows.
func TestAcceptedIsInFlight(t *testing.T) {
	s := on(t, newBroker(deaf))
	s.Accept()
	s.Accept()
	if got := s.Snapshot(); got.InFlight != 2 || got.Eligible != 2 {
		t.Errorf("ledger %+v", got)
	}
	s.Record(&rollout.Exchange{ID: id(0)})
	eventually(t, "spooled", func() bool { got := s.Snapshot(); return got.InFlight == 1 && got.Spooled == 1 })
	closeIn(t, s, 10*time.Millisecond)
}

// The encoder rests for a moment when nothing waits, but large exchanges must not pile
// up meanwhile: they hold what clients have sent.
func TestIntakeTellsOfPlenty(t *testing.T) {
	in := newIntake(16, 1<<30)
	told := func() bool {
		select {
		case <-in.plenty:
			return true
		default:
			return false
		}
	}
	large := func() *rollout.Exchange {
		return &rollout.Exchange{Request: rollout.NewPayload([][]byte{make([]byte, gatherBytes/2)}, nil)}
	}
	in.offer(large())
	if told() {
		t.Error("told with half of it waiting")
	}
	in.offer(large())
	if !told() {
		t.Error("not told with all of it waiting")
	}
	in.offer(large())
	if told() {
		t.Error("told again before the encoder took any")
	}
	for len(in.queue) > 0 {
		in.done(<-in.queue)
	}
	in.offer(large())
	in.offer(large())
	if !told() {
		t.Error("not told of what came after the encoder had taken all")
	}
}
