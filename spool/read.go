package spool

import (
	"errors"
	"io"
	"io/fs"
	"sort"
	"time"
)

// Entry is one record in a spool.
type Entry struct {
	// Position rises from record to record, with gaps.
	Position uint64
	// Record is nil where the record is lost, and belongs to the caller else.
	Record []byte
	// At is when it was appended; zero where it is lost.
	At time.Time
}

// maxHanded bounds the stamps of records that are handed out.
const maxHanded = 8192

// window is the part of a segment that a call of Read looks at.
type window struct {
	seg       *segment
	from, end uint64
	size      int64
}

// cursor is where the last Read stopped. All under readMu.
type cursor struct {
	seg  *segment
	file File
	scan *scanner
}

func (c *cursor) close() {
	if c.file != nil {
		_ = c.file.Close() // it was only read
	}
	*c = cursor{}
}

// budget is what a call of Read may still hand out.
type budget struct {
	records, bytes int
	some           bool // something is handed out already
}

// take tells whether n bytes more fit; the first record always does.
func (b *budget) take(n int) bool {
	if b.records <= 0 || b.some && n > b.bytes {
		return false
	}
	b.records, b.bytes, b.some = b.records-1, b.bytes-n, true
	return true
}

// Read appends to dst the records behind position after that are not trimmed, oldest
// first, as many as fit in both bounds, but at least one if there is one and maxRecords
// is over 0. The records stay. One that is damaged or missing is handed out without
// bytes, so that it can be counted and trimmed like the others.
//
// It may be called for any position; going on where the last call ended is quick. An
// error leaves dst as it was, and may heal; a block that stays unreadable counts as
// damaged after a few calls.
func (d *Disk) Read(dst []Entry, after uint64, maxRecords, maxBytes int) ([]Entry, error) {
	d.readMu.Lock()
	defer d.readMu.Unlock()
	if d.isClosed() {
		return dst, ErrClosed
	}
	start, before := len(dst), d.Stats().Corrupt
	b := budget{records: maxRecords, bytes: maxBytes}
	for b.records > 0 {
		w, ok := d.window(after, true)
		if !ok {
			break
		}
		var all bool
		var err error
		if dst, all, err = d.readSegment(dst, w, &b); err != nil {
			if len(dst) == start {
				return dst, err
			}
			break // it comes again with the next call
		}
		if !all {
			break
		}
		after = w.end - 1
	}
	d.hand(dst[start:])
	if lost := d.Stats().Corrupt - before; lost > 0 {
		d.log.Error("records in the spool are damaged and lost: check the disk", "records", lost)
	}
	return dst, nil
}

// window finds the segment of the first record behind position after. claim keeps it
// from being evicted.
func (d *Disk) window(after uint64, claim bool) (w window, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	after = max(after, d.trimmed)
	i := sort.Search(len(d.segments), func(i int) bool { return d.segments[i].end > after+1 })
	for ; i < len(d.segments) && d.segments[i].end == d.segments[i].first; i++ {
	}
	if i == len(d.segments) {
		return w, false
	}
	s := d.segments[i]
	s.claimed = s.claimed || claim
	return window{seg: s, from: max(after+1, s.first), end: s.end, size: s.size}, true
}

// seek moves the cursor to w. It stands at a frame that is not behind w.from.
func (d *Disk) seek(w window) error {
	c := &d.cursor
	if c.seg != w.seg {
		f, err := w.seg.open(d.fs, d.o.Dir)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = nothing{}, nil // someone removed it: its records are lost
		}
		if err != nil {
			return err
		}
		buf := []byte(nil)
		if c.scan != nil {
			buf = c.scan.buf[:0]
		}
		c.close()
		c.seg, c.file = w.seg, f
		c.scan = &scanner{src: liveReader{d, w.seg, f}, nonce: w.seg.nonce, place: place{next: w.seg.first}, buf: buf}
	}
	if c.scan.next > w.from {
		c.scan.place = place{next: w.seg.first}
	}
	c.scan.end, c.scan.size = w.end, w.size
	return nil
}

// readSegment appends the records of w that the budget allows; all tells whether that
// is all.
func (d *Disk) readSegment(dst []Entry, w window, b *budget) (_ []Entry, all bool, err error) {
	if err := d.seek(w); err != nil {
		return dst, false, err
	}
	for want := w.from; want < w.end; {
		here := d.cursor.scan.place
		f, ok, err := d.cursor.scan.frame()
		if err != nil {
			return dst, false, err
		}
		if !ok {
			f.position = w.end
		}
		for ; want < f.position; want++ {
			if !b.take(0) {
				d.cursor.scan.place = here
				return dst, false, nil
			}
			dst = append(dst, d.damaged(want))
		}
		if !ok || f.position < want {
			continue
		}
		if !b.take(len(f.record)) {
			d.cursor.scan.place = here
			return dst, false, nil
		}
		dst = append(dst, d.entry(f))
		want++
	}
	return dst, true, nil
}

func (d *Disk) entry(f found) Entry {
	if !f.intact {
		return d.damaged(f.position)
	}
	return Entry{Position: f.position, Record: d.slab.copy(f.record), At: toTime(f.at)}
}

// damaged is what stands for a lost record, which is counted once.
func (d *Disk) damaged(position uint64) Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	if position > d.seen {
		d.seen = position
		d.corrupt++
	}
	return Entry{Position: position}
}

// hand remembers when the records that are handed out were appended.
func (d *Disk) hand(entries []Entry) {
	for _, e := range entries {
		if n := len(d.handed); e.Record == nil || n == maxHanded || n > 0 && e.Position <= d.handed[n-1].position {
			continue
		}
		d.handed = append(d.handed, stamp{e.Position, fromTime(e.At)})
	}
}

// age finds out when the oldest record was appended: under readMu.
func (d *Disk) age() {
	d.mu.Lock()
	trimmed, records := d.trimmed, d.records
	d.mu.Unlock()
	n := sort.Search(len(d.handed), func(i int) bool { return d.handed[i].position > trimmed })
	d.handed = append(d.handed[:0], d.handed[n:]...)
	if records == 0 {
		return
	}
	var at int64
	if len(d.handed) > 0 {
		at = d.handed[0].at
	} else {
		w, ok := d.window(trimmed, false)
		if !ok || d.seek(w) != nil {
			return // the next one may find it
		}
		here := d.cursor.scan.place
		f, ok, err := d.cursor.scan.frame()
		for ok && err == nil && (f.position < w.from || !f.intact) {
			if f.position < w.from {
				here = d.cursor.scan.place
			}
			f, ok, err = d.cursor.scan.frame()
		}
		d.cursor.scan.place = here
		if !ok || err != nil {
			return
		}
		at = f.at
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trimmed == trimmed {
		d.oldest = toTime(at)
	}
}

// nothing is the file of a segment that is gone.
type nothing struct{}

func (nothing) ReadAt([]byte, int64) (int, error)  { return 0, io.EOF }
func (nothing) WriteAt([]byte, int64) (int, error) { return 0, fs.ErrNotExist }
func (nothing) Sync() error                        { return nil }
func (nothing) Close() error                       { return nil }
