package spool

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A byte flipped anywhere in a segment costs the record it belongs to, which is
// counted, and no other; in one that was being written at the end as well.
func TestFlipEachByte(t *testing.T) {
	for _, end := range []string{"close", "kill"} {
		t.Run(end, func(t *testing.T) {
			m := memoryFS()
			o := Options{Dir: "/s", FS: m, Fsync: Always, ReserveBytes: -1, manual: true}
			d := mustOpen(t, o)
			records := append(batch(0, 5), nil, bytes.Repeat(marker, 40), []byte("the last"))
			mustAppend(t, d, records)
			name := d.active.name
			if end == "close" {
				if _, err := d.Close(); err != nil {
					t.Fatal(err)
				}
				name = d.segments[0].name
			}
			image := slices.Clone(m.dirs["/s"].names[name].data)
			for at := range image {
				flipped := slices.Clone(image)
				flipped[at] ^= 1 << (at % 8)
				checkFlipped(t, name, flipped, ownerOf(records, at), records)
			}
		})
	}
}

// ownerOf tells which record the byte belongs to.
func ownerOf(records [][]byte, at int) int {
	for i, r := range records {
		if at -= int(frameBytes(r)); at < 0 {
			return i
		}
	}
	return -1
}

func checkFlipped(t *testing.T, name string, data []byte, victim int, records [][]byte) {
	t.Helper()
	m := memoryFS()
	m.dirs["/s"] = &modelDir{names: map[string]*modelFile{name: {data: data, disk: data, dirty: map[int64]bool{}}}, exists: true}
	m.dirs["/s"].durable = maps.Clone(m.dirs["/s"].names)
	report, err := Verify("/s", m, nil)
	if err != nil || report.Corrupt != 1 || report.Intact != len(records)-1 {
		t.Fatalf("byte of record %d: verify says %+v, %v", victim, report, err)
	}
	d, err := Open(Options{Dir: "/s", FS: m, Fsync: Always, ReserveBytes: -1, manual: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	entries := readAll(t, d)
	_ = readAll(t, d) // counts nothing again
	if len(entries) != len(records) || d.Stats().Corrupt != 1 {
		t.Fatalf("byte of record %d: %d records, %d corrupt", victim, len(entries), d.Stats().Corrupt)
	}
	for i, e := range entries {
		if (e.Record == nil) != (i == victim) || i != victim && !bytes.Equal(e.Record, records[i]) {
			t.Fatalf("byte of record %d: record %d is %q", victim, i, e.Record)
		}
	}
}

// A record that holds the frames of its own segment does not fool a reader that has
// lost its way, unless it knows the segment's nonce.
func TestFramesInsideARecord(t *testing.T) {
	inner := appendFrame(nil, 7, header{position: 2, at: 1}, []byte("forged"))
	var b []byte
	b = appendFrame(b, 8, header{position: 1, at: 1}, inner)
	b = appendFrame(b, 8, header{position: 2, at: 1}, []byte("real"))
	b[5] ^= 0xff // the first one's length
	s := &scanner{src: bytes.NewReader(b), nonce: 8, place: place{next: 1}, size: int64(len(b)), end: 3}
	f, ok, err := s.frame()
	if err != nil || !ok || string(f.record) != "real" {
		t.Errorf("%q %v %v", f.record, ok, err)
	}
}

// What a write that was cut off leaves is no record, nor damage.
func TestTornTail(t *testing.T) {
	whole := appendFrame(nil, 1, header{position: 1}, []byte("whole"))
	torn := appendFrame(nil, 1, header{position: 2}, []byte("torn"))
	for n := range len(torn) {
		for _, zeros := range []int{0, 600} {
			b := append(slices.Clone(whole), torn[:n]...)
			b = append(b, make([]byte, zeros)...)
			s := &scanner{src: bytes.NewReader(b), nonce: 1, place: place{next: 1}, size: int64(len(b))}
			got, err := measure(s)
			if err != nil || got.end < 2 || zeros == 0 && got.end != 2 {
				t.Fatalf("%d bytes and %d zeros: %+v, %v", n, zeros, got, err)
			}
		}
	}
}

func TestVerifyAndStatus(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, Options{Dir: dir, MaxBytes: 1 << 20, SegmentBytes: 1 << 10})
	mustAppend(t, d, batch(0, 100))
	entries := readAll(t, d)
	if err := d.Trim(entries[49].Position); err != nil {
		t.Fatal(err)
	}
	var names []string
	report, err := Verify(dir, nil, func(r SegmentReport) {
		names = append(names, r.Name)
		if r.Intact != int(r.End-r.First) || !r.Oldest.Equal(noon) && r.Intact > 0 {
			t.Errorf("%+v", r)
		}
	})
	if err != nil || report.Waiting != 50 || report.Corrupt != 0 || report.Segments != len(names) || report.Trimmed != entries[49].Position {
		t.Errorf("%+v, %v", report, err)
	}
	st, err := Status(dir, nil)
	if own := d.Stats(); err != nil || st.Records != 50 || st.Segments != own.Segments || st.Bytes != own.Bytes || !st.Oldest.Equal(noon) {
		t.Errorf("%+v, %v", st, err)
	}
	before, _ := os.ReadDir(dir)
	if _, err := Verify(dir, nil, nil); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadDir(dir); len(after) != len(before) {
		t.Error("verify changed the folder")
	}
	if _, err := Verify(filepath.Join(dir, "none"), nil, nil); err == nil {
		t.Error("no folder, no error")
	}
}

// A segment that someone removed costs its records, which are counted, and nothing else.
func TestSegmentRemovedByHand(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, Options{Dir: dir, MaxBytes: 1 << 20, SegmentBytes: 1 << 10, Fsync: Never})
	mustAppend(t, d, batch(0, 100))
	victims, err := filepath.Glob(filepath.Join(dir, "*-00-*.*"))
	if err != nil || len(victims) < 3 {
		t.Fatal(victims, err)
	}
	if err := os.Remove(victims[1]); err != nil {
		t.Fatal(err)
	}
	entries := readAll(t, d)
	if c := d.Stats().Corrupt; len(entries) != 100 || c == 0 || c > 30 {
		t.Errorf("%d records, %d corrupt", len(entries), c)
	}
	if err := d.Trim(entries[99].Position); err != nil {
		t.Error(err)
	}
}

// Random calls agree with a slice.
func TestAgreesWithAModel(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 2))
		o := Options{Dir: t.TempDir(), MaxBytes: 1 << 20, SegmentBytes: 1 << (8 + r.IntN(6)), Fsync: []Fsync{Always, Interval, Never}[r.IntN(3)], manual: true}
		d := mustOpen(t, o)
		var want []string
		next := 0
		for range 200 {
			switch n := r.IntN(10); {
			case n < 4:
				records := batch(next, r.IntN(20))
				mustAppend(t, d, records)
				next += len(records)
				for _, b := range records {
					want = append(want, string(b))
				}
			case n < 8:
				entries, err := d.Read(nil, 0, r.IntN(40), r.IntN(500))
				if err != nil || len(entries) > len(want) || !slices.Equal(texts(entries), want[:len(entries)]) {
					t.Fatalf("seed %d: %q, %v", seed, texts(entries), err)
				}
				if n := len(entries); n > 0 {
					n = 1 + r.IntN(n)
					if err := d.Trim(entries[n-1].Position); err != nil {
						t.Fatal(err)
					}
					want = want[n:]
				}
			case n == 8:
				if _, err := d.Close(); err != nil {
					t.Fatal(err)
				}
				d = mustOpen(t, o)
			}
			if st := d.Stats(); st.Records != len(want) {
				t.Fatalf("seed %d: %+v, want %d", seed, st, len(want))
			}
		}
		if got := texts(readAll(t, d)); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %q, want %q", seed, got, want)
		}
	}
}

func TestOldest(t *testing.T) {
	d := mustOpen(t, Options{Dir: t.TempDir(), MaxBytes: 1 << 20, SegmentBytes: 256})
	at := func(i int) time.Time { return noon.Add(time.Duration(i) * time.Second) }
	for i := range 40 {
		if _, _, err := d.Append(batch(i, 1), at(i)); err != nil {
			t.Fatal(err)
		}
	}
	first, err := d.Read(nil, 0, 10, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for n, e := range first { // with records handed out, and at last without
		if err := d.Trim(e.Position); err != nil {
			t.Fatal(err)
		}
		if got := d.Stats().Oldest; !got.Equal(at(n + 1)) {
			t.Fatalf("after %d: %v", n+1, got.Sub(noon))
		}
	}
	rest := readAll(t, d)
	if err := d.Trim(rest[len(rest)-1].Position); err != nil || !d.Stats().Oldest.IsZero() {
		t.Errorf("%v %v", d.Stats().Oldest, err)
	}
	if len(rest) != 30 || !rest[0].At.Equal(at(10)) {
		t.Errorf("%d left, from %v", len(rest), rest[0].At)
	}
}

func TestMemory(t *testing.T) {
	m := NewMemory(1000)
	kept, _, err := m.Append(batch(0, 20), noon)
	if kept != 13 || err != ErrFull {
		t.Fatal(kept, err)
	}
	entries := readAll(t, m)
	if len(entries) != 13 || string(entries[12].Record) != "record 12" || !entries[0].At.Equal(noon) {
		t.Errorf("%q", texts(entries))
	}
	if err := m.Trim(entries[4].Position); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.Records != 8 || !st.Oldest.Equal(noon) {
		t.Errorf("%+v", st)
	}
	mustAppend(t, m, batch(20, 3))
	if got := strings.Join(texts(readAll(t, m)), ","); !strings.HasPrefix(got, "record 5,") || !strings.HasSuffix(got, ",record 22") {
		t.Error(got)
	}
	if lost, err := m.Close(); lost != 11 || err != nil {
		t.Error(lost, err)
	}
	if _, _, err := m.Append(batch(0, 1), noon); err != ErrClosed {
		t.Error(err)
	}
}

// Whatever stands in a segment, reading it ends, hands out no more than its positions
// in order, and only what its checksums cover.
func FuzzSegment(f *testing.F) {
	good := appendFrame(appendFrame(nil, 1, header{position: 1}, []byte("one")), 1, header{position: 2}, []byte("two"))
	f.Add(good, uint8(3))
	f.Add(append(slices.Clone(good[:40]), good...), uint8(9))
	f.Add(append(slices.Clone(marker), marker...), uint8(2))
	f.Add([]byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, records uint8) {
		m := memoryFS()
		for _, name := range []string{
			fmt.Sprintf("%016x-00-00000001-%016x.done", 1, 1+int(records)),
			fmt.Sprintf("%016x-00-00000001.open", 1000),
		} {
			m.dirs["/s"] = &modelDir{names: map[string]*modelFile{name: {data: data, disk: data, dirty: map[int64]bool{}}},
				durable: map[string]*modelFile{}, exists: true}
			d, err := Open(Options{Dir: "/s", FS: m, Fsync: Never, ReserveBytes: -1, manual: true})
			if err != nil {
				t.Fatal(err)
			}
			n := d.Stats().Records
			entries := readAll(t, d)
			if len(entries) != n || strings.HasSuffix(name, "done") && n != int(records) {
				t.Fatalf("%d records, %d said", len(entries), n)
			}
			for i, e := range entries {
				if i > 0 && e.Position <= entries[i-1].Position {
					t.Fatal("out of order")
				}
				if e.Record != nil && !bytes.Contains(data, e.Record) {
					t.Fatal("a record from nowhere")
				}
			}
			if _, err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
