package transport

import (
	"cmp"
	"crypto/tls"
	"net"
	"runtime"
	"time"
)

// mostRounds is how often a writer looks again for what others have queued meanwhile: it has
// a call of its own to care for.
const mostRounds = 4

// flush writes what is queued, unless another does already. It does not wait for the
// peer.
func (c *conn) flush() {
	c.mu.Lock()
	if c.writing || c.out.size == 0 || c.err != nil {
		c.finish()
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	// Whoever else is about to write shares this system call.
	runtime.Gosched()
	c.mu.Lock()
	for round := 1; c.out.size > 0 && c.err == nil; round++ {
		o := c.take()
		c.mu.Unlock()
		left := o.buffers()
		if round <= mostRounds {
			left = c.writeSome(left)
		}
		if len(left) > 0 {
			go c.writeRest(o, left) // it is the writer now
			return
		}
		c.mu.Lock()
		c.written(o)
	}
	c.stopWriting()
	c.mu.Unlock()
}

// take takes the queue, and begins another with what waited for room; c.mu is held.
func (c *conn) take() *output {
	o := c.out
	c.out, c.spare, c.under = c.spare, nil, o.size
	c.pumpBlocked()
	return o
}

// written gives the queue back that take took; c.mu is held.
func (c *conn) written(o *output) {
	o.reset()
	c.spare, c.under = o, 0
	c.room.Broadcast()
}

// writeSome writes what the kernel takes at once, and returns the rest.
func (c *conn) writeSome(pieces net.Buffers) net.Buffers {
	if c.raw == nil {
		return pieces
	}
	for len(pieces) > 0 {
		c.trying = pieces
		if err := c.raw.Write(c.attempt); err != nil || c.tryErr != nil || c.tried == 0 {
			break // writeRest meets the error again, or waits
		}
		pieces = advance(pieces, c.tried)
	}
	c.trying = nil
	return pieces
}

// advance takes n bytes off the front.
func advance(pieces net.Buffers, n int) net.Buffers {
	for n > 0 {
		if len(pieces[0]) > n {
			pieces[0] = pieces[0][n:]
			return pieces
		}
		n -= len(pieces[0])
		pieces = pieces[1:]
	}
	return pieces
}

// writeRest writes all that is left and all that is queued meanwhile, as fast as the peer
// reads.
func (c *conn) writeRest(o *output, left net.Buffers) {
	for {
		_, err := left.WriteTo(c.nc)
		c.mu.Lock()
		c.written(o)
		if err != nil {
			c.unheard(err)
		}
		if c.out.size == 0 || c.err != nil {
			c.stopWriting()
			c.mu.Unlock()
			return
		}
		o = c.take()
		c.mu.Unlock()
		left = o.buffers()
	}
}

// stopWriting gives the writer's role up; c.mu is held.
func (c *conn) stopWriting() {
	c.writing = false
	if c.err != nil {
		c.out.reset()
	}
	c.finish()
}

// unheard: the peer takes no more. What it has sent is read all the same, for answers may
// be among it. c.mu is held.
func (c *conn) unheard(err error) {
	c.closing, c.failed = true, err
	c.out.reset()
}

// finish closes the connection where that only waited for the queue; c.mu is held. While the peer may
// still send, only our half is closed: else it could lose what is on its way to it.
func (c *conn) finish() {
	if !c.closing || c.writing || c.err != nil || c.out.size > 0 {
		return
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	switch {
	case !ok || c.deaf:
		c.endLocked(cmp.Or(c.failed, errClosed))
		return
	case c.shut:
		return
	}
	c.shut = true
	go func() { _ = half.CloseWrite() }() // TLS says goodbye, and may wait to
	c.endSoon()
}

// endSoon closes the connection if the peer does not; c.mu is held.
func (c *conn) endSoon() {
	err := cmp.Or(c.failed, errClosed)
	time.AfterFunc(lastWords, func() { c.end(err) })
}

// fail sends a GOAWAY that says why, and closes the connection behind it.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err == nil && !c.closing {
		if e, ok := err.(*connectionError); ok {
			c.out.grown(appendGoAway(c.out.tail, c.newest, e.code, e.reason))
		}
		c.closing = true
		c.endSoon()
	}
	c.mu.Unlock()
	c.flush()
}

// end closes the connection at once.
func (c *conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(err)
}

// cut closes a connection without a word: TLS would wait for a peer that does not read.
func cut(nc net.Conn) {
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	_ = nc.Close()
}

func (c *conn) endLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.closing = true
	cut(c.nc)
	c.room.Broadcast()
	if !c.writing {
		c.out.reset()
	}
}
