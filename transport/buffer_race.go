//go:build race

package transport

import (
	"bytes"
	"sync/atomic"
)

// lent counts the messages that were not freed yet.
var lent atomic.Int64

var spoilt = bytes.Repeat([]byte{0xDB}, maxBuffer)

// spoil has whoever still reads a buffer that was given back read nonsense; the race detector
// sees him too.
func (b *buffer) spoil() { copy(b.bytes, spoilt) }
