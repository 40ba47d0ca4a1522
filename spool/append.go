package spool

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// Append keeps records as the newest ones, all as appended at that time. It copies
// them. kept says how many it keeps: the first ones of the batch, all of them exactly
// where err is nil. The others are refused and will not appear later; where the disk
// fails so badly that their bytes can't be disowned, they may come back after a crash
// until another Append or Close succeeds.
//
// evicted counts older records that were given up to make room, never one that Read
// has handed out.
//
// Under Always the records are on disk when it returns. Under Interval and Never they
// are with the operating system: they survive the end of the process. Interval keeps them
// in memory as well until they are on disk, see Options.UnsyncedBytes.
//
// err wraps ErrFull, ErrTooLarge, ErrDisk or ErrClosed. After ErrDisk the next calls
// fail at once for a tenth of a second, then the disk is tried again.
func (d *Disk) Append(records [][]byte, at time.Time) (kept, evicted int, err error) {
	d.appendMu.Lock()
	defer d.appendMu.Unlock()
	if d.isClosed() {
		return 0, 0, ErrClosed
	}
	if d.failure != nil {
		if ago := d.o.Now().Sub(d.failedAt); ago >= 0 && ago < retryPause {
			return 0, 0, d.failure
		}
	}
	for faults := 0; kept < len(records); {
		n, gone, err := d.appendSome(records[kept:], at)
		kept, evicted = kept+n, evicted+gone
		if errors.Is(err, errUnsynced) {
			if err = d.syncForRoom(); err == nil {
				continue
			}
		}
		var fault *diskError
		if errors.As(err, &fault) {
			// A new segment may do better, but not where there is no space.
			if faults++; faults == 1 && !noSpace(err) {
				continue
			}
			d.failure, d.failedAt = err, d.o.Now()
		}
		if err != nil {
			return kept, evicted, err
		}
		d.failure = nil
	}
	return kept, evicted, nil
}

// errUnsynced says that no more is kept in memory until some of it is durable.
var errUnsynced = errors.New("too much waits for an fsync")

// syncForRoom makes durable what was appended, so that memory need not keep it. It lets
// go of appendMu meanwhile.
func (d *Disk) syncForRoom() error {
	d.appendMu.Unlock()
	err := d.syncRound()
	d.appendMu.Lock()
	switch {
	case d.isClosed():
		return ErrClosed
	case err != nil:
		return &diskError{"sync", err}
	}
	return nil
}

// diskError is an ErrDisk: what the file system said, and when.
type diskError struct {
	doing string
	err   error
}

func (e *diskError) Error() string   { return fmt.Sprintf("%s: %v: %v", ErrDisk, e.doing, e.err) }
func (e *diskError) Unwrap() []error { return []error{ErrDisk, e.err} }

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// appendSome appends what one write takes, one record at least.
func (d *Disk) appendSome(records [][]byte, at time.Time) (kept, evicted int, err error) {
	need := frameBytes(records[0])
	if need > d.o.maxRecord()+headerBytes {
		return 0, 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(records[0]), d.o.maxRecord())
	}
	if d.keepable() < need {
		return 0, 0, errUnsynced
	}
	s, err := d.writable(need)
	if err != nil {
		return 0, 0, &diskError{"create a segment", err}
	}
	n, evicted := d.room(s, records)
	if n == 0 {
		return 0, evicted, fmt.Errorf("%w: %d bytes", ErrFull, d.o.MaxBytes)
	}
	d.encode(s, records[:n], at)
	took, err := d.write(s)
	if err == nil {
		d.commit(s, n, len(d.buf), at)
		return n, evicted, nil
	}
	n, bytes := whole(d.buf[:took])
	d.commit(s, n, bytes, at)
	d.abandon(s, took-bytes, err)
	return n, evicted, &diskError{"append", err}
}

// writable returns the active segment, a new one where it has no room for need.
func (d *Disk) writable(need int64) (*segment, error) {
	if a := d.active; a != nil && a.size > 0 && a.size+need > d.o.SegmentBytes {
		d.retire()
	}
	if d.active == nil {
		if err := d.create(); err != nil {
			return nil, err
		}
	}
	return d.active, nil
}

// room returns how many of records s may take in one write, after giving up older
// ones if that is the policy.
func (d *Disk) room(s *segment, records [][]byte) (n, evicted int) {
	var total int64
	most := min(chunkBytes, d.keepable())
	for _, r := range records {
		size := frameBytes(r)
		if n > 0 && (total+size > most || s.size+total+size > d.o.SegmentBytes) {
			break
		}
		for d.free() < total+size {
			gone, ok := d.evict()
			if !ok {
				return n, evicted
			}
			evicted += gone
		}
		total += size
		n++
	}
	return n, evicted
}

func (d *Disk) free() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.o.capacity() - d.bytes
}

// encode puts the frames of records into buf.
func (d *Disk) encode(s *segment, records [][]byte, at time.Time) {
	if cap(d.buf) > 4*chunkBytes {
		d.buf = nil
	}
	d.buf = d.buf[:0]
	for _, r := range records {
		d.buf = appendFrame(d.buf, s.nonce, header{position: d.next, at: fromTime(at)}, r)
		d.next++
	}
}

// write writes buf behind the end of s, and says how much of it counts as written.
func (d *Disk) write(s *segment) (took int, err error) {
	took, err = s.file.WriteAt(d.buf, s.size)
	if d.o.Fsync != Always {
		return took, err
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return 0, err
	}
	return took, nil
}

// whole returns how many frames b holds entirely, and their bytes.
func whole(b []byte) (n, bytes int) {
	for len(b)-bytes >= headerBytes {
		size := headerBytes + int(lengthOf(b[bytes:]))
		if len(b)-bytes < size {
			break
		}
		n, bytes = n+1, bytes+size
	}
	return n, bytes
}

// commit makes the first n records in buf part of s.
func (d *Disk) commit(s *segment, n, bytes int, at time.Time) {
	now := d.o.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.o.Fsync == Interval {
		d.keep(s, d.buf[:bytes])
	}
	if d.records == 0 {
		d.oldest = at
	}
	s.end += uint64(n)
	s.size += int64(bytes)
	s.onDisk = max(s.onDisk, s.size)
	d.records += n
	d.bytes += int64(bytes)
	if d.o.Fsync == Always {
		s.synced, s.stable = s.end, s.size
		d.lastSync = now
	}
}

// create begins a segment. Its name must be durable before a record in it is said to
// be; under Interval that waits for the next round, but for the first segment of a
// process: the next process begins behind it, so that no position comes twice.
func (d *Disk) create() error {
	if err := d.disown(nil); err != nil {
		return err
	}
	s := newSegment(d.next, 0)
	d.next++ // no two files begin at one position, though this one may fail
	f, err := d.fs.Open(d.path(s.name), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	s.file = f
	inline := d.o.Fsync == Always || !d.named
	if inline {
		if err := d.fs.SyncDir(d.o.Dir); err != nil {
			s.close()
			_ = d.fs.Remove(d.path(s.name)) // without a record in it, it does no harm
			return err
		}
	}
	d.named, d.next = true, s.first
	d.mu.Lock()
	d.active = s
	d.segments = append(d.segments, s)
	d.dirDirty = d.dirDirty || !inline
	d.mu.Unlock()
	d.removeEmpty()
	return nil
}

// retire ends the active segment: its name says what it holds. Where that fails the
// next process reads it.
func (d *Disk) retire() {
	s := d.active
	d.setActive(nil)
	if err := d.settle(s); err != nil {
		d.log.Warn("a segment of the spool could not be renamed; the next start takes longer: check the disk", "file", s.title(), "error", err)
	}
}

func (d *Disk) setActive(s *segment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active = s
}

// settle lets the name of a segment that takes no more records say what it holds.
func (d *Disk) settle(s *segment) error {
	d.mu.Lock()
	st := stateFull
	if s.synced == s.end {
		st = stateDone
	}
	name := s.nameAs(st)
	d.mu.Unlock()
	if err := s.rename(d.fs, d.o.Dir, name); err != nil {
		return err
	}
	if st == stateDone || d.o.Fsync == Never {
		s.close()
	}
	return nil
}

// abandon ends a segment that a write failed in. Nothing is written to it again.
func (d *Disk) abandon(s *segment, excess int, cause error) {
	d.mu.Lock()
	d.abandoned++
	d.active = nil
	s.onDisk += int64(excess)
	d.bytes += int64(excess)
	d.mu.Unlock()
	d.log.Error("a segment of the spool failed and was abandoned: check the disk's space and health", "file", s.title(), "error", cause)
	if err := d.disown(s); err != nil {
		d.log.Error("refused records could not be disowned; they may come back after a crash: check the disk", "file", s.title(), "error", err)
	}
}

// disown makes sure that the records behind the end of failed segments, s among them,
// are never read: their names say where they end.
func (d *Disk) disown(s *segment) error {
	if s != nil {
		d.unnamed = append(d.unnamed, s)
	}
	if len(d.unnamed) == 0 {
		return nil
	}
	for _, s := range d.unnamed {
		if err := d.settle(s); err != nil {
			return err
		}
	}
	if err := d.fs.SyncDir(d.o.Dir); err != nil {
		return err
	}
	d.unnamed = slices.Delete(d.unnamed, 0, len(d.unnamed))
	return nil
}
