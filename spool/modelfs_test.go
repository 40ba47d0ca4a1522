package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// sector is what a disk writes at once.
const sector = 512

var errEnded = errors.New("the process has ended")

// modelFS is a file system that forgets. What was not synced survives a power loss
// as chance has it: any subset of the 512-byte sectors of a file, any length between
// the old and the new one, with zeros, garbage or what a removed file held in between,
// and any subset of the changes to a folder. A failed fsync leaves its pages clean:
// the next one does not write them.
type modelFS struct {
	mu     sync.Mutex
	r      *rand.Rand
	dirs   map[string]*modelDir
	locked map[string]bool
	boot   int // handles of an earlier one fail
	// waste is what removed files held: it may come back as garbage.
	waste [][]byte

	ops                   int // changes so far
	endAt                 int // the process ends at this one; 0: never
	ended                 bool
	faulty                func(op string) error // what goes wrong
	dirFailed, syncFailed int                   // how often SyncDir and Sync failed
	removing              string                // the file that Remove is about
	skip                  string                // the call site whose fsyncs do nothing
	sites                 map[string]int        // call sites seen
	opens                 int                   // files opened
	reading               int64                 // bytes read
}

type modelDir struct {
	names, durable map[string]*modelFile
	pending        []func(map[string]*modelFile)
	exists         bool // durably
	parent         string
}

type modelFile struct {
	data, disk []byte
	dirty      map[int64]bool
}

func newModelFS(r *rand.Rand) *modelFS {
	m := &modelFS{r: r, dirs: map[string]*modelDir{}, locked: map[string]bool{}, sites: map[string]int{}}
	m.dirs["/"] = &modelDir{names: map[string]*modelFile{}, durable: map[string]*modelFile{}, exists: true}
	return m
}

// change enters one change, at which the process may end or something go wrong.
func (m *modelFS) change(op string) error {
	m.ops++
	if m.ended || m.endAt > 0 && m.ops >= m.endAt {
		m.ended = true
		return errEnded
	}
	if m.faulty != nil {
		return m.faulty(op)
	}
	return nil
}

func (m *modelFS) split(name string) (*modelDir, string, error) {
	d := m.dirs[filepath.Dir(name)]
	if d == nil {
		return nil, "", fs.ErrNotExist
	}
	return d, filepath.Base(name), nil
}

func (m *modelFS) Mkdir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[dir] != nil {
		return fs.ErrExist
	}
	if m.dirs[filepath.Dir(dir)] == nil {
		return fs.ErrNotExist
	}
	if err := m.change("mkdir"); err != nil {
		return err
	}
	m.dirs[dir] = &modelDir{names: map[string]*modelFile{}, durable: map[string]*modelFile{}, parent: filepath.Dir(dir)}
	return nil
}

func (m *modelFS) List(dir string) (files []Info, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirs[dir]
	if d == nil {
		return nil, fs.ErrNotExist
	}
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		files = append(files, Info{name, int64(len(d.names[name].data))})
	}
	return files, nil
}

func (m *modelFS) Open(name string, flag int) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.split(name)
	if err != nil {
		return nil, err
	}
	m.opens++
	f := d.names[base]
	switch {
	case f != nil && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case f == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case f == nil:
		if err := m.change("create"); err != nil {
			return nil, err
		}
		f = &modelFile{dirty: map[int64]bool{}}
		d.do(func(names map[string]*modelFile) { names[base] = f })
	case m.ended:
		return nil, errEnded
	}
	return &modelHandle{m, f, m.boot}, nil
}

func (d *modelDir) do(op func(map[string]*modelFile)) {
	op(d.names)
	d.pending = append(d.pending, op)
}

func (m *modelFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, from, err := m.split(from)
	if err != nil {
		return err
	}
	to = filepath.Base(to)
	f := d.names[from]
	if f == nil {
		return fs.ErrNotExist
	}
	if err := m.change("rename"); err != nil {
		return err
	}
	d.do(func(names map[string]*modelFile) {
		delete(names, from)
		names[to] = f
	})
	return nil
}

func (m *modelFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.split(name)
	if err != nil {
		return err
	}
	f := d.names[base]
	if f == nil {
		return fs.ErrNotExist
	}
	m.removing = base
	if err := m.change("remove"); err != nil {
		return err
	}
	m.waste = append(m.waste, f.data)
	d.do(func(names map[string]*modelFile) { delete(names, base) })
	return nil
}

func (m *modelFS) SyncDir(dir string) error {
	site := callSite()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sites[site]++
	d := m.dirs[dir]
	if err := m.change("syncdir"); err != nil {
		m.dirFailed++
		return err
	}
	if site == m.skip {
		m.soon()
		return nil
	}
	d.durable, d.pending = maps.Clone(d.names), nil
	for _, child := range m.dirs {
		if child.parent == dir {
			child.exists = true
		}
	}
	return nil
}

func (m *modelFS) Free(string) (int64, error) { return 1 << 40, nil }

func (m *modelFS) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return nil, errEnded
	}
	if m.locked[name] {
		return nil, ErrLocked
	}
	m.locked[name] = true
	return modelLock{m, name, m.boot}, nil
}

type modelLock struct {
	m    *modelFS
	name string
	boot int
}

func (l modelLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.boot == l.m.boot {
		delete(l.m.locked, l.name)
	}
	return nil
}

// restart is what comes after the end of a process: all that was written is there.
func (m *modelFS) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot++
	m.ended, m.endAt, m.ops, m.faulty = false, 0, 0, nil
	clear(m.locked)
}

// powerLoss leaves what chance lets survive, and restarts.
func (m *modelFS) powerLoss() {
	m.restart()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.dirs)) {
		d := m.dirs[name]
		if !d.exists && m.r.IntN(2) == 0 {
			delete(m.dirs, name)
			continue
		}
		d.exists = true
		names := maps.Clone(d.durable)
		odds := m.r.IntN(5) // so that none and all happen often enough
		for _, op := range d.pending {
			if m.r.IntN(4) < odds {
				op(names)
			}
		}
		d.names, d.durable, d.pending = names, maps.Clone(names), nil
		for _, name := range slices.Sorted(maps.Keys(names)) {
			names[name].powerLoss(m)
		}
	}
}

func (f *modelFile) powerLoss(m *modelFS) {
	if n := len(f.data); n > len(f.disk) && m.r.IntN(3) > 0 {
		f.extend(m, len(f.disk)+m.r.IntN(n-len(f.disk)+1))
	}
	f.persist(m, m.r.IntN(5))
	f.data, f.dirty = slices.Clone(f.disk), map[int64]bool{}
}

// extend makes the file on disk longer; what it shows then was never written to it.
func (f *modelFile) extend(m *modelFS, n int) {
	more := make([]byte, n-len(f.disk))
	switch m.r.IntN(3) {
	case 1:
		for i := range more {
			more[i] = byte(m.r.Uint32())
		}
	case 2:
		if len(m.waste) > 0 {
			copy(more, m.waste[m.r.IntN(len(m.waste))])
		}
	}
	f.disk = append(f.disk, more...)
}

// persist writes each dirty sector to disk by chance, as far as the file reaches there.
func (f *modelFile) persist(m *modelFS, odds int) {
	for _, s := range slices.Sorted(maps.Keys(f.dirty)) {
		if m.r.IntN(4) < odds && s*sector < int64(len(f.disk)) {
			copy(f.disk[s*sector:], f.data[s*sector:min((s+1)*sector, int64(len(f.data)))])
		}
	}
}

type modelHandle struct {
	m    *modelFS
	f    *modelFile
	boot int
}

func (h *modelHandle) gone() error {
	if h.m.ended || h.boot != h.m.boot {
		return errEnded
	}
	return nil
}

func (h *modelHandle) Close() error { return nil }

func (h *modelHandle) ReadAt(b []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.gone(); err != nil {
		return 0, err
	}
	if off >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(b, h.f.data[off:])
	h.m.reading += int64(n)
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *modelHandle) WriteAt(b []byte, off int64) (n int, err error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.boot != h.m.boot {
		return 0, errEnded
	}
	n = len(b)
	if err = h.m.change("write"); err != nil && n > 0 {
		n = h.m.r.IntN(n)
	}
	if end := off + int64(n); end > int64(len(h.f.data)) {
		h.f.data = append(h.f.data, make([]byte, end-int64(len(h.f.data)))...)
	}
	copy(h.f.data[off:], b[:n])
	for s := off / sector; s*sector < off+int64(n); s++ {
		h.f.dirty[s] = true
	}
	if errors.Is(err, errEnded) {
		return 0, err
	}
	return n, err
}

func (h *modelHandle) Sync() error {
	site := callSite()
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.m.sites[site]++
	if err := h.gone(); err != nil {
		return err
	}
	f := h.f
	if err := h.m.change("sync"); err != nil {
		if !errors.Is(err, errEnded) {
			h.m.syncFailed++
			f.fail(h.m)
		}
		return err
	}
	if site == h.m.skip {
		return nil
	}
	if n := len(f.data); n > len(f.disk) {
		f.disk = append(f.disk, make([]byte, n-len(f.disk))...)
	}
	f.persist(h.m, 4)
	clear(f.dirty)
	return nil
}

// soon lets the process end while the fsync that was left out still matters, for often
// another one makes up for it.
func (m *modelFS) soon() {
	if m.r.IntN(3) == 0 {
		m.endAt = m.ops + 1 + m.r.IntN(6)
	}
}

// fail is an fsync that fails: some sectors get to the disk, and all count as clean.
// The cache may go on showing what was written, or what is on disk.
func (f *modelFile) fail(m *modelFS) {
	if n := len(f.data); n > len(f.disk) && m.r.IntN(2) == 0 {
		f.extend(m, n)
	}
	f.persist(m, m.r.IntN(4))
	if m.r.IntN(2) == 0 {
		for s := range f.dirty {
			b := f.data[s*sector : min((s+1)*sector, int64(len(f.data)))]
			clear(b)
			if s*sector < int64(len(f.disk)) {
				copy(b, f.disk[s*sector:])
			}
		}
	}
	clear(f.dirty)
}

// callSite names the function of this package that calls, and the one that the package's
// user or goroutine called to get there.
func callSite() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	var inner, outer string
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.File, "_test.go") || !strings.Contains(f.File, "/spool/") {
			break
		}
		name := f.Function[strings.LastIndex(f.Function, ".")+1:]
		if inner == "" {
			inner = name
		}
		outer = name
		if !more {
			break
		}
	}
	return fmt.Sprintf("%s in %s", inner, outer)
}

// faults makes a share of the changes of some kinds fail.
func faults(r *rand.Rand, oneIn int, kinds string) func(string) error {
	return func(op string) error {
		if slices.Contains(strings.Fields(kinds), op) && r.IntN(oneIn) == 0 {
			if op == "sync" || op == "syncdir" || r.IntN(2) == 0 {
				return syscall.EIO
			}
			return syscall.ENOSPC
		}
		return nil
	}
}
