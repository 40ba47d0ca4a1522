package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
)

// mark is the file that says how far records are trimmed. Two slots, a sector each, are
// written in turn, in place, so that it takes no space and one of them is always good.
// It is never synced: what it says is true whenever it was written, and an older one
// only brings records back that were delivered. The nonce in its name seeds the
// checksum, so that no recycled disk block looks like it.
type mark struct {
	file  File
	nonce uint32
	slot  int64
}

const (
	slotBytes = 512
	slotUsed  = 12
)

var markName = regexp.MustCompile(`^([0-9a-f]{8})\.mark$`)

// parseMark reads the file's name.
func parseMark(name string) (nonce uint32, ok bool) {
	m := markName.FindStringSubmatch(name)
	if m == nil {
		return 0, false
	}
	n, _ := strconv.ParseUint(m[1], 16, 32) // the pattern leaves nothing to fail
	return uint32(n), true
}

// read returns the position in the better slot, 0 where there is none, and makes the
// other one the next to write.
func (m *mark) read() (upTo uint64) {
	for slot := range int64(2) {
		var b [slotUsed]byte
		if n, _ := m.file.ReadAt(b[:], slot*slotBytes); n < slotUsed {
			continue // as good as damaged
		}
		p := binary.LittleEndian.Uint64(b[:])
		if crc32.Update(m.nonce, castagnoli, b[:8]) == binary.LittleEndian.Uint32(b[8:]) && p > upTo {
			upTo, m.slot = p, 1-slot
		}
	}
	return upTo
}

func (m *mark) write(upTo uint64) error {
	if m.file == nil {
		return nil // there was no way to make it: the next start sends some records twice
	}
	b := binary.LittleEndian.AppendUint64(nil, upTo)
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(m.nonce, castagnoli, b))
	_, err := m.file.WriteAt(b, m.slot*slotBytes)
	m.slot = 1 - m.slot
	return err
}

func (m *mark) close() {
	if m.file != nil {
		_ = m.file.Close() // nothing in it has to last
		m.file = nil
	}
}

// openMark opens the file, which it makes and fills where name is "".
func openMark(fs FS, path func(string) string, name string) (m mark, upTo uint64, err error) {
	flag, fresh := os.O_RDWR, name == ""
	if fresh {
		flag |= os.O_CREATE | os.O_EXCL
		name = fmt.Sprintf("%08x.mark", rand.Uint32())
	}
	m.nonce, _ = parseMark(name)
	if m.file, err = fs.Open(path(name), flag); err != nil {
		return mark{}, 0, err
	}
	if fresh {
		_, err = m.file.WriteAt(make([]byte, 2*slotBytes), 0)
	}
	return m, m.read(), err
}
