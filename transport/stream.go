package transport

import (
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

// end is what one of a stream's two ends makes of what comes on it.
type end interface {
	// head is a further header block.
	head(h *head, last bool) error
	// message: the stream's inbox has one, complete.
	message() error
	// over: the peer will send no more.
	over() error
	// refused: what came can't be taken. It returns errOver.
	refused(s rollout.Status) error
	// gone: the peer, or the connection's end, cut the stream off. c.mu is held.
	gone(code http2.ErrCode)
	// sent: all of the outgoing message is in the queue. c.mu is held.
	sent()
}

// errOver says that the reader has nothing more to do with a stream.
var errOver = errors.New("the stream is over")

// stream is what both ends of one have in common. The embedding end adds itself.
type stream struct {
	conn *conn
	id   uint32
	end

	// The reader's own. allowed is how much the peer may still send, owed how much of the
	// rest it was not given back.
	in            inbox
	allowed, owed int
	// closed: by the peer. The reader writes it under conn.mu.
	closed bool

	// Under conn.mu: what is to be sent, and how much of it the peer takes.
	window int
	prefix [prefixLen]byte
	body   *rollout.Payload
	chunks [][]byte // what is left of it, of which the first from skip on
	skip   int
	left   int
	last   bool // the end of the message is the end of the stream
	queued bool // in conn.blocked
}

func (s *stream) header(h *head, last bool) error {
	if s.closed {
		return &streamError{s.id, http2.ErrCodeStreamClosed}
	}
	if err := s.head(h, last); err != nil {
		return err
	}
	if last {
		return s.close()
	}
	return nil
}

// close: the peer has sent all.
func (s *stream) close() error {
	s.conn.mu.Lock()
	s.closed = true
	s.conn.mu.Unlock()
	return s.over()
}

// data takes a frame of length bytes, of which body are data.
func (s *stream) data(length, body int, last bool) error {
	if s.closed {
		_, _ = s.conn.r.Discard(body)
		return &streamError{s.id, http2.ErrCodeStreamClosed}
	}
	if s.allowed -= length; s.allowed < 0 {
		_, _ = s.conn.r.Discard(body)
		return s.refused(rollout.Status{Code: rollout.ResourceExhausted, Message: "more data than the stream's window"})
	}
	if err := s.assemble(body); err != nil {
		return err
	}
	if last {
		return s.close()
	}
	s.credit(length)
	return nil
}

// assemble reads n bytes into messages.
func (s *stream) assemble(n int) error {
	for n > 0 {
		left, err := s.in.take(s.conn.r, n)
		if err != nil {
			return s.spoiled(err, left)
		}
		n = left
		if s.in.complete() {
			if err := s.message(); err != nil {
				_, _ = s.conn.r.Discard(n)
				return err
			}
		}
	}
	return nil
}

// spoiled refuses what can't be taken, of which left bytes are still to come; other errors are the
// connection's.
func (s *stream) spoiled(err error, left int) error {
	var no *refusal
	if !errors.As(err, &no) {
		return err
	}
	err = s.refused(no.Status)
	_, _ = s.conn.r.Discard(left)
	return err
}

// credit gives the stream's window back, now and then.
func (s *stream) credit(n int) {
	if s.owed += n; s.owed < streamWindow/2 {
		return
	}
	by := s.owed
	s.allowed, s.owed = s.allowed+by, 0
	s.conn.queue(func(b []byte) []byte { return appendWindowUpdate(b, s.id, by) })
}

// mostData is how much data is queued at a time. The rest stays with its stream, so that streams
// take turns, and one that is cut off leaves nothing behind that a slow peer has yet to read.
const mostData = 512 << 10

// send queues a message, of which it takes the reference; conn.mu is held. What the windows
// or the queue do not hold waits in conn.blocked.
func (s *stream) send(p *rollout.Payload, last bool) {
	binary.BigEndian.PutUint32(s.prefix[1:], uint32(p.Len()))
	s.body, s.chunks, s.skip, s.left, s.last = p, p.Chunks(), 0, p.Len()+prefixLen, last
	if !s.pump() {
		s.queued = true
		s.conn.blocked = append(s.conn.blocked, s)
	}
}

// pump queues what there is room for, and tells whether that was all.
func (s *stream) pump() bool {
	c := s.conn
	for s.left > 0 {
		n := min(s.left, s.window, c.window, c.peer.frame)
		if n <= 0 || c.out.size > mostData {
			return false
		}
		s.window -= n
		c.window -= n
		c.spoke = true
		f := frame{kind: http2.FrameData, length: n, stream: s.id}
		if s.last && n == s.left {
			f.flags = http2.FlagDataEndStream
		}
		c.out.grown(f.append(c.out.tail))
		s.piece(n)
	}
	s.drop()
	s.sent()
	return true
}

// piece queues the next n bytes of prefix and message.
func (s *stream) piece(n int) {
	done := prefixLen + s.body.Len() - s.left
	s.left -= n
	if done < prefixLen {
		part := s.prefix[done:min(prefixLen, done+n)]
		_, _ = s.conn.out.Write(part)
		n -= len(part)
	}
	for n > 0 {
		chunk := s.chunks[0][s.skip:]
		if len(chunk) <= n {
			s.chunks, s.skip = s.chunks[1:], 0
		} else {
			chunk = chunk[:n]
			s.skip += n
		}
		s.conn.out.chunk(chunk, s.body)
		n -= len(chunk)
	}
}

// drop gives up what is left to send.
func (s *stream) drop() {
	s.body.Free()
	s.body, s.chunks, s.left = nil, nil, 0
}

// remove takes the stream off its connection; conn.mu is held.
func (s *stream) remove() {
	s.drop()
	delete(s.conn.streams, s.id)
	if s.queued {
		s.conn.unblock(s)
	}
}

// pumpBlocked sends what there is room for by now, in the order in which it began to wait;
// c.mu is held.
func (c *conn) pumpBlocked() {
	waiting := c.blocked
	c.blocked = c.blocked[:0]
	for _, s := range waiting {
		s.queued = false
		if !s.pump() {
			s.queued = true
			c.blocked = append(c.blocked, s)
		}
	}
	clear(waiting[len(c.blocked):])
}

func (c *conn) unblock(s *stream) {
	if i := slices.Index(c.blocked, s); i >= 0 {
		c.blocked = slices.Delete(c.blocked, i, i+1)
	}
	s.queued = false
}
