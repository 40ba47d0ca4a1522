package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

// mostQueued is how many bytes may wait for a server that does not read them: further
// calls fail at once.
const mostQueued = 8 << 20

var (
	errClosed = errors.New("the connection was closed")
	errSilent = errors.New("the server does not answer pings")
)

// ClientOptions set a connection up. MaxMessageBytes, MaxHeaderBytes and the times must be set.
type ClientOptions struct {
	// Authority is the :authority of calls, Scheme their :scheme, http or https.
	Authority, Scheme string
	UserAgent         string
	// MaxMessageBytes bounds an answer, decompressed, and MaxHeaderBytes its metadata as
	// HTTP/2 counts it.
	MaxMessageBytes, MaxHeaderBytes int
	// KeepaliveTime is after how much silence the server is pinged, KeepaliveTimeout how
	// long it has to answer.
	KeepaliveTime, KeepaliveTimeout time.Duration
}

// ClientConn makes calls on one connection. It is safe for concurrent use.
type ClientConn struct {
	*conn
	options ClientOptions
	// ready is closed when the server's settings are known, leaving when it takes no new calls, done at the end.
	ready, leaving, done   chan struct{}
	readyOnce, leavingOnce sync.Once
	running                sync.WaitGroup
	lostBy                 error // why it ended; to be read after done
	next                   uint32
	waiting                []chan struct{} // calls for which the server has no stream free
	// heads are what all calls of a method begin with; methods are few.
	heads map[string]*common
}

// NewClientConn speaks HTTP/2 on nc, which it owns, as a client that knows it in advance or
// has agreed on it in TLS. It waits until the server has answered, or ctx ends.
func NewClientConn(ctx context.Context, nc net.Conn, o ClientOptions) (*ClientConn, error) {
	c := &ClientConn{conn: newConn(nc, o.MaxHeaderBytes, 2*mostQueued), options: o, next: 1, heads: make(map[string]*common),
		ready: make(chan struct{}), leaving: make(chan struct{}), done: make(chan struct{})}
	c.side = c
	c.queue(func(b []byte) []byte { return append(b, http2.ClientPreface...) })
	c.greet(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	c.running.Go(c.run)
	c.running.Go(c.tend)
	c.flush()
	select {
	case <-c.ready:
		return c, nil
	case <-c.done:
		return nil, fmt.Errorf("the server ended the connection before its HTTP/2 settings came: %w", c.lostBy)
	case <-ctx.Done():
		_ = c.Close()
		return nil, fmt.Errorf("waiting for the server's HTTP/2 settings: %w", ctx.Err())
	}
}

// Leaving is closed when the server takes no new calls on this connection: it said so, or
// the connection is gone.
func (c *ClientConn) Leaving() <-chan struct{} { return c.leaving }

// Done is closed when the connection is gone.
func (c *ClientConn) Done() <-chan struct{} { return c.done }

// Err says why the connection ended; to be called after Done.
func (c *ClientConn) Err() error { return c.lostBy }

// Close ends calls under way with CANCELLED, and the connection.
func (c *ClientConn) Close() error {
	c.end(errClosed)
	c.running.Wait()
	return nil
}

// Retire closes the connection behind the calls under way, and takes no new ones.
func (c *ClientConn) Retire() {
	c.mu.Lock()
	c.leave()
	c.mu.Unlock()
	c.flush()
}

// leave takes no more calls; c.mu is held.
func (c *ClientConn) leave() {
	c.leavingOnce.Do(func() { close(c.leaving) })
	c.wakeAll()
	if len(c.streams) == 0 {
		c.closing = true
	}
}

func (c *ClientConn) gone() bool {
	select {
	case <-c.leaving:
		return true
	default:
		return c.closing
	}
}

// tend pings a server that is silent, and gives up one that does not answer.
func (c *ClientConn) tend() {
	timer := time.NewTimer(c.options.KeepaliveTime)
	defer timer.Stop()
	for waiting := false; ; {
		select {
		case <-c.done:
			return
		case <-timer.C:
		}
		switch {
		case c.heard.Swap(false):
			waiting = false
			timer.Reset(c.options.KeepaliveTime)
		case waiting:
			c.end(errSilent)
			return
		default:
			waiting = true
			c.queue(func(b []byte) []byte { return appendPing(b, 0, alivePing) })
			c.flush()
			timer.Reset(c.options.KeepaliveTimeout)
		}
	}
}

// Call makes one unary call with ctx's deadline and cancellation, one attempt. The caller
// keeps its reference to req and must not change md until the call is over. unsent tells
// that the server did certainly not begin with it: another connection may be tried.
func (c *ClientConn) Call(ctx context.Context, method string, req *rollout.Payload, md rollout.Metadata) (reply rollout.Reply, unsent bool) {
	call := &clientCall{c: c, done: make(chan struct{})}
	if s, unsent := call.open(ctx, method, req, md); s.Code != rollout.OK {
		return rollout.Reply{Status: s}, unsent
	}
	c.flush()
	select {
	case <-call.done:
	case <-ctx.Done():
		if call.abandon(ctx) {
			return rollout.Reply{Status: ended(ctx)}, false
		}
	}
	return call.reply(ctx), call.unsent
}

// open opens a stream, when the server has one free, and queues the request.
func (call *clientCall) open(ctx context.Context, method string, req *rollout.Payload, md rollout.Metadata) (s rollout.Status, unsent bool) {
	c := call.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case ctx.Err() != nil:
			return ended(ctx), false
		case c.gone() || c.next > maxWindow:
			c.leave()
			return rollout.Status{Code: rollout.Unavailable, Message: "the server has closed the connection"}, true
		case c.out.size+c.under > mostQueued:
			return rollout.Status{Code: rollout.Unavailable, Message: "the server does not read what it is sent"}, false
		}
		if len(c.streams) < c.peer.streams {
			break
		}
		c.wait(ctx)
	}
	call.stream = stream{conn: c.conn, id: c.next, end: call, allowed: streamWindow, window: c.peer.window,
		in: inbox{limit: c.options.MaxMessageBytes}}
	c.next += 2
	c.streams[call.id] = &call.stream
	c.request(call.id, ctx, method, md)
	call.send(req.Ref(), true)
	return rollout.Status{}, false
}

// request queues a call's header; c.mu is held.
func (c *ClientConn) request(id uint32, ctx context.Context, method string, md rollout.Metadata) {
	mark := c.beginBlock()
	head := c.heads[method]
	if head == nil {
		head = commonOf(":method", "POST", ":scheme", c.options.Scheme, ":path", method, ":authority", c.options.Authority,
			"content-type", grpcType, "te", "trailers", "user-agent", c.options.UserAgent, "grpc-accept-encoding", zipped)
		c.heads[method] = head
	}
	c.common(head)
	if deadline, ok := ctx.Deadline(); ok {
		var room [timeoutDigits + 1]byte
		c.out.grown(appendRare(c.out.tail, "grpc-timeout", appendTimeout(room[:0], time.Until(deadline))))
	}
	c.metadata(md)
	c.endBlock(mark, id, false)
}

// wait waits for a stream to become free; c.mu is held before and after.
func (c *ClientConn) wait(ctx context.Context) {
	turn := make(chan struct{})
	c.waiting = append(c.waiting, turn)
	c.mu.Unlock()
	select {
	case <-turn:
	case <-ctx.Done():
	}
	c.mu.Lock()
	if ctx.Err() == nil {
		return
	}
	if i := slices.Index(c.waiting, turn); i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	} else {
		c.wake() // it was our turn: the next one's, then
	}
}

// wake lets the call go on that waits longest; c.mu is held.
func (c *ClientConn) wake() {
	if len(c.waiting) > 0 {
		close(c.waiting[0])
		c.waiting = slices.Delete(c.waiting, 0, 1)
	}
}

func (c *ClientConn) wakeAll() {
	for len(c.waiting) > 0 {
		c.wake()
	}
}

// opened refuses what a server must not open.
func (c *ClientConn) opened(id uint32, _ *head, _ bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stale(id) {
		return broken(http2.ErrCodeProtocol, "the server opened stream %d", id)
	}
	return nil
}

func (c *ClientConn) settled() {
	c.readyOnce.Do(func() { close(c.ready) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakeAll()
}

// goAway lets the calls finish that the server will answer, and tells the others that it
// did not begin with them.
func (c *ClientConn) goAway(last uint32, _ http2.ErrCode, reason string) {
	c.mu.Lock()
	for id, s := range c.streams {
		if id > last {
			call := s.end.(*clientCall)
			call.unsent = true
			call.forget()
			call.finish(rollout.Status{Code: rollout.Unavailable, Message: "the server is going away: " + reason})
		}
	}
	c.leave()
	c.mu.Unlock()
	c.flush()
}

func (c *ClientConn) pinged() error { return nil }

// crowded gives a server up that asks, and does not read what it is told.
func (c *ClientConn) crowded() error {
	return broken(http2.ErrCodeEnhanceYourCalm, "answers that are not read")
}

func (c *ClientConn) ponged([8]byte) {}

func (c *ClientConn) stale(id uint32) bool { return id%2 == 1 && id < c.next }

// lost ends every call.
func (c *ClientConn) lost(err error) {
	c.mu.Lock()
	c.lostBy = err
	s := rollout.Status{Code: rollout.Unavailable, Message: "the connection to the server was lost: " + err.Error()}
	if errors.Is(err, errClosed) {
		s = rollout.Status{Code: rollout.Canceled, Message: "the client was closed"}
	}
	for _, stream := range c.streams {
		stream.end.(*clientCall).finish(s)
	}
	c.leave()
	c.mu.Unlock()
	close(c.done)
}

// ended is the status of a call whose context ended.
func ended(ctx context.Context) rollout.Status {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return rollout.Status{Code: rollout.DeadlineExceeded, Message: ctx.Err().Error()}
	}
	return rollout.Status{Code: rollout.Canceled, Message: ctx.Err().Error()}
}
