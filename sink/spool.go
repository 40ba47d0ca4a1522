package sink

import (
	"errors"
	"sync"
	"time"
)

// ErrSpoolFull is wrapped by Append where the bound is reached and the newest record
// is the one to go.
var ErrSpoolFull = errors.New("spool full")

// Spool keeps encoded records between the data path and Kafka, oldest first. One
// goroutine appends, another reads and trims, and any asks for Stats.
//
// A spool on disk opens with what an earlier process left: Stats counts it then, and
// the sink enters it as recovered.
type Spool interface {
	// Append keeps record as the newest one and takes the slice over. at is the time
	// of appending. evicted counts older records that were given up to make room,
	// never one that Read has handed out. With an error, ErrSpoolFull or another, the
	// record is not kept.
	Append(record []byte, at time.Time) (evicted int, err error)
	// Read appends to dst the records behind position after, oldest first, as many as
	// fit in both bounds, but at least one if there is one. The records stay, and
	// are not to be changed. A record that can't be read any more is handed out
	// empty, so that it is counted. With an error, which is retried, dst is unchanged.
	Read(dst []Entry, after uint64, maxRecords, maxBytes int) ([]Entry, error)
	// Trim forgets the records up to and including position upTo. With an error they
	// may come back in a later process, and are sent twice.
	Trim(upTo uint64) error
	// Stats describes what is kept.
	Stats() SpoolStats
	// Close ends the spool, and says how many records are gone with it: all that are
	// left for one in memory, none for one on disk.
	Close() (lost int, err error)
}

// Entry is one record in a spool. Positions rise, without gaps but for evictions, from 1.
type Entry struct {
	Position uint64
	Record   []byte
}

// SpoolStats describe a spool's contents.
type SpoolStats struct {
	Records int
	// Bytes count against the spool's bound, bookkeeping included.
	Bytes int64
	// Oldest is when the oldest record was appended; zero where there is none.
	Oldest time.Time
}

// entryOverhead is what one record costs the memory spool besides its bytes.
const entryOverhead = 64

// memorySpool is a Spool that lasts as long as the process. Full, it refuses the
// newest record.
type memorySpool struct {
	mu       sync.Mutex
	maxBytes int64
	bytes    int64
	first    uint64 // position of held[0]
	held     []heldRecord
}

type heldRecord struct {
	record []byte
	at     time.Time
}

// NewMemorySpool returns a spool in memory that holds at most maxBytes, its
// bookkeeping included, and drops the newest record when full.
func NewMemorySpool(maxBytes int64) Spool {
	return &memorySpool{maxBytes: maxBytes, first: 1}
}

func (m *memorySpool) Append(record []byte, at time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	size := int64(len(record)) + entryOverhead
	if m.bytes+size > m.maxBytes {
		return 0, ErrSpoolFull
	}
	m.bytes += size
	m.held = append(m.held, heldRecord{record, at})
	return 0, nil
}

func (m *memorySpool) Read(dst []Entry, after uint64, maxRecords, maxBytes int) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := 0
	if after >= m.first {
		i = int(after - m.first + 1)
	}
	for n := 0; i < len(m.held) && n < maxRecords; n++ {
		record := m.held[i].record
		if maxBytes -= len(record); maxBytes < 0 && n > 0 {
			break
		}
		dst = append(dst, Entry{m.first + uint64(i), record})
		i++
	}
	return dst, nil
}

func (m *memorySpool) Trim(upTo uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for ; n < len(m.held) && m.first+uint64(n) <= upTo; n++ {
		m.bytes -= int64(len(m.held[n].record)) + entryOverhead
		m.held[n] = heldRecord{}
	}
	m.first += uint64(n)
	if m.held = m.held[n:]; len(m.held) == 0 {
		m.held = nil // lets the array of a past peak go
	}
	return nil
}

func (m *memorySpool) Stats() SpoolStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := SpoolStats{Records: len(m.held), Bytes: m.bytes}
	if len(m.held) > 0 {
		s.Oldest = m.held[0].at
	}
	return s
}

func (m *memorySpool) Close() (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := len(m.held)
	m.held, m.bytes = nil, 0
	return lost, nil
}
