package spool

import (
	"sync"
	"time"
)

// recordOverhead is what a record costs a Memory besides its bytes.
const recordOverhead = 64

// Memory is a spool that lasts as long as the process. Full, it refuses the newest
// records. Its methods do what those of Disk do.
type Memory struct {
	mu       sync.Mutex
	maxBytes int64
	bytes    int64
	first    uint64 // position of held[0]
	held     []Entry
	closed   bool
	slab     slab
}

// NewMemory returns a spool in memory that holds at most maxBytes, its bookkeeping
// included.
func NewMemory(maxBytes int64) *Memory { return &Memory{maxBytes: maxBytes, first: 1} }

// Append keeps copies of the first kept of records. err, ErrFull or ErrClosed, is nil
// exactly where that is all. It never evicts.
func (m *Memory) Append(records [][]byte, at time.Time) (kept, evicted int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, 0, ErrClosed
	}
	for _, r := range records {
		size := int64(len(r)) + recordOverhead
		if m.bytes+size > m.maxBytes {
			return kept, 0, ErrFull
		}
		m.bytes += size
		m.held = append(m.held, Entry{m.first + uint64(len(m.held)), m.slab.copy(r), at})
		kept++
	}
	return kept, 0, nil
}

// Read appends records behind position after to dst. They are shared and not to be
// changed.
func (m *Memory) Read(dst []Entry, after uint64, maxRecords, maxBytes int) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return dst, ErrClosed
	}
	i := uint64(0)
	if after >= m.first {
		i = min(after-m.first+1, uint64(len(m.held)))
	}
	b := budget{records: maxRecords, bytes: maxBytes}
	for _, e := range m.held[i:] {
		if !b.take(len(e.Record)) {
			break
		}
		dst = append(dst, e)
	}
	return dst, nil
}

// Trim forgets the records up to and including position upTo.
func (m *Memory) Trim(upTo uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	n := 0
	for ; n < len(m.held) && m.held[n].Position <= upTo; n++ {
		m.bytes -= int64(len(m.held[n].Record)) + recordOverhead
		m.held[n] = Entry{}
	}
	m.first += uint64(n)
	if m.held = m.held[n:]; len(m.held) == 0 {
		m.held = nil // lets the array of a past peak go
	}
	return nil
}

// Stats describes what is held. What is about a disk stays zero, or unknown.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{Records: len(m.held), Bytes: m.bytes, DiskFree: -1}
	if len(m.held) > 0 {
		s.Oldest = m.held[0].At
	}
	return s
}

// Close loses what is left, and says how many records that were.
func (m *Memory) Close() (lost int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, ErrClosed
	}
	lost = len(m.held)
	m.held, m.bytes, m.closed = nil, 0, true
	return lost, nil
}
