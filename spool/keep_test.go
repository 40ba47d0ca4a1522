package spool

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// While fsyncs fail, what is acknowledged is in memory, whole; what would not fit there
// is refused. When they succeed again, nothing acknowledged is lost, and power may go.
func TestFsyncsThatFailForLong(t *testing.T) {
	const budget = 8 << 10
	m := memoryFS()
	now := time.Unix(1e9, 0)
	d := mustOpen(t, Options{Dir: "/s", FS: m, SegmentBytes: 2 << 10, UnsyncedBytes: budget, manual: true,
		Now: func() time.Time { return now }})
	m.faulty = func(op string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	}
	acknowledged, refused := 0, 0
	for i := range 100 {
		kept, _, err := d.Append(batch(i*10, 10), now)
		if kept < 10 && (!errors.Is(err, ErrDisk) || !errors.Is(err, syscall.EIO) && !errors.Is(err, errAtRisk)) {
			t.Fatalf("%d kept, %v", kept, err)
		}
		acknowledged, refused = acknowledged+kept, refused+10-kept
		if now = now.Add(rescuePause / 4); i%3 == 0 {
			_ = d.syncRound() // fails
		}
		if d.keptBytes > budget {
			t.Fatalf("%d bytes in memory", d.keptBytes)
		}
	}
	if acknowledged < 100 || refused < 100 {
		t.Errorf("%d acknowledged, %d refused: want some of both", acknowledged, refused)
	}
	m.faulty = nil
	now = now.Add(rescuePause)
	if err := d.syncRound(); err != nil {
		t.Fatal(err)
	}
	if d.keptBytes != 0 {
		t.Errorf("%d bytes are still in memory", d.keptBytes)
	}
	mustAppend(t, d, batch(1000, 10))
	if n := len(texts(readAll(t, d))); n != acknowledged+10 || d.Stats().Corrupt != 0 {
		t.Errorf("%d records read, %d acknowledged; %+v", n, acknowledged+10, d.Stats())
	}
	if err := d.syncRound(); err != nil {
		t.Fatal(err)
	}
	m.powerLoss()
	d = mustOpen(t, d.o)
	if n := len(readAll(t, d)); n != acknowledged+10 || d.Stats().Corrupt != 0 {
		t.Errorf("%d records after a power loss, %d acknowledged; %+v", n, acknowledged+10, d.Stats())
	}
}

// An append that memory has no room for waits for the fsync, and is kept.
func TestAppendWaitsForRoom(t *testing.T) {
	s := &slowFS{modelFS: memoryFS(), hung: make(chan struct{}), release: make(chan struct{})}
	d := mustOpen(t, Options{Dir: "/s", FS: s, UnsyncedBytes: 4 << 10})
	var acknowledged atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20 {
			mustAppend(t, d, batch(i*10, 10))
			acknowledged.Add(10)
		}
	}()
	<-s.hung
	time.Sleep(50 * time.Millisecond)
	if n := acknowledged.Load(); n > 150 {
		t.Errorf("%d records of 42 bytes and more were acknowledged behind an fsync that hangs", n)
	}
	close(s.release)
	<-done
	mustAppend(t, d, [][]byte{make([]byte, 64<<10)}) // over the bound, but alone
	if n := len(readAll(t, d)); n != 201 {
		t.Errorf("%d records", n)
	}
}

func TestDiskFree(t *testing.T) {
	d := mustOpen(t, Options{Dir: t.TempDir()})
	if free := d.Stats().DiskFree; free <= 0 {
		t.Errorf("%d bytes free", free)
	}
	if free := NewMemory(1).Stats().DiskFree; free != -1 {
		t.Errorf("a spool in memory says that %d bytes of disk are free", free)
	}
}
