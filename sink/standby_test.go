package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/spool"
)

// awaiting is a standby whose disk opens when it is told how.
func awaiting(t *testing.T, memory int64) (s *standby, disk chan<- opened, found *atomic.Int64) {
	first := make(chan opened, 1)
	found = &atomic.Int64{}
	return newStandby(standbyOptions{first: first, memoryBytes: memory, log: slog.New(slog.DiscardHandler),
		open:    func() (Spool, error) { return nil, syscall.EIO },
		found:   func(n int) { found.Add(int64(n)) },
		evicted: func(int) {},
	}), first, found
}

func put(t *testing.T, s Spool, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if kept, _, err := s.Append([][]byte{fmt.Appendf(nil, "%d", i)}, time.Unix(int64(i), 0)); kept != 1 || err != nil {
			t.Fatalf("Append %d = %d, %v", i, kept, err)
		}
	}
}

// reader reads forward, as the sender does.
type reader struct {
	spool Spool
	at    uint64
	got   []string
}

func (r *reader) read(t *testing.T, most int) {
	t.Helper()
	entries, err := r.spool.Read(nil, r.at, most, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Position <= r.at {
			t.Errorf("position %d behind %d", e.Position, r.at)
		}
		r.at, r.got = e.Position, append(r.got, string(e.Record))
	}
}

// Records that wait in memory go to the disk when it opens, but for those being sent;
// none is lost, none comes twice, and the counts add up throughout.
func TestStandbyHandsOver(t *testing.T) {
	for handed := range 4 {
		t.Run(fmt.Sprintf("%d handed out", handed), func(t *testing.T) {
			dir := t.TempDir()
			d, err := spool.Open(spool.Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			put(t, d, 0, 2) // of an earlier process
			s, disk, found := awaiting(t, 1<<20)
			put(t, s, 2, 5)
			r := &reader{spool: s}
			r.read(t, handed)
			if s.durable() || s.Stats().Records != 3 {
				t.Errorf("before: durable %v, %+v", s.durable(), s.Stats())
			}
			disk <- opened{spool: d}
			eventually(t, "the disk takes over", s.durable)
			put(t, s, 5, 7)
			if st := s.Stats(); st.Records != 7 || found.Load() != 2 || !st.Oldest.Equal(time.Unix(0, 0)) {
				t.Errorf("after: %+v, %d found", st, found.Load())
			}
			for range 8 {
				r.read(t, 2)
			}
			seen := map[string]bool{}
			for _, g := range r.got {
				seen[g] = true
			}
			if len(r.got) != 7 || len(seen) != 7 {
				t.Errorf("read %v", r.got)
			}
			if err := s.Trim(r.at); err != nil || s.Stats().Records != 0 || s.memory.Stats().Records != 0 {
				t.Errorf("trimmed: %v, %+v, in memory %+v", err, s.Stats(), s.memory.Stats())
			}
			put(t, s, 7, 8)
			if lost, err := s.Close(); lost != 0 || err != nil {
				t.Errorf("Close = %d, %v", lost, err)
			}
			if st, err := spool.Status(dir, nil); err != nil || st.Records != 1 {
				t.Errorf("left on disk %+v, %v", st, err)
			}
		})
	}
}

// What is being sent from memory when the disk opens gets there at the end; without a
// disk it is lost, and said so.
func TestStandbyClosedWithRecordsInMemory(t *testing.T) {
	dir := t.TempDir()
	d, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s, disk, _ := awaiting(t, 1<<20)
	put(t, s, 0, 5)
	(&reader{spool: s}).read(t, 2)
	disk <- opened{spool: d}
	eventually(t, "the disk takes over", s.durable)
	if lost, err := s.Close(); lost != 0 || err != nil {
		t.Errorf("Close = %d, %v", lost, err)
	}
	if st, err := spool.Status(dir, nil); err != nil || st.Records != 5 {
		t.Errorf("left on disk %+v, %v", st, err)
	}
	s, disk, _ = awaiting(t, 1<<20)
	put(t, s, 0, 5)
	if lost, err := s.Close(); lost != 5 || err != nil {
		t.Errorf("Close without a disk = %d, %v", lost, err)
	}
	disk <- opened{err: syscall.EIO} // too late
}

// A disk that fails is tried again, less and less often, and Close waits for none.
func TestStandbyKeepsTrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := make(chan opened, 1)
		first <- opened{err: syscall.ENOSPC}
		var tries []time.Time
		hang := make(chan struct{})
		s := newStandby(standbyOptions{first: first, memoryBytes: 200, log: slog.New(slog.DiscardHandler),
			found: func(int) {}, evicted: func(int) {},
			open: func() (Spool, error) {
				if tries = append(tries, time.Now()); len(tries) > 7 {
					<-hang
				}
				return nil, syscall.ENOSPC
			}})
		put(t, s, 0, 3)
		if kept, _, err := s.Append([][]byte{nil}, time.Now()); kept != 0 || !errors.Is(err, spool.ErrFull) {
			t.Errorf("over the memory = %d, %v", kept, err)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if len(tries) != 8 || tries[7].Sub(tries[6]) != reopenMax || tries[1].Sub(tries[0]) != 2*reopenMin {
			t.Errorf("tried at %v", tries)
		}
		began := time.Now()
		if lost, err := s.Close(); lost != 3 || err != nil || time.Since(began) != 0 {
			t.Errorf("Close = %d, %v after %s", lost, err, time.Since(began))
		}
		close(hang)
	})
}

// gatedFS lets no folder be read until the gate opens: err is what it says, nil to hang.
type gatedFS struct {
	spool.OS
	gate chan struct{}
	err  error
}

func (g gatedFS) List(dir string) ([]spool.Info, error) {
	if g.err == nil {
		<-g.gate
	}
	select {
	case <-g.gate:
		return g.OS.List(dir)
	default:
		return nil, g.err
	}
}

// A disk that fails or hangs does not keep the sink from its start; what is recorded
// meanwhile waits in memory, and moves to the disk when it is back.
func TestStartWithoutTheDisk(t *testing.T) {
	for name, err := range map[string]error{"fails": &fs.PathError{Op: "open", Err: syscall.EIO}, "hangs": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "spool")
			var c tally
			var l logs
			s := on(t, newBroker(deaf), onDisk(dir))
			record(t, s, &c, 0, 10)
			eventually(t, "spooling", func() bool { return s.Snapshot().InFlight == 0 })
			if err := closeIn(t, s, 200*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			gate := gatedFS{gate: make(chan struct{}), err: err}
			began := time.Now()
			s = on(t, newBroker(deaf), func(o *Options) {
				o.Disk, o.Logger = &spool.Options{Dir: dir, FS: gate}, l.logger()
			})
			if took := time.Since(began); took > openPatience+time.Second {
				t.Errorf("the start took %s", took)
			}
			record(t, s, &c, 10, 30)
			eventually(t, "spooling", func() bool { return s.Snapshot().Spooled == 20 })
			if l.count("records wait in memory") != 1 {
				t.Errorf("logged %s", l.lines.String())
			}
			close(gate.gate)
			eventually(t, "the disk", func() bool { return durable(s.spool) })
			if got := want(t, s, 0, 30); got.Recovered != 10 {
				t.Errorf("ledger %+v", got)
			}
			if err := closeIn(t, s, 200*time.Millisecond); err != nil {
				t.Error(err)
			}
			want(t, s, 0, 30)
			if st, err := spool.Status(dir, nil); err != nil || st.Records != 30 {
				t.Errorf("on disk %+v, %v", st, err)
			}
			c.check(t)
		})
	}
}

// What no time will heal stops the start, with the folder's name.
func TestSpoolThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	owner, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "taken")})
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]spool.Options{
		"taken":   {Dir: filepath.Join(dir, "taken")},
		"no dir":  {Dir: filepath.Join(file, "spool")},
		"setting": {Dir: filepath.Join(dir, "new"), MaxBytes: 1},
		"denied":  {Dir: filepath.Join(dir, "denied"), FS: denied{}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{Kafka: KafkaOptions{Brokers: []string{"b:1"}, Topic: "t"}, Disk: &o})
			if !errors.Is(err, ErrInvalidOptions) {
				t.Errorf("New = %v", err)
			}
		})
	}
}

type denied struct{ spool.OS }

func (denied) Mkdir(dir string) error {
	return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.EACCES}
}

// Appends, reads and trims race with the disk that opens.
func TestStandbyUnderRaces(t *testing.T) {
	const n = 5000
	d, err := spool.Open(spool.Options{Dir: t.TempDir(), Fsync: spool.Never})
	if err != nil {
		t.Fatal(err)
	}
	s, disk, _ := awaiting(t, 64<<20)
	var all sync.WaitGroup
	all.Go(func() { put(t, s, 0, n) })
	r := &reader{spool: s}
	all.Go(func() {
		for len(r.got) < n && !t.Failed() {
			r.read(t, 64)
			if err := s.Trim(r.at); err != nil {
				t.Error(err)
			}
			_ = s.Stats()
		}
	})
	eventually(t, "some records", func() bool { return s.memory.Stats().Records > 0 || s.Stats().Records == 0 })
	disk <- opened{spool: d}
	all.Wait()
	for i, got := range r.got {
		if got != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, got)
		}
	}
	if lost, err := s.Close(); lost != 0 || err != nil {
		t.Errorf("Close = %d, %v", lost, err)
	}
}
