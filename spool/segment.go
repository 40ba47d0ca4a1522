package spool

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// state is what a segment's name ends in.
type state string

const (
	stateOpen state = "open"
	stateFull state = "full"
	stateDone state = "done"
)

// segment is one file. first, gen and nonce are fixed; what has no comment is under
// Disk.mu.
type segment struct {
	first uint64
	gen   uint32 // rises when a copy takes the place of a file that failed
	nonce uint32

	end     uint64 // behind the last record
	size    int64  // up to the end of the last record
	onDisk  int64  // size, and what a write that failed left behind it
	synced  uint64 // records in front of this position survive a power loss ...
	stable  int64  // ... and they end here
	claimed bool   // Read has handed out records of it, or may have
	removed bool
	broken  bool // an fsync failed, or may have: a copy must replace what is not synced
	found   bool // Open found it so
	rescue  time.Time

	// kept are the file's bytes from keptAt on, those that are not synced yet among
	// them; see keep.go.
	kept   [][]byte
	keptAt int64

	intact int // records that a copy has

	mu     sync.Mutex // held while the name changes or is opened
	name   string
	file   File     // for writing; nil once there is nothing to write or sync
	copied *segment // is to take the place of what is not synced, when its name is durable
}

func newSegment(first uint64, gen uint32) *segment {
	s := &segment{first: first, gen: gen, nonce: rand.Uint32(), end: first, synced: first}
	s.name = s.nameAs(stateOpen)
	return s
}

// nameAs is the name that says state.
func (s *segment) nameAs(st state) string {
	stem := fmt.Sprintf("%016x-%02x-%08x", s.first, s.gen, s.nonce)
	if st != stateOpen {
		stem += fmt.Sprintf("-%016x", s.end)
	}
	return stem + "." + string(st)
}

var segmentName = regexp.MustCompile(`^([0-9a-f]{16})-([0-9a-f]{2,8})-([0-9a-f]{8})(?:-([0-9a-f]{16}))?\.(open|full|done)$`)

// parseSegment reads a file's name; ok is false where it is not a segment's.
func parseSegment(f Info) (s *segment, st state, ok bool) {
	m := segmentName.FindStringSubmatch(f.Name)
	if m == nil || (m[4] == "") != (m[5] == string(stateOpen)) {
		return nil, "", false
	}
	number := func(hex string) uint64 {
		n, _ := strconv.ParseUint(hex, 16, 64) // the pattern leaves nothing to fail
		return n
	}
	s = &segment{first: number(m[1]), gen: uint32(number(m[2])), nonce: uint32(number(m[3])),
		name: f.Name, size: f.Bytes, onDisk: f.Bytes}
	s.end, s.synced, st = number(m[4]), s.first, state(m[5])
	if st == stateOpen {
		s.end = s.first
	}
	if s.end < s.first {
		return nil, "", false
	}
	if st == stateDone {
		s.synced, s.stable = s.end, s.size
	}
	return s, st, true
}

// open opens the file for reading, whatever it is called just now.
func (s *segment) open(fs FS, dir string) (File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fs.Open(filepath.Join(dir, s.name), os.O_RDONLY)
}

// writer returns the file to write and sync.
func (s *segment) writer(fs FS, dir string) (File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		f, err := fs.Open(filepath.Join(dir, s.name), os.O_RDWR)
		if err != nil {
			return nil, err
		}
		s.file = f
	}
	return s.file, nil
}

// close lets the file to write go. A failure says nothing that Sync has not said.
func (s *segment) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}

// rename gives the file another name.
func (s *segment) rename(fs FS, dir, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == s.name {
		return nil
	}
	if err := fs.Rename(filepath.Join(dir, s.name), filepath.Join(dir, name)); err != nil {
		return err
	}
	s.name = name
	return nil
}

// scan returns a scanner over the segment's records in src.
func (s *segment) scan(src io.ReaderAt) *scanner {
	return &scanner{src: src, nonce: s.nonce, place: place{next: s.first}, size: s.size, end: s.end}
}

// title is the file's name as it is now, for logs.
func (s *segment) title() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name
}
