package spool

import (
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"
)

// Disk is a queue of records in a folder. All methods may be called at once; they take
// turns where they have to: Append waits for an fsync under Always, and under Interval
// where Options.UnsyncedBytes are reached; and for the creation and removal of files.
//
// The order of the locks is that of the fields.
type Disk struct {
	o    Options
	fs   FS
	log  *slog.Logger
	lock io.Closer
	stop chan struct{} // ends the goroutine that syncs ...
	done chan struct{} // ... and this is closed

	syncMu   sync.Mutex // one round of syncing at a time
	failing  bool       // the last round failed
	appendMu sync.Mutex // appending, and what ends the active segment
	next     uint64     // position of the next record
	named    bool       // this process has had a segment
	unnamed  []*segment // their names may still admit records that were refused
	buf      []byte
	failedAt time.Time // when the disk refused a record ...
	failure  error     // ... and why; nil since it took one

	readMu  sync.Mutex // reading, and what removes segments
	cursor  cursor
	slab    slab
	handed  []stamp // records handed out and not trimmed, oldest first
	mark    mark
	reserve bool // the file of reserved bytes is there
	owed    bool // removals are not durable

	mu        sync.Mutex
	segments  []*segment // by position; the last one is never removed
	active    *segment   // being written, the last one; nil until the next Append. Changed under appendMu too
	records   int
	bytes     int64
	keptBytes int64    // in pieces of segments
	spare     [][]byte // pieces
	trimmed   uint64   // positions up to here are trimmed
	oldest    time.Time
	seen      uint64 // damaged records up to here are counted
	corrupt   int
	abandoned int
	lastSync  time.Time
	diskFree  int64 // -1 where it is not known
	dirDirty  bool  // the folder has changes that a round has to sync
	closed    bool
}

// stamp is when the record at a position was appended.
type stamp struct {
	position uint64
	at       int64
}

// Stats describe a spool.
type Stats struct {
	// Records wait to be trimmed, damaged ones included.
	Records int
	// Bytes are what the segments take on disk; trimmed records count until their
	// segment is removed.
	Bytes int64
	// Oldest is when the oldest record was appended; zero where there is none.
	Oldest time.Time
	// Segments are the files.
	Segments int
	// Corrupt records were found and handed out empty, since Open.
	Corrupt int
	// Abandoned segments had a write or an fsync fail, since Open.
	Abandoned int
	// LastSync is when the last successful round of fsyncs began: what was appended
	// before survives a power loss. Under Always, that is when Append last returned.
	LastSync time.Time
	// DiskFree is what the file system had free within the last second or so, or before
	// it hung; -1 where that is not known.
	DiskFree int64
}

// Stats never waits for the disk.
func (d *Disk) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Stats{Records: d.records, Bytes: d.bytes, Oldest: d.oldest, Segments: len(d.segments),
		Corrupt: d.corrupt, Abandoned: d.abandoned, LastSync: d.lastSync, DiskFree: d.diskFree}
	if s.Records == 0 {
		s.Oldest = time.Time{}
	}
	return s
}

// Close makes all records durable, in every mode, and gives the folder back. (Under Never
// it can't tell of those found by Open whether an fsync of theirs failed before.) No
// record is lost with a Disk, so lost is always 0; an error says that a power loss may
// cost the latest ones. It waits for the disk.
func (d *Disk) Close() (lost int, err error) {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return 0, ErrClosed
	}
	close(d.stop)
	<-d.done
	d.appendMu.Lock()
	if a := d.active; a != nil && a.end > a.first {
		d.retire()
	}
	d.appendMu.Unlock()
	err = d.syncRound()
	d.readMu.Lock()
	defer d.readMu.Unlock()
	d.cursor.close()
	d.mark.close()
	for _, s := range d.segments {
		s.close()
	}
	if e := d.lock.Close(); err == nil {
		err = e
	}
	return 0, err
}

func (d *Disk) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

func (d *Disk) path(name string) string { return filepath.Join(d.o.Dir, name) }

// live returns how many positions of s are not trimmed. Under mu.
func (d *Disk) live(s *segment) int {
	from := max(s.first, d.trimmed+1)
	if s.end <= from {
		return 0
	}
	return int(s.end - from)
}
