package transport

import (
	"net"

	"github.com/understudy-serving/understudy/rollout"
)

// From keepFrom on, a chunk of a message is written from where it lies; a shorter one is
// cheaper to copy than to write apart.
const keepFrom = 4 << 10

// keepTail is how large the buffer of small things may be to be used again.
const keepTail = 64 << 10

// output is what waits to be written, in order: small things in one buffer, and what is
// large by reference.
type output struct {
	pieces [][]byte
	// tail is where small things go; from is how much of it is in pieces already.
	tail []byte
	from int
	size int
	// held are the payloads whose chunks are in pieces, once for each.
	held []*rollout.Payload
}

// Write appends a copy: hpack's encoder writes through it.
func (o *output) Write(b []byte) (int, error) {
	o.tail = append(o.tail, b...)
	o.size += len(b)
	return len(b), nil
}

// grown says that what was appended to tail is b now.
func (o *output) grown(b []byte) {
	o.size += len(b) - len(o.tail)
	o.tail = b
}

// chunk appends bytes of p.
func (o *output) chunk(b []byte, p *rollout.Payload) {
	if len(b) < keepFrom || p == nil {
		_, _ = o.Write(b)
		return
	}
	o.seal()
	o.pieces = append(o.pieces, b)
	o.held = append(o.held, p.Ref())
	o.size += len(b)
}

// seal makes a piece of what is in tail. It stays where it is when tail moves on.
func (o *output) seal() {
	if o.from < len(o.tail) {
		o.pieces = append(o.pieces, o.tail[o.from:len(o.tail):len(o.tail)])
		o.from = len(o.tail)
	}
}

// buffers returns all that is to be written.
func (o *output) buffers() net.Buffers {
	o.seal()
	return o.pieces
}

// reset frees what was written, and makes it empty.
func (o *output) reset() {
	for _, p := range o.held {
		p.Free()
	}
	clear(o.held)
	clear(o.pieces)
	o.held, o.pieces, o.from, o.size = o.held[:0], o.pieces[:0], 0, 0
	if o.tail = o.tail[:0]; cap(o.tail) > keepTail {
		o.tail = nil
	}
}
