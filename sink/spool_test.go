package sink

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// spoolContract is what any Spool must do; a spool on disk runs it too.
func spoolContract(t *testing.T, open func(t *testing.T, maxBytes int64) Spool) {
	at := time.Unix(1000, 0)
	put := func(t *testing.T, s Spool, records ...string) {
		t.Helper()
		for i, r := range records {
			if n, err := s.Append([]byte(r), at.Add(time.Duration(i)*time.Second)); n != 0 || err != nil {
				t.Fatalf("Append(%q) = %d, %v", r, n, err)
			}
		}
	}
	read := func(t *testing.T, s Spool, after uint64, records, size int) (got string, last uint64) {
		t.Helper()
		entries, err := s.Read(nil, after, records, size)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Position <= last {
				t.Errorf("position %d behind %d", e.Position, last)
			}
			got, last = got+string(e.Record)+" ", e.Position
		}
		return got, last
	}

	t.Run("oldest first, within bounds, nothing forgotten by reading", func(t *testing.T) {
		s := open(t, 1<<20)
		put(t, s, "aa", "bb", "cc", "dd")
		first, last := read(t, s, 0, 2, 100)
		if first != "aa bb " {
			t.Errorf("first read %q", first)
		}
		if got, _ := read(t, s, last, 9, 3); got != "cc " {
			t.Errorf("read within 3 bytes %q", got)
		}
		if got, _ := read(t, s, last, 9, 1); got != "cc " {
			t.Errorf("read within less than one record %q", got)
		}
		if got, _ := read(t, s, 0, 9, 100); got != "aa bb cc dd " {
			t.Errorf("read again %q", got)
		}
	})
	t.Run("trim", func(t *testing.T) {
		s := open(t, 1<<20)
		put(t, s, "aa", "bb", "cc")
		_, second := read(t, s, 0, 2, 100)
		if err := s.Trim(second); err != nil {
			t.Fatal(err)
		}
		if got, _ := read(t, s, 0, 9, 100); got != "cc " {
			t.Errorf("left %q", got)
		}
		if got := s.Stats(); got.Records != 1 || !got.Oldest.Equal(at.Add(2*time.Second)) {
			t.Errorf("stats %+v", got)
		}
		put(t, s, "dd")
		_, last := read(t, s, second, 9, 100)
		if err := s.Trim(last); err != nil {
			t.Fatal(err)
		}
		if got := s.Stats(); got != (SpoolStats{}) {
			t.Errorf("stats of an empty spool %+v", got)
		}
		if got, _ := read(t, s, last, 9, 100); got != "" {
			t.Errorf("behind the last %q", got)
		}
	})
	t.Run("full refuses the newest, and takes again after a trim", func(t *testing.T) {
		s := open(t, 1000)
		record := bytes.Repeat([]byte("x"), 400)
		put(t, s, string(record), string(record))
		if n, err := s.Append(record, at); n != 0 || !errors.Is(err, ErrSpoolFull) {
			t.Errorf("Append to a full spool = %d, %v", n, err)
		}
		if err := s.Trim(1); err != nil {
			t.Fatal(err)
		}
		put(t, s, string(record))
		if got := s.Stats(); got.Records != 2 || got.Bytes > 1000 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestMemorySpool(t *testing.T) {
	spoolContract(t, func(_ *testing.T, maxBytes int64) Spool { return NewMemorySpool(maxBytes) })
	t.Run("close says what is lost", func(t *testing.T) {
		s := NewMemorySpool(1 << 20)
		for range 3 {
			s.Append([]byte("x"), time.Time{})
		}
		if lost, err := s.Close(); lost != 3 || err != nil {
			t.Errorf("Close = %d, %v", lost, err)
		}
	})
}
