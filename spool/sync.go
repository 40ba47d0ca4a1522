package spool

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

var (
	// errAtRisk says that records wait for a copy, because an fsync failed on theirs.
	errAtRisk = errors.New("records that an fsync failed on are not copied yet")
	// errGone says that a copy came too late for some.
	errGone = errors.New("records that an fsync failed on are lost")
)

// run syncs every interval until Close, other than under Never, and looks every second
// how much the disk has free.
func (d *Disk) run() {
	defer close(d.done)
	every := d.o.Interval
	if d.o.Fsync == Never {
		every = freePause
	}
	t := time.NewTicker(every)
	defer t.Stop()
	looked := time.Now()
	for {
		select {
		case <-d.stop:
			return
		case now := <-t.C:
			if d.o.Fsync != Never {
				_ = d.syncRound() // logged
			}
			if now.Sub(looked) >= freePause {
				looked = now
				d.lookFree()
			}
		}
	}
}

// lookFree may wait for the disk, so that Stats need not.
func (d *Disk) lookFree() {
	free, err := d.fs.Free(d.o.Dir)
	if err != nil {
		free = -1
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.diskFree = free
}

// target is a segment as it stood when a round began.
type target struct {
	seg  *segment
	end  uint64
	size int64
}

// syncRound makes all durable that was appended before it began. Appends go on
// meanwhile. An error says that some of it may be lost in a power loss; the next round
// tries again, by other means.
func (d *Disk) syncRound() (err error) {
	d.syncMu.Lock()
	defer d.syncMu.Unlock()
	began := d.o.Now()
	targets, dir := d.dirty()
	for _, t := range targets {
		if e := d.syncTarget(t); e != nil && err == nil {
			err = e
		}
	}
	if dir {
		if e := d.fs.SyncDir(d.o.Dir); e != nil {
			err = errors.Join(err, e)
			d.setDirDirty()
		}
	}
	if err == nil {
		d.mu.Lock()
		d.lastSync = began
		d.mu.Unlock()
	}
	if failed := err != nil; failed != d.failing {
		if d.failing = failed; failed {
			d.log.Error("the spool can't make records durable, a power loss would cost them; trying again: check the disk", "error", err)
		} else {
			d.log.Info("the spool's records are durable again")
		}
	}
	return err
}

func (d *Disk) dirty() (targets []target, dir bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.segments {
		if s.synced < s.end {
			targets = append(targets, target{s, s.end, s.size})
		}
	}
	dir, d.dirDirty = d.dirDirty, false
	return targets, dir
}

func (d *Disk) setDirDirty() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirDirty = true
}

// syncTarget syncs one segment. An fsync that failed is not tried again: what is not
// synced goes into a new segment.
func (d *Disk) syncTarget(t target) error {
	if t.seg.broken {
		return d.salvage(t.seg)
	}
	f, err := t.seg.writer(d.fs, d.o.Dir)
	if err != nil {
		return d.unlessRemoved(t.seg, err)
	}
	if err := f.Sync(); err != nil {
		if d.unlessRemoved(t.seg, err) == nil {
			return nil
		}
		d.mu.Lock()
		t.seg.broken = true
		d.abandoned++
		d.mu.Unlock()
		d.log.Error("an fsync of the spool failed; what it covered is copied to a new segment: check the disk", "file", t.seg.title(), "error", err)
		return d.salvage(t.seg)
	}
	if d.synced(t) {
		_ = d.settle(t.seg) // an older name costs the next start an fsync, nothing else
	}
	return nil
}

// unlessRemoved returns err unless s was trimmed or evicted meanwhile.
func (d *Disk) unlessRemoved(s *segment, err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.removed {
		return nil
	}
	return err
}

// synced enters a successful fsync, and tells whether nothing more will be written to
// the segment.
func (d *Disk) synced(t target) (finished bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := t.seg
	s.synced, s.stable = t.end, t.size
	d.forget(s, t.size)
	return s != d.active && s.synced == s.end && !s.removed
}

// salvage copies the records of s that are not synced to a new segment: those of this
// process from memory, those of an earlier one from the file, where the operating system
// may or may not have dropped them.
func (d *Disk) salvage(s *segment) error {
	d.appendMu.Lock()
	if d.active == s {
		d.retire()
	}
	d.appendMu.Unlock()
	now := d.o.Now()
	if ago := now.Sub(s.rescue); !s.rescue.IsZero() && ago >= 0 && ago < rescuePause {
		return errAtRisk
	}
	s.rescue = now
	if s.copied == nil {
		if err := d.copyTail(s); err != nil {
			return fmt.Errorf("%w: %w", errAtRisk, err)
		}
	}
	// Its name must last before what it replaces goes.
	if err := d.fs.SyncDir(d.o.Dir); err != nil {
		return fmt.Errorf("%w: %w", errAtRisk, err)
	}
	lost := int(s.end-s.synced) - s.copied.intact
	if d.adopt(s); lost > 0 && !s.found {
		return fmt.Errorf("%w: %d", errGone, lost)
	}
	return nil
}

// copyTail makes the copy, under a name that says nothing until its bytes are durable.
func (d *Disk) copyTail(s *segment) error {
	src, err := s.open(d.fs, d.o.Dir)
	if err != nil {
		return err
	}
	defer src.Close()
	d.mu.Lock()
	scan := s.scan(liveReader{d, s, src})
	scan.place = place{off: s.stable, next: s.synced}
	d.mu.Unlock()
	fresh := newSegment(s.synced, s.gen+1)
	temporary := fresh.name + ".tmp"
	f, err := d.fs.Open(d.path(temporary), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	if err = fresh.copyFrom(scan, f); err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	fresh.end, fresh.synced, fresh.stable = s.end, s.end, fresh.size
	fresh.name = fresh.nameAs(stateDone)
	if err == nil {
		err = d.fs.Rename(d.path(temporary), d.path(fresh.name))
	}
	if err != nil {
		_ = d.fs.Remove(d.path(temporary)) // or the next start does
		return err
	}
	s.mu.Lock()
	s.copied = fresh
	s.mu.Unlock()
	return nil
}

// copyFrom writes the intact records of scan to f. The others stay missing.
func (s *segment) copyFrom(scan *scanner, f File) error {
	var buf []byte
	for ok := true; ok; {
		var from found
		var err error
		if from, ok, err = scan.frame(); err != nil {
			return err
		}
		if ok && from.intact {
			buf = appendFrame(buf, s.nonce, from.header, from.record)
			s.intact++
		}
		if ok && len(buf) < chunkBytes {
			continue
		}
		if _, err := f.WriteAt(buf, s.size); err != nil {
			return err
		}
		s.size += int64(len(buf))
		buf = buf[:0]
	}
	s.onDisk = s.size
	return nil
}

// adopt lets the copy of s take the place of what is not synced in it.
func (d *Disk) adopt(s *segment) {
	d.readMu.Lock()
	defer d.readMu.Unlock()
	d.mu.Lock()
	if s.removed {
		d.mu.Unlock()
		_ = d.fs.Remove(d.path(s.copied.name)) // gone already, unless it was made meanwhile
		return
	}
	fresh := s.copied
	s.copied = nil
	fresh.claimed = s.claimed
	s.end, s.broken = s.synced, false
	d.forget(s, s.size)
	d.segments = slices.Insert(d.segments, slices.Index(d.segments, s)+1, fresh)
	d.bytes += fresh.onDisk
	d.mu.Unlock()
	if s.end > s.first || d.remove(s) != nil {
		_ = d.settle(s) // under an older name it ends where the copy begins, too
	}
}
