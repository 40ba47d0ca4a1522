package sink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/spool"
)

// slow is a spool whose Append waits until it is let go, once for each call.
type slow struct {
	Spool
	release chan struct{}
	mu      sync.Mutex
	batches []int
}

func (s *slow) Append(records [][]byte, at time.Time) (int, int, error) {
	s.mu.Lock()
	s.batches = append(s.batches, len(records))
	s.mu.Unlock()
	<-s.release
	return s.Spool.Append(records, at)
}

func (s *slow) durable() bool { return true }

func taken(*delivery, int) error { return nil }

// What piles up during one append, and for a moment behind it, is the next one, within bounds.
func TestAppendsAreBatchesOfWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		disk := &slow{Spool: spool.NewMemory(64 << 20), release: make(chan struct{})}
		s := on(t, newBroker(taken), func(o *Options) { o.Spool = disk })
		record(t, s, &c, 0, 1)
		idle() // the first is appended alone
		record(t, s, &c, 1, 301)
		for i := range 2 {
			s.Accept()
			s.Record(large(t, &c, id(301+i), batchSize/2))
		}
		record(t, s, &c, 303, 400)
		idle()
		close(disk.release)
		time.Sleep(time.Second)
		want(t, s, 400, 0)
		if got, want := fmt.Sprint(disk.batches), fmt.Sprint([]int{1, batchMost, 300 - batchMost + 2, 97}); got != want {
			t.Errorf("batches of %s, want %s", got, want)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		c.check(t)
	})
}

// A disk that hangs holds up the encoder alone: Record never waits, drops are counted,
// and Close comes back.
func TestAppendThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		disk := &slow{Spool: spool.NewMemory(64 << 20), release: make(chan struct{})}
		s := on(t, newBroker(taken), func(o *Options) { o.Spool, o.IntakeRecords = disk, 100 })
		began := time.Now()
		record(t, s, &c, 0, 1)
		idle()
		record(t, s, &c, 1, 1000)
		if took := time.Since(began); took > time.Second {
			t.Errorf("Record waited %s", took)
		}
		got := s.Snapshot()
		balanced(t, got)
		if got.Dropped[DropIntakeFull] != 899 || got.Spooled != 1 || got.InFlight != 100 {
			t.Errorf("ledger %+v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, errHangs) {
			t.Errorf("Close = %v", err)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("Close took %s", took)
		}
		if got := want(t, s, 0, 0); got.Dropped[DropShutdown] != 101 {
			t.Errorf("ledger %+v", got)
		}
		close(disk.release) // the append ends after all: nothing counts twice
		idle()
		want(t, s, 0, 0)
		c.check(t)
	})
}

// picky refuses records for reasons of its own.
type picky struct {
	Spool
	refuse func(record []byte) error
}

func (p *picky) Append(records [][]byte, at time.Time) (int, int, error) {
	for i, r := range records {
		if err := p.refuse(r); err != nil {
			kept, evicted, _ := p.Spool.Append(records[:i], at)
			return kept, evicted, err
		}
	}
	return p.Spool.Append(records, at)
}

// Each refused record is counted once, by its reason; those around it are kept.
func TestRefusalsAreCountedByReason(t *testing.T) {
	full := fmt.Errorf("%w: 10 bytes", spool.ErrFull)
	tests := []struct {
		name   string
		err    error
		why    rollout.Reason
		alone  bool // only the refused record goes
		logged string
	}{
		{"too large", fmt.Errorf("%w: 9 bytes", spool.ErrTooLarge), DropTooLarge, true, "refused a record"},
		{"full", full, DropSpoolFull, true, "is full and drops"},
		{"no space", errors.Join(spool.ErrDisk, syscall.ENOSPC), DropSpoolFailed, false, "disk does not take records"},
		{"broken", errors.Join(spool.ErrDisk, syscall.EIO), DropSpoolFailed, false, "disk does not take records"},
		{"closed", spool.ErrClosed, DropShutdown, false, "refused a record"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c tally
				var l logs
				gate := &slow{Spool: &picky{spool.NewMemory(1 << 20), func(r []byte) error {
					if strings.Contains(string(r), id(3)) || strings.Contains(string(r), id(5)) {
						return tt.err
					}
					return nil
				}}, release: make(chan struct{})}
				s := on(t, newBroker(taken), func(o *Options) { o.Spool, o.Logger = gate, l.logger() })
				record(t, s, &c, 0, 1)
				idle()
				record(t, s, &c, 1, 10) // one batch
				idle()
				close(gate.release)
				idle()
				lost := int64(7)
				if tt.alone {
					lost = 2
				}
				if got := want(t, s, 10-lost, 0); got.Dropped[tt.why] != lost || got.DroppedTotal() != lost {
					t.Errorf("ledger %+v", got)
				}
				for i := range 2 { // one that fits among others that don't is no news
					record(t, s, &c, 20+i, 21+i)
					time.Sleep(calm)
					idle()
				}
				if l.count(tt.logged) != 1 || l.count("takes records again") != 1 {
					t.Errorf("logged %s", l.lines.String())
				}
				if err := s.Close(t.Context()); err != nil {
					t.Error(err)
				}
				c.check(t)
			})
		})
	}
}
