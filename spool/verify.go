package spool

import (
	"errors"
	"io/fs"
	"time"
)

// SegmentReport says what is in one segment.
type SegmentReport struct {
	Name string
	// State is open, full or done: see the package's documentation.
	State string
	// First and End are the positions that the segment holds: up to, but without, End.
	First, End uint64
	// Intact and Corrupt records add up to End - First.
	Intact, Corrupt int
	// Waiting records, damaged ones included, are not trimmed.
	Waiting int
	Bytes   int64
	// Oldest and Newest are the times of intact records; zero where there is none.
	Oldest, Newest time.Time
}

// Report sums up a folder.
type Report struct {
	Segments, Intact, Corrupt, Waiting int
	Bytes                              int64
	// Trimmed is the position up to which records are done with.
	Trimmed uint64
}

// Verify reads every record in the folder dir, and changes nothing; fsys nil is the
// operating system's. It calls each, if it is not nil, for every segment in order. The
// spool may be in use meanwhile: a segment that goes is left out, and a record that is
// being written doesn't count.
func Verify(dir string, fsys FS, each func(SegmentReport)) (Report, error) {
	if fsys == nil {
		fsys = OS{}
	}
	in, err := look(fsys, dir)
	if err != nil {
		return Report{}, err
	}
	total := Report{Trimmed: in.trimmed}
	for _, s := range in.segments {
		r, err := s.verify(fsys, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return total, err
		}
		r.State = string(in.states[s])
		if from := max(s.first, in.trimmed+1); s.end > from {
			r.Waiting = int(s.end - from)
		}
		total.Segments++
		total.Intact += r.Intact
		total.Corrupt += r.Corrupt
		total.Waiting += r.Waiting
		total.Bytes += r.Bytes
		if each != nil {
			each(r)
		}
	}
	return total, nil
}

func (s *segment) verify(fsys FS, dir string) (SegmentReport, error) {
	r := SegmentReport{Name: s.name, First: s.first, End: s.end, Bytes: s.onDisk}
	file, err := s.open(fsys, dir)
	if err != nil {
		return r, err
	}
	defer file.Close()
	for scan := s.scan(file); ; {
		f, ok, err := scan.frame()
		if err != nil && scan.bad > 0 {
			continue // until the block counts as damaged
		}
		if err != nil || !ok {
			r.Corrupt = int(s.end-s.first) - r.Intact
			return r, err
		}
		if !f.intact {
			continue
		}
		r.Intact++
		if r.Newest = toTime(f.at); r.Oldest.IsZero() {
			r.Oldest = r.Newest
		}
	}
}

// Status describes the spool in dir without changing or locking it; fsys nil is the
// operating system's. It reads no more than Open would. Oldest is that of the oldest
// intact record in the first segment that has records waiting.
func Status(dir string, fsys FS) (Stats, error) {
	if fsys == nil {
		fsys = OS{}
	}
	in, err := look(fsys, dir)
	if err != nil {
		return Stats{}, err
	}
	var st Stats
	for _, s := range in.segments {
		st.Segments++
		st.Bytes += s.onDisk
		from := max(s.first, in.trimmed+1)
		if s.end <= from {
			continue
		}
		st.Records += int(s.end - from)
		if st.Oldest.IsZero() {
			st.Oldest = s.oldest(fsys, dir, from)
		}
	}
	return st, nil
}

// oldest is when the first intact record from a position on was appended; zero where
// that can't be told.
func (s *segment) oldest(fsys FS, dir string, from uint64) time.Time {
	file, err := s.open(fsys, dir)
	if err != nil {
		return time.Time{}
	}
	defer file.Close()
	for scan := s.scan(file); ; {
		f, ok, err := scan.frame()
		if err != nil || !ok {
			return time.Time{}
		}
		if f.intact && f.position >= from {
			return toTime(f.at)
		}
	}
}
