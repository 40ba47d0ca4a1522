package transport

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const readBuffer = 32 << 10

// mostBlock bounds a header block as it comes, compressed and in pieces.
const mostBlock = 256 << 10

// lastWords is how long a connection that is given up has to send its GOAWAY.
const lastWords = time.Second

// side is what a connection's end makes of what it reads.
type side interface {
	// opened is told of a header block on a stream that does not exist.
	opened(id uint32, h *head, end bool) error
	// goAway is told that the peer takes no streams above last.
	goAway(last uint32, code http2.ErrCode, debug string)
	// settled is told that the peer's settings are known, or others.
	settled()
	// pinged is asked before a ping is answered, ponged told of an answer to one of ours.
	pinged() error
	ponged(data [8]byte)
	// crowded is asked whether to wait for a peer that does not read; c.mu is held.
	crowded() error
	// stale tells whether a stream that does not exist did once; c.mu is held.
	stale(id uint32) bool
	// lost ends everything, after the last frame.
	lost(err error)
}

// conn is one HTTP/2 connection, from either end.
type conn struct {
	nc   net.Conn
	raw  syscall.RawConn // nil where a write can't be tried without waiting
	side side

	// The reader's own.
	r           *bufio.Reader
	decoder     *hpack.Decoder
	block       head
	headerLimit int
	// allowed is how many bytes the peer may still send, owed how many of the rest we have not given back.
	allowed, owed int

	// heard says that a frame came since somebody cleared it.
	heard atomic.Bool

	mu      sync.Mutex
	streams map[uint32]*stream
	newest  uint32 // of the peer's streams, the last that we took
	encoder *hpack.Encoder
	// epoch is another one whenever encoder's table may have changed.
	epoch   int
	out     *output
	spare   *output
	writing bool
	// under is how many bytes the writer is at.
	under int
	// spoke: data or a header was sent since somebody cleared it.
	spoke bool
	// room is signalled when the queue gets shorter.
	room sync.Cond
	// most is how many bytes may be queued before the side is asked what to do.
	most int
	// window is how much of all streams' data may be sent.
	window  int
	blocked []*stream
	peer    settings
	// closing: nothing more is queued, and the connection is closed when the queue is written. shut: the
	// peer was told so. deaf: nothing more is read. failed is what kept us from writing; err why all ended.
	closing, shut, deaf bool
	failed, err         error

	// What writeSome needs of the heap once, not at each write.
	trying  [][]byte
	tried   int
	tryErr  error
	attempt func(fd uintptr) bool
}

// settings are what the peer asks for.
type settings struct {
	window  int
	frame   int
	streams int
}

func newConn(nc net.Conn, headerLimit, most int) *conn {
	c := &conn{
		nc: nc, headerLimit: headerLimit, most: most,
		allowed: connectionWindow, streams: make(map[uint32]*stream),
		out: new(output), spare: new(output), window: initialWindow,
		peer: settings{window: initialWindow, frame: minFrameSize, streams: maxWindow},
	}
	c.room.L = &c.mu
	c.r = bufio.NewReaderSize(incoming{c}, readBuffer)
	c.decoder = hpack.NewDecoder(initialTableSize, func(f hpack.HeaderField) { c.block.add(f) })
	c.encoder = hpack.NewEncoder(outputOf{c})
	if s, ok := nc.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn()
	}
	c.attempt = func(fd uintptr) bool {
		c.tried, c.tryErr = writeNow(fd, c.trying)
		return true // never wait
	}
	return c
}

// outputOf is the queue of now, whichever of the two it is.
type outputOf struct{ *conn }

func (o outputOf) Write(b []byte) (int, error) { return o.out.Write(b) }

// greet queues our settings, and the connection's window.
func (c *conn) greet(pairs ...http2.Setting) {
	pairs = append(pairs,
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.headerLimit)})
	c.queue(func(b []byte) []byte {
		return appendWindowUpdate(appendSettings(b, pairs...), 0, connectionWindow-initialWindow)
	})
}

// queue appends a small frame; flush sends it.
func (c *conn) queue(add func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queueLocked(add)
}

func (c *conn) queueLocked(add func([]byte) []byte) {
	if !c.closing {
		c.out.grown(add(c.out.tail))
	}
}

// run reads frames until the connection ends.
func (c *conn) run() {
	err := c.frames()
	_, ours := err.(*connectionError)
	c.mu.Lock()
	err = cmp.Or(c.err, c.failed, err)
	c.deaf = !ours
	c.mu.Unlock()
	c.fail(err)
	c.side.lost(err)
	if ours {
		c.linger()
	}
}

// linger reads on to no purpose but one: a connection that is closed on bytes unread takes with
// it what the peer has yet to read, such as the reason.
func (c *conn) linger() {
	_, _ = io.Copy(io.Discard, c.nc)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = true
	c.finish()
}

// incoming is what the peer sends. Before more of it is read, which may take for ever, what
// came of the last is written: also for a peer that stops inside a frame, or never pauses.
type incoming struct{ *conn }

func (i incoming) Read(b []byte) (int, error) {
	i.flush()
	if err := i.waitForRoom(); err != nil {
		return 0, err
	}
	return i.nc.Read(b)
}

func (c *conn) frames() error {
	for {
		if err := c.next(); err != nil && !c.survives(err) {
			return err
		}
	}
}

// survives deals with an error that is one stream's alone.
func (c *conn) survives(err error) bool {
	if errors.Is(err, errOver) {
		return true
	}
	var reset *streamError
	if !errors.As(err, &reset) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[reset.stream]; s != nil {
		s.gone(reset.code)
	}
	c.queueLocked(func(b []byte) []byte { return appendReset(b, reset.stream, reset.code) })
	return true
}

// waitForRoom holds the reader while the peer does not read what it is sent, unless the side gives it up: it
// can ask for more than its memory's worth of ours else.
func (c *conn) waitForRoom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.out.size+c.under > c.most && c.err == nil {
		if err := c.side.crowded(); err != nil {
			return err
		}
		c.room.Wait()
	}
	return nil
}

// next reads one frame, and acts on it.
func (c *conn) next() error {
	b, err := c.r.Peek(frameHeaderLen)
	if err != nil {
		return err
	}
	f := parseFrame(b)
	_, _ = c.r.Discard(frameHeaderLen)
	if !c.heard.Load() {
		c.heard.Store(true)
	}
	if f.length > minFrameSize {
		return broken(http2.ErrCodeFrameSize, "a frame of %d bytes, at most %d", f.length, minFrameSize)
	}
	if f.kind == http2.FrameData {
		return c.data(f)
	}
	if f.kind == http2.FrameHeaders {
		return c.headers(f)
	}
	payload, err := c.r.Peek(f.length)
	if err != nil {
		return err
	}
	err = c.control(f, payload)
	_, _ = c.r.Discard(f.length)
	return err
}

// unpad takes padding, and priority where the kind of frame has it, off a payload.
func unpad(f frame, b []byte) ([]byte, error) {
	pad := 0
	if f.flags.Has(http2.FlagDataPadded) { // the same bit for HEADERS
		if len(b) < 1 {
			return nil, broken(http2.ErrCodeFrameSize, "%s too short for its padding", f.kind)
		}
		pad, b = int(b[0]), b[1:]
	}
	if f.kind == http2.FrameHeaders && f.flags.Has(http2.FlagHeadersPriority) {
		if len(b) < 5 {
			return nil, broken(http2.ErrCodeFrameSize, "HEADERS too short for its priority")
		}
		if binary.BigEndian.Uint32(b)&maxWindow == f.stream {
			return nil, broken(http2.ErrCodeProtocol, "stream %d depends on itself", f.stream)
		}
		b = b[5:]
	}
	if pad > len(b) {
		return nil, broken(http2.ErrCodeProtocol, "%s is less than its padding", f.kind)
	}
	return b[:len(b)-pad], nil
}

// headers reads a header block, whole: nothing may come between its frames.
func (c *conn) headers(f frame) error {
	if f.stream == 0 {
		return broken(http2.ErrCodeProtocol, "HEADERS of no stream")
	}
	b, err := c.r.Peek(f.length)
	if err != nil {
		return err
	}
	if b, err = unpad(f, b); err != nil {
		return err
	}
	c.block = head{limit: c.headerLimit}
	if f.flags.Has(http2.FlagHeadersEndHeaders) {
		err = c.decode(b)
		_, _ = c.r.Discard(f.length)
	} else {
		block := bytes.Clone(b)
		_, _ = c.r.Discard(f.length)
		err = c.continuation(f.stream, block)
	}
	if err != nil {
		return err
	}
	end := f.flags.Has(http2.FlagHeadersEndStream)
	if s := c.stream(f.stream); s != nil {
		return s.header(&c.block, end)
	}
	return c.side.opened(f.stream, &c.block, end)
}

// continuation reads the rest of a block, and decodes all of it.
func (c *conn) continuation(stream uint32, block []byte) error {
	for {
		b, err := c.r.Peek(frameHeaderLen)
		if err != nil {
			return err
		}
		f := parseFrame(b)
		_, _ = c.r.Discard(frameHeaderLen)
		switch {
		case f.kind != http2.FrameContinuation || f.stream != stream:
			return broken(http2.ErrCodeProtocol, "%s inside a header block", f.kind)
		case f.length > minFrameSize:
			return broken(http2.ErrCodeFrameSize, "a frame of %d bytes, at most %d", f.length, minFrameSize)
		case len(block)+f.length > mostBlock || f.length == 0:
			return broken(http2.ErrCodeEnhanceYourCalm, "a header block of more than %d bytes, or in empty pieces", mostBlock)
		}
		if b, err = c.r.Peek(f.length); err != nil {
			return err
		}
		block = append(block, b...)
		_, _ = c.r.Discard(f.length)
		if f.flags.Has(http2.FlagContinuationEndHeaders) {
			return c.decode(block)
		}
	}
}

// decode reads a block into c.block; the table of HPACK needs every one, wanted or not.
func (c *conn) decode(b []byte) error {
	_, err := c.decoder.Write(b)
	if err == nil {
		err = c.decoder.Close()
	}
	if err != nil {
		return broken(http2.ErrCodeCompression, "%v", err)
	}
	return nil
}

func (c *conn) stream(id uint32) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[id]
}

// data reads a DATA frame into its stream's message.
func (c *conn) data(f frame) error {
	if c.allowed -= f.length; c.allowed < 0 {
		return broken(http2.ErrCodeFlowControl, "more data than the connection's window")
	}
	c.credit(f.length)
	c.mu.Lock()
	s, late := c.streams[f.stream], error(nil)
	if s == nil {
		late = c.unknown(f)
	}
	c.mu.Unlock()
	if s == nil {
		_, err := c.r.Discard(f.length)
		return cmp.Or(late, err)
	}
	body, pad := f.length, 0
	if f.flags.Has(http2.FlagDataPadded) {
		b, err := c.r.ReadByte()
		if err != nil {
			return err
		}
		if pad = int(b); pad >= f.length {
			return broken(http2.ErrCodeProtocol, "DATA is less than its padding")
		}
		body -= 1 + pad
	}
	err := s.data(f.length, body, f.flags.Has(http2.FlagDataEndStream))
	_, lost := c.r.Discard(pad)
	return cmp.Or(err, lost)
}

// credit gives the connection's window back, now and then.
func (c *conn) credit(n int) {
	if c.owed += n; c.owed < connectionWindow/2 {
		return
	}
	by := c.owed
	c.allowed, c.owed = c.allowed+by, 0
	c.queue(func(b []byte) []byte { return appendWindowUpdate(b, 0, by) })
}
