package spool

import (
	"bytes"
	"errors"
	"io"
	"math"
)

const (
	scanBytes    = 256 << 10 // read at a time
	blockBytes   = 4 << 10   // what one bad block on the disk costs
	readAttempts = 5         // before unreadable blocks count as damaged
)

// scanner walks over the frames of one segment, past whatever is no frame. Its buffer
// holds scanBytes, or the largest frame.
type scanner struct {
	src   io.ReaderAt
	nonce uint32
	place
	size int64  // bytes to look at
	end  uint64 // positions from here on are none of the segment's
	buf  []byte // bytes from base on
	base int64
	bad  int // reads that failed in a row
}

// place is where a scanner stands.
type place struct {
	off  int64  // the next byte
	next uint64 // the least position that may follow
}

// found is a frame whose header checks.
type found struct {
	header
	record []byte // in the scanner's buffer: valid until the next call
	intact bool
}

// frame returns the next frame; ok is false at the end. The error is of reading, and
// the call may be repeated.
func (s *scanner) frame() (f found, ok bool, err error) {
	for {
		b, err := s.peek(headerBytes)
		if err != nil || len(b) < headerBytes {
			return f, false, err
		}
		h, ok := parseHeader(b, s.nonce)
		if !ok || h.position < s.next || h.position >= s.end {
			if err := s.resync(); err != nil {
				return f, false, err
			}
			continue
		}
		n := headerBytes + int(h.length)
		if b, err = s.peek(n); err != nil {
			return f, false, err
		}
		f = found{header: h}
		if len(b) == n {
			f.record = b[headerBytes:n:n]
			f.intact = h.matches(f.record)
		}
		s.off, s.next = s.off+int64(n), h.position+1
		return f, true, nil
	}
}

// resync moves to the next marker, or to the end.
func (s *scanner) resync() error {
	for {
		s.off++
		b, err := s.peek(scanBytes / 2)
		if err != nil {
			s.off--
			return err
		}
		if i := bytes.Index(b, marker); i >= 0 {
			s.off += int64(i)
			return nil
		}
		if s.off+int64(len(b)) >= s.size || len(b) < len(marker) {
			s.off = s.size
			return nil
		}
		s.off += int64(len(b) - len(marker))
	}
}

// peek returns n bytes from off on, fewer at the end.
func (s *scanner) peek(n int) ([]byte, error) {
	n = int(max(0, min(int64(n), s.size-s.off)))
	if i := s.off - s.base; i >= 0 && i+int64(n) <= int64(len(s.buf)) {
		return s.buf[i : i+int64(n)], nil
	}
	if err := s.fill(max(n, int(min(scanBytes, s.size-s.off)))); err != nil {
		return nil, err
	}
	return s.buf[:min(n, len(s.buf))], nil
}

// fill reads n bytes from off on into the buffer.
func (s *scanner) fill(n int) error {
	if cap(s.buf) < n || cap(s.buf) > 4*scanBytes && n <= scanBytes {
		s.buf = make([]byte, max(n, scanBytes))
	}
	s.buf, s.base = s.buf[:n], s.off
	read, err := s.src.ReadAt(s.buf, s.off)
	if err != nil && !errors.Is(err, io.EOF) {
		if s.bad++; s.bad < readAttempts {
			s.buf = s.buf[:0]
			return err
		}
		read = s.fillBlocks()
	}
	s.bad = 0
	if s.buf = s.buf[:read]; read < n {
		s.size = s.off + int64(read) // the file is shorter than it should be
	}
	return nil
}

// fillBlocks reads what can be read, and leaves zeros for the rest.
func (s *scanner) fillBlocks() (read int) {
	for i := 0; i < len(s.buf); i += blockBytes {
		b := s.buf[i:min(i+blockBytes, len(s.buf))]
		n, err := s.src.ReadAt(b, s.off+int64(i))
		if errors.Is(err, io.EOF) {
			return i + n
		}
		if err != nil {
			clear(b)
		}
	}
	return len(s.buf)
}

// tail says how a segment ends whose name does not.
type tail struct {
	end     uint64 // behind the last position
	damaged bool   // bytes at the end were once a record
}

// measure finds the end of a segment that was being written. What follows the last
// frame counts as one damaged record, unless it looks like a write that was cut off,
// or like a file that was extended and not written: nobody was told of such a record.
func measure(s *scanner) (tail, error) {
	s.end = math.MaxUint64
	for {
		rest := s.off
		f, ok, err := s.frame()
		if err != nil {
			return tail{}, err
		}
		if !ok {
			damaged, err := s.remains(rest)
			t := tail{end: s.next, damaged: damaged}
			if damaged {
				t.end++
			}
			return t, err
		}
		if f.record == nil { // its end is missing
			return tail{end: f.position}, nil
		}
	}
}

// remains tells whether there is more from off on than zeros and a cut header.
func (s *scanner) remains(off int64) (bool, error) {
	if s.size-off < headerBytes {
		return false, nil
	}
	for s.off = off; s.off < s.size; {
		b, err := s.peek(scanBytes)
		if err != nil {
			return false, err
		}
		if len(bytes.Trim(b, "\x00")) > 0 {
			return true, nil
		}
		if len(b) == 0 {
			break
		}
		s.off += int64(len(b))
	}
	return false, nil
}
