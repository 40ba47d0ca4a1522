package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Open takes the folder over, with what an earlier process left in it. It reads the
// folder, and the few segments whose names don't say yet what they hold. Other than
// under Never, what it finds is durable when it returns, or an error is logged.
//
// The error wraps ErrLocked where another process owns the folder.
func Open(o Options) (*Disk, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	d := &Disk{o: o, fs: o.FS, log: o.Logger, stop: make(chan struct{}), done: make(chan struct{})}
	if err := makeFolder(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("spool: make the folder %s: %w", o.Dir, err)
	}
	var err error
	if d.lock, err = o.FS.Lock(d.path("lock")); errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("spool: folder %s: %w: stop that process, or give this one a folder of its own", o.Dir, err)
	} else if err != nil {
		return nil, fmt.Errorf("spool: lock the folder %s: %w", o.Dir, err)
	}
	if err := d.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("spool: read the folder %s: %w", o.Dir, err), d.lock.Close())
	}
	d.lookFree()
	if !o.manual {
		go d.run()
	} else {
		close(d.done)
	}
	return d, nil
}

// makeFolder makes dir and the folders above it where they are missing, durably. An
// earlier process may have made dir and ended before it was durable.
func makeFolder(f FS, dir string) error {
	err := f.Mkdir(dir)
	parent := filepath.Dir(dir)
	if errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeFolder(f, parent); err != nil {
			return err
		}
		err = f.Mkdir(dir)
	}
	exists := errors.Is(err, fs.ErrExist)
	if err != nil && !exists {
		return err
	}
	err = f.SyncDir(parent)
	if exists && errors.Is(err, fs.ErrPermission) {
		return nil // whoever made dir where this process may not look has seen to it
	}
	return err
}

func (d *Disk) recover() error {
	in, err := look(d.fs, d.o.Dir)
	if err != nil {
		return err
	}
	for _, name := range in.leftovers {
		_ = d.fs.Remove(d.path(name)) // or the next start does
	}
	d.reserve = in.reserve >= d.o.ReserveBytes
	d.openMark(in.mark)
	d.segments, d.trimmed = in.segments, max(in.trimmed, d.trimmed)
	d.next = (in.last()>>32 + 2) << 32
	for _, s := range d.segments {
		d.bytes += s.onDisk
	}
	d.recount()
	d.refill()
	if err := d.create(); err != nil {
		d.log.Error("the spool takes no records yet: check the disk's space and health", "error", err)
	}
	d.settleFound()
	d.readMu.Lock()
	defer d.readMu.Unlock()
	removed, err := d.removeTrimmed()
	d.owed = removed > 0
	if err != nil {
		d.log.Warn("a trimmed segment of the spool could not be removed: check the disk", "error", err)
	}
	d.age()
	if d.records > 0 {
		d.log.Info("the spool holds records of an earlier process", "records", d.records, "bytes", d.bytes)
	}
	return nil
}

// maxCopied bounds the bytes that a start copies. A crash under Never, followed by a
// start in another mode, leaves more; the rest gets an fsync.
const maxCopied = 128 << 20

// settleFound makes what was found durable, and its names say so. It copies, for an
// fsync of the earlier process may have failed, and then another one proves nothing.
func (d *Disk) settleFound() {
	var unsettled []*segment
	for _, s := range d.segments {
		if s.synced < s.end {
			unsettled = append(unsettled, s)
		}
	}
	if d.o.Fsync == Never {
		for _, s := range unsettled {
			_ = d.settle(s) // an older name costs the next start some time, nothing else
		}
		return
	}
	left := int64(maxCopied)
	for _, s := range slices.Backward(unsettled) {
		left -= s.onDisk
		s.found, s.broken = true, left >= 0
	}
	_ = d.syncRound() // logged
}

// openMark opens the mark, whatever it takes; without one trimmed records come back.
func (d *Disk) openMark(name string) {
	open := func() (err error) {
		d.mark, d.trimmed, err = openMark(d.fs, d.path, name)
		return err
	}
	if err := d.spaced(open); err != nil {
		d.log.Warn("the spool can't write down what was delivered, the next start may send it twice: check the disk", "error", err)
	}
}

// inventory is what a folder holds.
type inventory struct {
	segments  []*segment // with records, by position
	states    map[*segment]state
	mark      string // the file's name
	trimmed   uint64
	reserve   int64 // bytes
	leftovers []string
}

// last is the highest position that is known.
func (in *inventory) last() (p uint64) {
	p = in.trimmed
	for _, s := range in.segments {
		p = max(p, s.end)
	}
	return p
}

// look reads a folder without changing it.
func look(f FS, dir string) (*inventory, error) {
	files, err := f.List(dir)
	if err != nil {
		return nil, err
	}
	in := &inventory{states: map[*segment]state{}}
	for _, file := range files {
		s, st, ok := parseSegment(file)
		switch {
		case ok:
			in.segments = append(in.segments, s)
			in.states[s] = st
		case strings.HasSuffix(file.Name, ".tmp"):
			in.leftovers = append(in.leftovers, file.Name)
		case file.Name == reserveName:
			in.reserve = file.Bytes
		default:
			in.noteMark(f, dir, file.Name)
		}
	}
	for _, s := range in.segments {
		if in.states[s] == stateOpen {
			if err := s.measure(f, dir); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	in.order()
	return in, nil
}

// noteMark takes the file in if it is a mark, and the better one.
func (in *inventory) noteMark(f FS, dir, name string) {
	nonce, ok := parseMark(name)
	if !ok {
		return
	}
	file, err := f.Open(filepath.Join(dir, name), os.O_RDONLY)
	if err != nil {
		return
	}
	defer file.Close()
	m := mark{file: file, nonce: nonce}
	if upTo := m.read(); upTo >= in.trimmed {
		in.mark, in.trimmed = name, upTo
	}
}

// measure finds out what an open segment holds.
func (s *segment) measure(f FS, dir string) error {
	file, err := s.open(f, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a status beside a running owner: it was renamed or trimmed
	}
	if err != nil {
		return err
	}
	defer file.Close()
	scan := s.scan(file)
	for {
		t, err := measure(scan)
		if err == nil {
			s.end = t.end
			return nil
		}
		if scan.bad == 0 {
			return err
		}
	}
}

// order sorts the segments, and lets each end where a copy begins that replaces it.
func (in *inventory) order() {
	slices.SortFunc(in.segments, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.gen, b.gen))
	})
	var a *segment
	for _, b := range in.segments {
		if b.end == b.first {
			continue
		}
		if a != nil && a.end > b.first {
			a.end = b.first
			a.synced = min(a.synced, a.end)
		}
		a = b
	}
}
