package spool

import (
	"errors"
	"io/fs"
	"os"
	"slices"
)

// Trim forgets the records up to and including position upTo. Segments that hold
// nothing else are removed, and after that returned nil they do not come back, not
// even after a power loss. How far it came inside a segment is written down without a
// sync: a power loss may bring those back, and with an error all of them.
//
// It needs no space on the disk that the reserve could not give.
func (d *Disk) Trim(upTo uint64) error {
	d.readMu.Lock()
	defer d.readMu.Unlock()
	if d.isClosed() {
		return ErrClosed
	}
	upTo, ok := d.advance(upTo)
	var err error
	if ok {
		err = d.spaced(func() error { return d.mark.write(upTo) })
	}
	removed, e := d.removeTrimmed()
	if removed > 0 || d.owed {
		e = errors.Join(e, d.syncRemoved())
		d.refill()
	}
	d.age()
	return errors.Join(err, e)
}

// advance moves the trimmed position; ok tells whether it moved.
func (d *Disk) advance(upTo uint64) (_ uint64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.segments); n == 0 || upTo >= d.segments[n-1].end {
		upTo = 0
		if n > 0 {
			upTo = d.segments[n-1].end - 1
		}
	}
	if upTo <= d.trimmed {
		return upTo, false
	}
	d.trimmed = upTo
	d.recount()
	return upTo, true
}

// recount is for after a change in what is trimmed or kept. Under mu.
func (d *Disk) recount() {
	d.records = 0
	for _, s := range d.segments {
		d.records += d.live(s)
	}
}

func (d *Disk) removeTrimmed() (removed int, err error) {
	return d.removeAll(func(s *segment) bool { return d.live(s) == 0 })
}

// removeEmpty removes what segments that failed at their first write leave. Should one
// come back, it holds no record.
func (d *Disk) removeEmpty() {
	empty := func(s *segment) bool { return s.end == s.first }
	if len(d.pick(empty)) == 0 {
		return // without a wait for Read or Trim
	}
	d.readMu.Lock()
	defer d.readMu.Unlock()
	_, _ = d.removeAll(empty) // or the next time
}

// pick returns the segments for which which is true, but for the last.
func (d *Disk) pick(which func(*segment) bool) (picked []*segment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := 0; i < len(d.segments)-1; i++ {
		if which(d.segments[i]) {
			picked = append(picked, d.segments[i])
		}
	}
	return picked
}

// removeAll removes the segments that which picks, but for the last: under readMu.
func (d *Disk) removeAll(which func(*segment) bool) (removed int, err error) {
	victims := d.pick(which)
	if len(victims) > 0 {
		if err := d.anchor(); err != nil {
			return 0, err
		}
	}
	for _, s := range victims {
		if err := d.remove(s); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// remove removes s, file and all: under readMu.
func (d *Disk) remove(s *segment) error {
	if d.cursor.seg == s {
		d.cursor.close()
	}
	if err := d.removeFiles(s); err != nil {
		return err
	}
	s.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(s)
	return nil
}

// anchor makes the names of later segments durable before one goes: they tell the next
// process which positions are used.
func (d *Disk) anchor() error {
	d.mu.Lock()
	dirty := d.dirDirty
	d.mu.Unlock()
	if !dirty {
		return nil
	}
	return d.fs.SyncDir(d.o.Dir) // a round does it again: it must see it succeed itself
}

func (d *Disk) removeFiles(s *segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := []string{s.name}
	if s.copied != nil {
		names = []string{s.copied.name, s.name}
	}
	for _, name := range names {
		err := d.spaced(func() error { return d.fs.Remove(d.path(name)) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// drop takes s off the books. Under mu.
func (d *Disk) drop(s *segment) {
	if i := slices.Index(d.segments, s); i >= 0 {
		d.segments = slices.Delete(d.segments, i, i+1)
		d.bytes -= s.onDisk
	}
	s.removed = true
	d.forget(s, s.size)
	d.recount()
}

// evict removes the oldest segment that Read has not touched, and returns how many
// records went with it; ok is false where there is none.
func (d *Disk) evict() (records int, ok bool) {
	if d.o.Full != DropOldest {
		return 0, false
	}
	d.readMu.Lock()
	defer d.readMu.Unlock()
	d.mu.Lock()
	i := slices.IndexFunc(d.segments, func(s *segment) bool { return !s.claimed && s != d.active })
	if i < 0 {
		d.mu.Unlock()
		return 0, false
	}
	s := d.segments[i]
	records = d.live(s)
	d.mu.Unlock()
	err := d.anchor()
	if err == nil {
		err = d.remove(s)
	}
	if err != nil {
		d.log.Warn("the oldest segment of the spool could not be removed: check the disk", "file", s.title(), "error", err)
		return 0, false
	}
	if err := d.syncRemoved(); err != nil {
		d.log.Warn("records that were given up may come back after a power loss: check the disk", "error", err)
	}
	d.age()
	return records, true
}

// syncRemoved makes removals durable.
func (d *Disk) syncRemoved() error {
	err := d.fs.SyncDir(d.o.Dir)
	d.owed = err != nil
	return err
}

const reserveName = "reserve"

// spaced does f, and where the disk is full once more without the reserve: under readMu.
func (d *Disk) spaced(f func() error) error {
	err := f()
	if err == nil || !noSpace(err) || !d.reserve {
		return err
	}
	if e := d.fs.Remove(d.path(reserveName)); e != nil && !errors.Is(e, fs.ErrNotExist) {
		return errors.Join(err, e)
	}
	d.reserve = false
	return f()
}

// refill writes the reserve where it is missing. There may be no space; then the next
// removal brings some.
func (d *Disk) refill() {
	if d.reserve || d.o.ReserveBytes == 0 {
		return
	}
	name := d.path(reserveName)
	f, err := d.fs.Open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return
	}
	zeros := make([]byte, min(chunkBytes, d.o.ReserveBytes))
	for off := int64(0); off < d.o.ReserveBytes && err == nil; off += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), d.o.ReserveBytes-off)], off)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = d.fs.Remove(name) // a part of it would only take space
		return
	}
	d.reserve = true
}
