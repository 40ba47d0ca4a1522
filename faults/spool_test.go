package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/spool"
)

// The rows that need no gateway run here too, as small as they come.
func TestSpecimens(t *testing.T) {
	all, err := specimens(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("%d specimens, want that of a killed process and that of a closed one", len(all))
	}
	for _, s := range all {
		var d damage
		for name := range s.files {
			dir := filepath.Join(t.TempDir(), "laid")
			if err := s.lay(dir, name, 0, 0); err != nil { // nothing flipped
				t.Fatal(err)
			}
			s.inspect(dir, false, "nothing", &d)
		}
		if d.refused+d.costly+d.altered+d.uncounted+d.lost > 0 || d.flips != len(s.files) {
			t.Errorf("%s, undamaged: %+v", s.name, d)
		}
	}
}

func TestCompareSeesDamage(t *testing.T) {
	want := [][]byte{[]byte("one"), []byte("two"), []byte("three")}
	entry := func(text string) spool.Entry { return spool.Entry{Record: []byte(text)} }
	gone := spool.Entry{}
	for name, c := range map[string]struct {
		entries []spool.Entry
		corrupt int
		mark    bool
		ok      bool
	}{
		"whole":             {[]spool.Entry{entry("one"), entry("two"), entry("three")}, 0, false, true},
		"one lost, counted": {[]spool.Entry{entry("one"), gone, entry("three")}, 1, false, true},
		"uncounted":         {[]spool.Entry{entry("one"), gone, entry("three")}, 0, false, false},
		"unseen":            {[]spool.Entry{entry("one"), entry("three")}, 0, false, false},
		"two lost":          {[]spool.Entry{gone, gone, entry("three")}, 2, false, false},
		"altered":           {[]spool.Entry{entry("one"), entry("twO"), entry("three")}, 0, false, false},
		"swapped":           {[]spool.Entry{entry("two"), entry("one"), entry("three")}, 0, false, false},
		"lost for a mark":   {[]spool.Entry{entry("one"), gone, entry("three")}, 1, true, false},
	} {
		var d damage
		specimen{}.compare(c.entries, want, len(c.entries)-1, c.mark, spool.Stats{Corrupt: c.corrupt}, name, &d)
		if ok := d.costly+d.altered+d.uncounted == 0; ok != c.ok || ok != (d.first == "") {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// A failed fsync loses what was written since the last good one, and is not repeated by
// accident.
func TestFlaky(t *testing.T) {
	fs := newFlaky()
	name := filepath.Join(t.TempDir(), "1.open")
	f, err := fs.Open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(text string, off int64) {
		t.Helper()
		if _, err := f.WriteAt([]byte(text), off); err != nil {
			t.Fatal(err)
		}
	}
	write("kept", 0)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	write("lost", 4)
	fs.fail(0, 1)
	if err := f.Sync(); err == nil {
		t.Fatal("the fsync did not fail")
	}
	fs.fail(0, 0)
	var got [8]byte
	if _, err := f.ReadAt(got[:], 0); err != nil || !bytes.Equal(got[:], []byte("kept\x00\x00\x00\x00")) {
		t.Errorf("the file has %q, %v", got, err)
	}
	if err := f.Sync(); err != nil || fs.retried != 1 || fs.syncs != 1 {
		t.Errorf("%v, %d fsyncs failed, %d tried again, want 1 and 1", err, fs.syncs, fs.retried)
	}
	renamed := filepath.Join(filepath.Dir(name), "1.full")
	if err := fs.Rename(name, renamed); err != nil {
		t.Fatal(err)
	}
	again, err := fs.Open(renamed, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.WriteAt([]byte("x"), 8); err != nil || fs.late != 1 {
		t.Errorf("%v, %d late writes: a file keeps its past under another name", err, fs.late)
	}
	fs.fail(1, 0)
	if n, err := again.WriteAt(make([]byte, 10), 9); err == nil || n > 10 || fs.writes != 1 {
		t.Errorf("%d bytes and %v of a write that fails", n, err)
	}
}

func TestBookkeeper(t *testing.T) {
	b := &bookkeeper{appended: 9, acked: map[int]bool{1: true, 2: true, 3: true, 4: true}, read: map[int]bool{}}
	for _, record := range [][]byte{numbered(1), numbered(3), numbered(2), numbered(2), nil, numbered(9), []byte("what?"), append(numbered(4), 'x')} {
		b.take(record)
	}
	if b.disorder != 1 || b.twice != 1 || b.empty != 1 || b.phantom != 3 || b.missing() != 1 {
		t.Errorf("%d out of order, %d twice, %d empty, %d phantoms, %d missing, want 1, 1, 1, 3, 1", b.disorder, b.twice, b.empty, b.phantom, b.missing())
	}
}

// Whole rows, small: what the spool promises must hold for them to.
func TestSpoolRows(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	r := &rig{quick: true, dir: t.TempDir(), progress: func(string, ...any) {}}
	got := perform(t.Context(), r, "sink", row{fault: "errors", limit: time.Minute, quick: time.Minute, run: diskErrors}, false)
	if !got.OK {
		t.Error(got.Measured)
	}
}
