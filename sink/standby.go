package sink

import (
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/understudy-serving/understudy/spool"
)

const (
	reopenMin = time.Second // between tries to open the disk ...
	reopenMax = 30 * time.Second
	// diskPositions begin here; a standby's memory stays below.
	diskPositions = 1 << 32
	moveRecords   = 4096 // taken over by the disk at a time
	moveBytes     = 8 << 20
)

// opened is the outcome of opening the spool on disk.
type opened struct {
	spool Spool
	err   error
}

type standbyOptions struct {
	first       <-chan opened // the try that is under way
	open        func() (Spool, error)
	memoryBytes int64
	// found hears of records of an earlier process, evicted of those that made room.
	found, evicted func(records int)
	log            *slog.Logger
}

// standby is the spool while the one on disk can't be opened. Records wait in memory,
// within a bound; once the disk is there it takes over those that are not being sent.
type standby struct {
	o      standbyOptions
	memory *spool.Memory
	stop   chan struct{}
	done   chan struct{}

	mu      sync.Mutex // never held while the disk works
	disk    Spool      // nil until it is open
	handed  uint64     // last position in memory that Read handed out
	trimmed uint64
	moving  bool // Read is to leave the memory alone
	// moved are the positions in memory that the disk has taken over.
	moved span
}

// span is the positions behind from up to to.
type span struct{ from, to uint64 }

func newStandby(o standbyOptions) *standby {
	s := &standby{o: o, memory: spool.NewMemory(o.memoryBytes), stop: make(chan struct{}), done: make(chan struct{})}
	go s.await()
	return s
}

// await tries to open the disk until it can or the spool is closed.
func (s *standby) await() {
	defer close(s.done)
	for pause := reopenMin; ; pause = min(2*pause, reopenMax) {
		var got opened
		select {
		case got = <-s.o.first:
		case <-s.stop:
			go s.late() // it may hang for as long as the disk does
			return
		}
		if got.err == nil {
			s.o.found(got.spool.Stats().Records)
			s.move(got.spool)
			s.o.log.Info("the spool is open, records are on disk again")
			return
		}
		s.o.log.Warn("the spool still can't be opened, trying again: check the disk's space and health", "error", got.err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.stop:
			timer.Stop()
			return
		}
		next := make(chan opened, 1)
		s.o.first = next
		go func() {
			d, err := s.o.open()
			next <- opened{d, err}
		}()
	}
}

// late closes a disk that opened when nobody wanted it any more.
func (s *standby) late() {
	if got := <-s.o.first; got.err == nil {
		_, _ = got.spool.Close() // nothing was put in
	}
}

// move hands what nobody has read yet over to the disk, which then takes what comes.
// What the disk does not take stays in memory.
func (s *standby) move(disk Spool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moving = true
	for {
		rest, _ := s.memory.Read(nil, max(s.handed, s.moved.to), moveRecords, moveBytes)
		if len(rest) == 0 {
			break
		}
		records := make([][]byte, len(rest))
		for i, e := range rest {
			records[i] = e.Record
		}
		s.mu.Unlock()
		kept, evicted, err := disk.Append(records, rest[0].At)
		s.o.evicted(evicted)
		s.mu.Lock()
		if kept > 0 {
			s.moved = span{s.handed, rest[kept-1].Position}
		}
		if err != nil {
			s.o.log.Warn("the disk does not take all records that wait in memory: check its space", "error", err)
			break
		}
	}
	s.moving, s.disk = false, disk
	s.trimMoved()
}

// trimMoved gives the memory of moved records back: under mu.
func (s *standby) trimMoved() {
	if s.moved.to > 0 && s.trimmed >= s.moved.from {
		_ = s.memory.Trim(s.moved.to) // fails only behind Close
		s.moved = span{s.moved.to, s.moved.to}
	}
}

// onDisk returns the spool on disk, nil before it is open.
func (s *standby) onDisk() Spool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk
}

// Append implements Spool.
func (s *standby) Append(records [][]byte, at time.Time) (kept, evicted int, err error) {
	s.mu.Lock()
	if disk := s.disk; disk != nil {
		s.mu.Unlock()
		return disk.Append(records, at)
	}
	defer s.mu.Unlock()
	return s.memory.Append(records, at)
}

// Read implements Spool: what is in memory comes before what is on disk.
func (s *standby) Read(dst []spool.Entry, after uint64, maxRecords, maxBytes int) ([]spool.Entry, error) {
	s.mu.Lock()
	if after < diskPositions && !s.moving {
		if after >= s.moved.from {
			after = max(after, s.moved.to)
		}
		n := len(dst)
		dst, err := s.memory.Read(dst, after, maxRecords, maxBytes)
		if err != nil || len(dst) > n {
			if len(dst) > n {
				s.handed = dst[len(dst)-1].Position
			}
			s.mu.Unlock()
			return dst, err
		}
	}
	disk := s.disk
	s.mu.Unlock()
	if disk == nil {
		return dst, nil
	}
	return disk.Read(dst, after, maxRecords, maxBytes)
}

// Trim implements Spool.
func (s *standby) Trim(upTo uint64) error {
	s.mu.Lock()
	err := s.memory.Trim(upTo)
	s.trimmed = max(s.trimmed, upTo)
	s.trimMoved()
	disk := s.disk
	s.mu.Unlock()
	if disk == nil || upTo < diskPositions {
		return err
	}
	return disk.Trim(upTo)
}

// Stats implements Spool.
func (s *standby) Stats() spool.Stats {
	s.mu.Lock()
	st, disk := s.memory.Stats(), s.disk
	st.Records -= int(s.moved.to - s.moved.from)
	s.mu.Unlock()
	if disk == nil {
		return st
	}
	d := disk.Stats()
	d.Records += st.Records
	d.Bytes += st.Bytes
	if !st.Oldest.IsZero() && st.Oldest.Before(d.Oldest) || d.Oldest.IsZero() {
		d.Oldest = st.Oldest
	}
	return d
}

// durable tells whether records outlive the process.
func (s *standby) durable() bool { return s.onDisk() != nil }

// Close implements Spool. What is still in memory goes to the disk, if that is open,
// and is lost if it is not.
func (s *standby) Close() (lost int, err error) {
	close(s.stop)
	<-s.done
	disk := s.onDisk()
	if disk == nil {
		return s.memory.Close()
	}
	held, _ := s.memory.Read(nil, 0, math.MaxInt, math.MaxInt) // fails only when closed
	var records [][]byte
	for _, e := range held {
		if e.Position <= s.moved.from || e.Position > s.moved.to {
			records = append(records, e.Record)
		}
	}
	if len(records) > 0 {
		kept, evicted, err := disk.Append(records, held[0].At)
		s.o.evicted(evicted)
		if lost = len(records) - kept; lost > 0 {
			s.o.log.Warn("the disk does not take all records that wait in memory: check its space", "lost", lost, "error", err)
		}
	}
	_, _ = s.memory.Close()
	_, err = disk.Close()
	return lost, err
}

// durable tells whether what a spool holds outlives Close.
func durable(s Spool) bool {
	d, ok := s.(interface{ durable() bool })
	if ok {
		return d.durable()
	}
	_, ok = s.(*spool.Disk)
	return ok
}
