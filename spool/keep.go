package spool

import (
	"errors"
	"io"
	"math"
)

// Under Interval memory keeps what is not durable yet, for after an fsync that failed the
// file may not show it any more. It lies in pieces, of which all but the last are full,
// and is bounded by Options.UnsyncedBytes: Append makes some of it durable before there
// is more.

const (
	pieceBytes  = 256 << 10
	sparePieces = 8
)

// keepable returns how many bytes more memory may keep: any number of one record where it
// keeps none.
func (d *Disk) keepable() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.o.Fsync != Interval || d.keptBytes == 0 {
		return math.MaxInt64
	}
	return d.o.UnsyncedBytes - d.keptBytes
}

// keep keeps frames, which were just written at the end of s. Under mu.
func (d *Disk) keep(s *segment, frames []byte) {
	if len(s.kept) == 0 {
		s.keptAt = s.size
	}
	d.keptBytes += int64(len(frames))
	for len(frames) > 0 {
		last := len(s.kept) - 1
		if last < 0 || len(s.kept[last]) == cap(s.kept[last]) {
			s.kept = append(s.kept, d.piece())
			last++
		}
		p := s.kept[last]
		n := copy(p[len(p):cap(p)], frames)
		s.kept[last], frames = p[:len(p)+n], frames[n:]
	}
}

// piece returns an empty one. Under mu.
func (d *Disk) piece() []byte {
	if n := len(d.spare) - 1; n >= 0 {
		p := d.spare[n]
		d.spare = d.spare[:n]
		return p
	}
	return make([]byte, 0, min(pieceBytes, d.o.SegmentBytes))
}

// forget lets pieces of s go that end at upTo in the file, or before. Under mu.
func (d *Disk) forget(s *segment, upTo int64) {
	n := 0
	for ; n < len(s.kept) && s.keptAt+int64(len(s.kept[n])) <= upTo; n++ {
		p := s.kept[n]
		s.keptAt += int64(len(p))
		d.keptBytes -= int64(len(p))
		if len(d.spare) < sparePieces {
			d.spare = append(d.spare, p[:0])
		}
	}
	clear(s.kept[:n])
	s.kept = s.kept[n:]
}

// liveReader reads a segment's file, but from memory what is kept there.
type liveReader struct {
	d    *Disk
	seg  *segment
	file io.ReaderAt
}

func (r liveReader) ReadAt(b []byte, off int64) (n int, err error) {
	if n, _ = r.remember(b, off); n == len(b) {
		return n, nil
	}
	if n, err = r.file.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	kept, from := r.remember(b, off)
	if kept > 0 && from <= n {
		n = max(n, from+kept)
	}
	if n == len(b) {
		err = nil
	}
	return n, err
}

// remember puts what is kept of b, read at off, into its place there: n bytes.
func (r liveReader) remember(b []byte, off int64) (n, from int) {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	at := r.seg.keptAt
	for _, p := range r.seg.kept {
		begin, end := max(off, at), min(off+int64(len(b)), at+int64(len(p)))
		if begin < end {
			if n == 0 {
				from = int(begin - off)
			}
			n += copy(b[begin-off:end-off], p[begin-at:])
		}
		at += int64(len(p))
	}
	return n, from
}
