package transport

import (
	"math/bits"
	"sync"
)

// Buffers come from pools by powers of two, up to the largest that a message is read into
// at a time.
const (
	minBufferBits = 9
	maxBufferBits = 20
	maxBuffer     = 1 << maxBufferBits
)

// pools have no state to speak of: what is in them is anybody's, and may go at any time.
var pools [maxBufferBits - minBufferBits + 1]sync.Pool

// buffer has a fixed capacity; recycle gives it back.
type buffer struct {
	bytes []byte
	class int
}

// newBuffer returns one for n bytes, at most maxBuffer: of as many or more, or where more than a
// quarter of it would be left empty, half of that.
func newBuffer(n int) *buffer {
	class := 0
	if n > 1<<minBufferBits {
		class = bits.Len(uint(n-1)) - minBufferBits
		if size := 1 << (minBufferBits + class); size-n > size/4 {
			class--
		}
	}
	if b, ok := pools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{bytes: make([]byte, 1<<(minBufferBits+class)), class: class}
}

func (b *buffer) recycle() {
	b.spoil()
	pools[b.class].Put(b)
}
