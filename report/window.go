package report

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/cespare/xxhash/v2"
)

// Delivery is at least once. What is delivered twice lies close together: the gateway
// produces again what was in its window, some thousand records, when it is not sure; and
// copies of a record share its key, so its partition. A window therefore remembers the last
// ids of its partition, as 64-bit hashes, and the same id in it is a duplicate.
//
// Two different ids that share a hash would lose the second record: with 131,072 in the
// window that is a chance of 1 in 10⁵ for a billion records. A copy that comes later than
// the window is long counts again.
const (
	// windowsTotal ids are remembered for all partitions together, 24 bytes each: 50 MB.
	windowsTotal = 1 << 21
	leastWindow  = 1 << 14
	mostWindow   = 1 << 17
)

// windowSize is that of one partition.
func windowSize(partitions int) int {
	return min(max(windowsTotal/max(partitions, 1), leastWindow), mostWindow)
}

// window is a set of the last ids.
type window struct {
	size int
	last []uint64 // a ring once it is full
	next int      // the oldest
	set  map[uint64]struct{}
}

func newWindow(size int) *window { return &window{size: size, set: map[uint64]struct{}{}} }

// seen tells whether the id is in the window, where it is from now on.
func (w *window) seen(id string) bool {
	return !w.put(xxhash.Sum64String(id))
}

func (w *window) put(hash uint64) (fresh bool) {
	if _, known := w.set[hash]; known {
		return false
	}
	w.set[hash] = struct{}{}
	if len(w.last) < w.size {
		w.last = append(w.last, hash)
		return true
	}
	delete(w.set, w.last[w.next])
	w.last[w.next] = hash
	w.next = (w.next + 1) % w.size
	return true
}

// MarshalJSON writes the hashes, the oldest first, in base64.
func (w *window) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 8*len(w.last))
	for i := range w.last {
		b = binary.LittleEndian.AppendUint64(b, w.last[(w.next+i)%len(w.last)])
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(b))
}

// UnmarshalJSON is the inverse of MarshalJSON; the size stays.
func (w *window) UnmarshalJSON(text []byte) error {
	var encoded string
	if err := json.Unmarshal(text, &encoded); err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(b)%8 != 0 {
		return errors.New("ids: want base64 of 64-bit numbers")
	}
	*w = window{size: w.size, set: map[uint64]struct{}{}}
	for ; len(b) > 0; b = b[8:] {
		w.put(binary.LittleEndian.Uint64(b))
	}
	return nil
}
