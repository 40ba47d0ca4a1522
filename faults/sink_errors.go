package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/understudy-serving/understudy/spool"
)

// flaky is the operating system's file system with errors. A write that fails may have
// written a part. An fsync that fails drops what was written since the last good one,
// and the next one succeeds, as Linux does. Files that failed are remembered under the
// names that they have.
type flaky struct {
	spool.OS
	mu    sync.Mutex
	files map[string]*flakyState
	// writeFails and syncFails are chances.
	writeFails, syncFails float64
	writes, syncs         int // failed ones
	// retried counts writes to a segment in which a write had failed, and fsyncs of one
	// whose fsync had. late counts writes to the latter: some may be under way just then.
	retried, late int
}

// flakyState is what is known of a file.
type flakyState struct {
	writeFailed, syncFailed bool
	dirty                   []extent // written since the last fsync
}

type extent struct{ off, size int64 }

func newFlaky() *flaky { return &flaky{files: map[string]*flakyState{}} }

// fail sets the chances that a write and an fsync fail.
func (f *flaky) fail(write, sync float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writeFails, f.syncFails = write, sync
}

func (f *flaky) SyncDir(string) error { return nil } // folders are the model test's matter

func (f *flaky) Open(name string, flag int) (spool.File, error) {
	file, err := f.OS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.files[name]
	if s == nil {
		s = &flakyState{}
		f.files[name] = s
	}
	// The mark is one small file, written in place for ever, and the reserve is nothing.
	extension := filepath.Ext(name)
	return &flakyFile{file, f, s, extension != ".mark" && extension != ""}, nil
}

func (f *flaky) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.files[from]; s != nil {
		f.files[to] = s
		delete(f.files, from)
	}
	return f.OS.Rename(from, to)
}

func (f *flaky) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.files, name)
	return f.OS.Remove(name)
}

type flakyFile struct {
	spool.File
	fs      *flaky
	state   *flakyState
	segment bool
}

func (f *flakyFile) WriteAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch {
	case f.segment && f.state.writeFailed:
		f.fs.retried++
	case f.segment && f.state.syncFailed:
		f.fs.late++
	}
	if rand.Float64() >= f.fs.writeFails {
		f.state.dirty = append(f.state.dirty, extent{off, int64(len(b))})
		return f.File.WriteAt(b, off)
	}
	f.fs.writes++
	f.state.writeFailed = true
	n := 0
	if part := rand.IntN(len(b) + 1); part > 0 {
		n, _ = f.File.WriteAt(b[:part], off)
		f.state.dirty = append(f.state.dirty, extent{off, int64(n)})
	}
	return n, &os.PathError{Op: "write", Path: "flaky", Err: syscall.EIO}
}

func (f *flakyFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.segment && f.state.syncFailed {
		f.fs.retried++
	}
	dirty := f.state.dirty
	f.state.dirty = nil
	if rand.Float64() >= f.fs.syncFails {
		return nil
	}
	f.fs.syncs++
	f.state.syncFailed = true
	for _, e := range dirty {
		if _, err := f.File.WriteAt(make([]byte, e.size), e.off); err != nil {
			return err
		}
	}
	return &os.PathError{Op: "sync", Path: "flaky", Err: syscall.EIO}
}

// bookkeeper appends numbered records to a spool, and knows what became of each.
type bookkeeper struct {
	disk     *spool.Disk
	skipped  atomic.Int64 // seconds by which the spool's clock is ahead
	appended int
	acked    map[int]bool
	read     map[int]bool
	position uint64
	last     int // the number read last

	refused, empty, phantom, disorder, twice int
}

func (b *bookkeeper) now() time.Time {
	return time.Now().Add(time.Duration(b.skipped.Load()) * time.Second)
}

// append offers one record; the clock skips a second, so that a pause after an error
// is over.
func (b *bookkeeper) append() {
	b.skipped.Add(1)
	b.appended++
	kept, _, err := b.disk.Append([][]byte{numbered(b.appended)}, b.now())
	if err == nil && kept == 1 {
		b.acked[b.appended] = true
		return
	}
	b.refused++
}

func numbered(n int) []byte { return fmt.Appendf(nil, "record %08d %*s", n, n%300, "") }

// consume reads and trims what there is, up to some records. It does not mind errors:
// what can't be read is asked for again, what can't be trimmed comes twice.
func (b *bookkeeper) consume(most int) {
	entries, err := b.disk.Read(nil, b.position, most, 1<<20)
	if err != nil || len(entries) == 0 {
		return
	}
	for _, e := range entries {
		b.position = e.Position
		b.take(e.Record)
	}
	_ = b.disk.Trim(b.position)
}

func (b *bookkeeper) take(record []byte) {
	if record == nil {
		b.empty++
		return
	}
	var n int
	if _, err := fmt.Sscanf(string(record), "record %d", &n); err != nil || n < 1 || n > b.appended ||
		string(numbered(n)) != string(record) || !b.acked[n] {
		b.phantom++
		return
	}
	if b.read[n] {
		b.twice++
		return
	}
	b.read[n] = true
	if n < b.last {
		b.disorder++
	}
	b.last = n
}

// missing counts acknowledged records that were not read.
func (b *bookkeeper) missing() (n int) {
	for k := range b.acked {
		if !b.read[k] {
			n++
		}
	}
	return n
}

// diskErrors runs a spool on a flaky disk in each mode of fsync that promises something.
func diskErrors(ctx context.Context, r *rig, f *finding) error {
	for _, mode := range []spool.Fsync{spool.Always, spool.Interval} {
		fs := newFlaky()
		b, abandoned, err := keepBooks(ctx, r, fs, mode)
		if err != nil {
			return fmt.Errorf("fsync %s: %w", mode, err)
		}
		lost := b.missing()
		f.check(fs.writes > 0 && fs.syncs > 0 && abandoned > 0, "fsync %s: %d writes and %d fsyncs failed, %d segments abandoned",
			mode, fs.writes, fs.syncs, abandoned)
		f.check(fs.retried == 0, "%d tried again on the same file", fs.retried)
		f.note("%d writes were under way beside a failing fsync", fs.late)
		f.check(lost == 0 && b.empty == 0, "%d of %d acknowledged records lost, %d damaged, %d refused", lost, len(b.acked), b.empty, b.refused)
		f.check(b.phantom == 0 && b.disorder == 0, "%d records that were refused or altered, %d out of order; %d came twice",
			b.phantom, b.disorder, b.twice)
	}
	return nil
}

// keepBooks appends and consumes while the disk fails, heals it, and reads the rest with
// another process's eyes.
func keepBooks(ctx context.Context, r *rig, fs *flaky, mode spool.Fsync) (b *bookkeeper, abandoned int, err error) {
	dir, err := r.folder("flaky")
	if err != nil {
		return nil, 0, err
	}
	b = &bookkeeper{acked: map[int]bool{}, read: map[int]bool{}}
	options := spool.Options{Dir: dir, FS: fs, MaxBytes: 64 << 20, SegmentBytes: 64 << 10,
		// Less than what comes while fsyncs fail.
		Fsync: mode, Interval: 2 * time.Millisecond, UnsyncedBytes: 16 << 10, Now: b.now}
	if b.disk, err = spool.Open(options); err != nil {
		return nil, 0, err
	}
	fs.fail(0.02, map[spool.Fsync]float64{spool.Always: 0.02, spool.Interval: 0.2}[mode])
	n := pick(r, 40_000, 8_000)
	for i := range n {
		if i%1000 == 0 {
			r.progress("fsync %s: record %d of %d", mode, i, n)
			if ctx.Err() != nil {
				return nil, 0, context.Cause(ctx)
			}
		}
		b.append()
		if i%16 == 0 && mode == spool.Interval {
			_ = rest(ctx, time.Millisecond) // for rounds of fsync to come in between
		}
		if i%64 == 0 {
			b.consume(40)
		}
	}
	abandoned = b.disk.Stats().Abandoned
	fs.fail(0, 0)
	return b, abandoned, b.reopen(options)
}

// reopen closes the spool, opens it again and reads all that is left.
func (b *bookkeeper) reopen(options spool.Options) (err error) {
	if _, err := b.disk.Close(); err != nil {
		return err
	}
	if b.disk, err = spool.Open(options); err != nil {
		return err
	}
	for range 1000 { // more than enough
		b.consume(1000)
	}
	if left := b.disk.Stats().Records; left > 0 {
		return fmt.Errorf("%d records can't be read from a disk that is well again", left)
	}
	_, err = b.disk.Close()
	return err
}
