package spool

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// holdDir, in the environment, makes the test binary a process that owns that folder
// until its standard input ends.
const holdDir = "SPOOL_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdDir); dir != "" {
		if _, err := Open(Options{Dir: dir}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("open")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// store is what the sink needs of a spool, as it would say.
type store interface {
	Append(records [][]byte, at time.Time) (kept, evicted int, err error)
	Read(dst []Entry, after uint64, maxRecords, maxBytes int) ([]Entry, error)
	Trim(upTo uint64) error
	Stats() Stats
	Close() (lost int, err error)
}

var (
	_ store = (*Disk)(nil)
	_ store = (*Memory)(nil)
)

var noon = time.Unix(1e9, 0)

func mustOpen(t testing.TB, o Options) *Disk {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = d.Close() })
	return d
}

func batch(from, n int) (records [][]byte) {
	for i := range n {
		records = append(records, fmt.Appendf(nil, "record %d", from+i))
	}
	return records
}

func mustAppend(t testing.TB, d store, records [][]byte) {
	t.Helper()
	if kept, evicted, err := d.Append(records, noon); err != nil || kept != len(records) || evicted != 0 {
		t.Fatalf("kept %d, evicted %d: %v", kept, evicted, err)
	}
}

func readAll(t testing.TB, d store) (entries []Entry) {
	t.Helper()
	var after uint64
	for {
		n := len(entries)
		var err error
		if entries, err = d.Read(entries, after, 100, 1<<20); err != nil {
			t.Fatal(err)
		}
		if len(entries) == n {
			return entries
		}
		after = entries[len(entries)-1].Position
	}
}

func texts(entries []Entry) (s []string) {
	for _, e := range entries {
		s = append(s, string(e.Record))
	}
	return s
}

func memoryFS() *modelFS { return newModelFS(rand.New(rand.NewPCG(1, 1))) }

// What a graceful end leaves, the next process has, no more and no less.
func TestRestart(t *testing.T) {
	for _, mode := range []Fsync{Always, Interval, Never} {
		t.Run(string(mode), func(t *testing.T) {
			o := Options{Dir: filepath.Join(t.TempDir(), "a", "spool"), Fsync: mode, MaxBytes: 1 << 20, SegmentBytes: 1 << 10}
			d := mustOpen(t, o)
			mustAppend(t, d, batch(0, 100))
			entries := readAll(t, d)
			if err := d.Trim(entries[41].Position); err != nil {
				t.Fatal(err)
			}
			before := d.Stats()
			if lost, err := d.Close(); lost != 0 || err != nil {
				t.Fatal(lost, err)
			}
			d = mustOpen(t, o)
			if st := d.Stats(); st.Records != 58 || before.Records != 58 || !st.Oldest.Equal(noon) {
				t.Errorf("%+v, before %+v", st, before)
			}
			mustAppend(t, d, batch(100, 1))
			got := readAll(t, d)
			if want := texts(slices.Concat(entries[42:], []Entry{{Record: []byte("record 100")}})); !slices.Equal(texts(got), want) {
				t.Errorf("got %q", texts(got))
			}
			if got[58].Position <= entries[99].Position {
				t.Error("a position came twice")
			}
		})
	}
}

func TestAppendAfterClose(t *testing.T) {
	d := mustOpen(t, Options{Dir: t.TempDir()})
	if _, err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := d.Append(batch(0, 1), noon)
	_, rerr := d.Read(nil, 0, 1, 1)
	_, cerr := d.Close()
	for _, err := range []error{err, rerr, d.Trim(1), cerr} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func TestOneProcessOwnsTheFolder(t *testing.T) {
	dir := t.TempDir()
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), holdDir+"="+dir)
	in, _ := other.StdinPipe()
	out, _ := other.StdoutPipe()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	if n, _ := out.Read(line); string(line[:n]) != "open\n" {
		t.Fatalf("the other process says %q", line[:n])
	}
	_, err := Open(Options{Dir: dir})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "stop that process") {
		t.Errorf("got %v", err)
	}
	if _, err := Status(dir, nil); err != nil {
		t.Error(err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	_ = other.Wait()
	mustOpen(t, Options{Dir: dir})
}

func TestOptionsAreChecked(t *testing.T) {
	for field, o := range map[string]Options{
		"dir":      {},
		"maxBytes": {Dir: "x", MaxBytes: 100},
		"fsync":    {Dir: "x", Fsync: "sometimes"},
		"full":     {Dir: "x", Full: "explode"},
	} {
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestFullDropsNewest(t *testing.T) {
	d := mustOpen(t, Options{Dir: "/s", FS: memoryFS(), MaxBytes: 16 << 10, manual: true})
	var sum int
	for {
		kept, evicted, err := d.Append(batch(sum, 10), noon)
		sum += kept
		if evicted != 0 {
			t.Fatal("evicted")
		}
		if err != nil {
			if !errors.Is(err, ErrFull) || kept == 10 {
				t.Fatal(kept, err)
			}
			break
		}
	}
	entries := readAll(t, d)
	if len(entries) != sum || d.Stats().Records != sum {
		t.Fatalf("%d of %d there", len(entries), sum)
	}
	if err := d.Trim(entries[sum-1].Position); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, d, batch(sum, 10))
}

func TestFullDropsOldestThatNobodyReads(t *testing.T) {
	d := mustOpen(t, Options{Dir: "/s", FS: memoryFS(), MaxBytes: 16 << 10, Full: DropOldest, manual: true})
	mustAppend(t, d, batch(0, 1))
	held, err := d.Read(nil, 0, 1, 1)
	if err != nil || len(held) != 1 {
		t.Fatal(held, err)
	}
	sum, gone := 1, 0
	for gone == 0 || sum < 2000 {
		kept, evicted, err := d.Append(batch(sum, 10), noon)
		if err != nil || kept != 10 {
			t.Fatal(kept, err)
		}
		sum, gone = sum+kept, gone+evicted
	}
	entries := readAll(t, d)
	if !bytes.Equal(entries[0].Record, held[0].Record) {
		t.Error("a record that was handed out is gone")
	}
	if len(entries)+gone != sum || d.Stats().Records != len(entries) {
		t.Errorf("%d there, %d evicted of %d", len(entries), gone, sum)
	}
	if d.Stats().Bytes > 16<<10 {
		t.Errorf("%d bytes", d.Stats().Bytes)
	}
}

func TestTooLarge(t *testing.T) {
	d := mustOpen(t, Options{Dir: "/s", FS: memoryFS(), MaxBytes: 16 << 10, manual: true})
	kept, _, err := d.Append([][]byte{{1}, make([]byte, 8<<10), {2}}, noon)
	if kept != 1 || !errors.Is(err, ErrTooLarge) {
		t.Error(kept, err)
	}
	mustAppend(t, d, [][]byte{make([]byte, 3<<10)}) // over a segment, and fine
	if entries := readAll(t, d); len(entries) != 2 || len(entries[1].Record) != 3<<10 {
		t.Error(len(entries))
	}
}

// A full disk costs the records that don't fit; it recovers by itself, and trimming
// goes on from the reserve.
func TestDiskFull(t *testing.T) {
	now := noon
	m := memoryFS()
	d := mustOpen(t, Options{Dir: "/s", FS: m, MaxBytes: 64 << 10, SegmentBytes: 2 << 10, manual: true,
		Now: func() time.Time { return now }})
	mustAppend(t, d, batch(0, 200))
	m.faulty = func(op string) error {
		if op == "write" || op == "create" {
			return syscall.ENOSPC
		}
		return nil
	}
	for range 3 {
		kept, _, err := d.Append(batch(200, 5), noon)
		if kept == 5 || !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(kept, err)
		}
	}
	m.faulty = nil
	if _, _, err := d.Append(batch(200, 5), noon); !errors.Is(err, ErrDisk) {
		t.Error("the disk is tried again at once")
	}
	now = now.Add(-time.Hour) // a clock that jumps must not hold it up
	given := false
	m.faulty = func(op string) error {
		given = given || m.removing == reserveName
		if d.reserve && (op == "write" || op == "remove" && m.removing != reserveName) {
			return syscall.ENOSPC
		}
		return nil
	}
	entries := readAll(t, d)
	if err := d.Trim(entries[len(entries)-1].Position); err != nil {
		t.Errorf("trimming needs space: %v", err)
	}
	if m.faulty = nil; !given {
		t.Error("the reserve was not needed")
	}
	mustAppend(t, d, batch(300, 5))
	if got := readAll(t, d); len(got) != 5 {
		t.Errorf("%q", texts(got))
	}
}

// An append whose fsync fails is acknowledged from another segment, or not at all.
func TestFailedFsyncIsNotRetried(t *testing.T) {
	m := memoryFS()
	d := mustOpen(t, Options{Dir: "/s", FS: m, Fsync: Always, manual: true})
	mustAppend(t, d, batch(0, 3))
	first := d.active
	failures := 0
	m.faulty = func(op string) error {
		if op == "sync" && failures == 0 {
			failures++
			return syscall.EIO
		}
		return nil
	}
	mustAppend(t, d, batch(3, 3))
	if d.active == first || d.Stats().Abandoned != 1 {
		t.Error("the segment was not abandoned")
	}
	m.faulty = nil
	m.powerLoss()
	d = mustOpen(t, d.o)
	if got, want := texts(readAll(t, d)), "[record 0 record 1 record 2 record 3 record 4 record 5]"; fmt.Sprint(got) != want {
		t.Errorf("got %q", got)
	}
}

// slowFS has an fsync that hangs until release.
type slowFS struct {
	*modelFS
	once    sync.Once
	hung    chan struct{}
	release chan struct{}
}

type slowFile struct {
	File
	fs *slowFS
}

func (s *slowFS) Open(name string, flag int) (File, error) {
	f, err := s.modelFS.Open(name, flag)
	return slowFile{f, s}, err
}

func (f slowFile) Sync() error {
	f.fs.once.Do(func() { close(f.fs.hung) })
	<-f.fs.release
	return f.File.Sync()
}

// While an fsync of the interval hangs, appends go on and are read, and LastSync says
// what is at risk.
func TestAppendsGoOnWhileAnFsyncHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowFS{modelFS: memoryFS(), hung: make(chan struct{}), release: make(chan struct{})}
		d, err := Open(Options{Dir: "/s", FS: s, MaxBytes: 1 << 20, SegmentBytes: 1 << 10})
		if err != nil {
			t.Fatal(err)
		}
		opened := d.Stats().LastSync
		mustAppend(t, d, batch(0, 10))
		<-s.hung
		for i := range 50 {
			time.Sleep(20 * time.Millisecond)
			mustAppend(t, d, batch(10+i*10, 10))
		}
		if n := len(readAll(t, d)); n != 510 {
			t.Errorf("%d records", n)
		}
		if last := d.Stats().LastSync; last.Sub(opened) > 100*time.Millisecond {
			t.Errorf("synced at %v", last)
		}
		close(s.release)
		time.Sleep(300 * time.Millisecond)
		if age := time.Since(d.Stats().LastSync); age > 200*time.Millisecond {
			t.Errorf("synced %v ago", age)
		}
		if _, err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// brokenReads is a file system whose blocks around one offset can't be read.
type brokenReads struct{ *modelFS }

type brokenFile struct{ File }

func (b brokenReads) Open(name string, flag int) (File, error) {
	f, err := b.modelFS.Open(name, flag)
	if strings.HasSuffix(name, "open") || strings.HasSuffix(name, "full") || strings.HasSuffix(name, "done") {
		return brokenFile{f}, err
	}
	return f, err
}

func (b brokenFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 6000 && off+int64(len(p)) > 5000 {
		return 0, syscall.EIO
	}
	return b.File.ReadAt(p, off)
}

// A block that can't be read does not hold up what is behind it.
func TestUnreadableBlock(t *testing.T) {
	d := mustOpen(t, Options{Dir: "/s", FS: brokenReads{memoryFS()}, Fsync: Always, manual: true})
	mustAppend(t, d, batch(0, 500))
	var entries []Entry
	var err error
	failed := 0
	for len(entries) == 0 {
		if entries, err = d.Read(nil, 0, 1000, 1<<20); err != nil {
			failed++
		}
	}
	lost := 0
	for _, e := range entries {
		if e.Record == nil {
			lost++
		}
	}
	if failed != readAttempts-1 || len(entries) != 500 || lost == 0 || lost > 2*blockBytes/40 || d.Stats().Corrupt != lost {
		t.Errorf("%d failures, %d records, %d lost, %+v", failed, len(entries), lost, d.Stats())
	}
}

// Open looks at the folder, not into the segments: a backlog of any size.
func TestOpenReadsNames(t *testing.T) {
	m := memoryFS()
	o := Options{Dir: "/s", FS: m, MaxBytes: 64 << 20, SegmentBytes: 64 << 10, Fsync: Never, manual: true}
	d := mustOpen(t, o)
	record := make([]byte, 4<<10)
	for range 4000 {
		mustAppend(t, d, [][]byte{record})
	}
	if _, err := d.Close(); err != nil {
		t.Fatal(err)
	}
	m.opens, m.reading = 0, 0
	began := time.Now()
	o.Fsync = Always
	d = mustOpen(t, o)
	st := d.Stats()
	t.Logf("%d segments, %d bytes: %d files opened, %d bytes read, %v", st.Segments, st.Bytes, m.opens, m.reading, time.Since(began))
	if st.Records != 4000 || m.opens > 10 || m.reading > 2*scanBytes {
		t.Errorf("%+v, %d files opened, %d bytes read", st, m.opens, m.reading)
	}
}

// Producer, consumer and observer at once, across segments and evictions.
func TestConcurrentUse(t *testing.T) {
	for _, mode := range []Fsync{Always, Interval} {
		t.Run(string(mode), func(t *testing.T) {
			d := mustOpen(t, Options{Dir: t.TempDir(), MaxBytes: 64 << 10, Full: DropOldest, Fsync: mode, Interval: time.Millisecond})
			const n = 3000
			done := make(chan int)
			go func() {
				gone := 0
				for i := range n / 10 {
					kept, evicted, err := d.Append(batch(i*10, 10), time.Now())
					if err != nil && !errors.Is(err, ErrFull) {
						t.Error(err)
					}
					gone += 10 - kept + evicted
				}
				done <- gone
			}()
			seen, last, gone := 0, uint64(0), -1
			for gone < 0 || seen+gone < n {
				select {
				case gone = <-done:
				default:
				}
				entries, err := d.Read(nil, last, 50, 1<<10)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if e.Record == nil || e.Position <= last {
						t.Fatalf("%+v after %x", e, last)
					}
					last = e.Position
				}
				seen += len(entries)
				if err := d.Trim(last); err != nil {
					t.Fatal(err)
				}
				_ = d.Stats()
			}
			if st := d.Stats(); st.Records != 0 || seen+gone != n {
				t.Errorf("%+v, %d seen, %d gone", st, seen, gone)
			}
		})
	}
}
