package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// proxy is a TCP line that can be made bad. Connections follow a change of its quality
// at once.
type proxy struct {
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	upstream string
	quality  quality
	changed  chan struct{} // closed by the next change of quality
	conns    map[net.Conn]struct{}
	cuts     int
}

// quality is how bad a line is. The zero value is a good one.
type quality struct {
	// down refuses to carry anything: connections are accepted and closed.
	down bool
	// delay holds every chunk back, and bytesPerSecond, if not 0, limits each direction
	// of each connection.
	delay          time.Duration
	bytesPerSecond int
	// cutAfter, if not 0, resets each connection after up to so many bytes towards the
	// broker. At every other cut the broker still gets them, and only its answer is lost.
	cutAfter int
}

// newProxy listens on a free port; connect says where it leads.
func newProxy() (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, conns: map[net.Conn]struct{}{}, changed: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) connect(upstream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = upstream
}

// set changes the line. One that goes down ends its connections.
func (p *proxy) set(q quality) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quality = q
	close(p.changed)
	p.changed = make(chan struct{})
	if q.down {
		for c := range p.conns {
			reset(c)
		}
	}
}

func (p *proxy) now() (quality, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.quality, p.changed
}

// cut counts connections that were cut.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// close ends the line and returns when nothing of it runs any more.
func (p *proxy) close() {
	p.cancel()
	_ = p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		reset(c)
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.carry(c) })
	}
}

// track enters a connection among those that go down with the line.
func (p *proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quality.down || p.ctx.Err() != nil {
		reset(c)
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

// carry is one connection's life.
func (p *proxy) carry(client net.Conn) {
	if !p.track(client) {
		return
	}
	defer p.forget(client)
	p.mu.Lock()
	upstream := p.upstream
	p.mu.Unlock()
	broker, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(p.ctx, "tcp", upstream)
	if err != nil {
		reset(client)
		return
	}
	if !p.track(broker) {
		return
	}
	defer p.forget(broker)
	var both sync.WaitGroup
	both.Go(func() { p.copy(client, broker, false) })
	p.copy(broker, client, true)
	both.Wait()
}

// copy carries one direction until either end closes.
func (p *proxy) copy(to, from net.Conn, outbound bool) {
	chunk := make([]byte, 16<<10)
	carried, limit := 0, 0
	for {
		n, err := from.Read(chunk)
		if n > 0 {
			q, changed := p.now()
			p.hold(q, n, changed)
			if outbound && q.cutAfter > 0 {
				if limit == 0 {
					limit = 1 + rand.IntN(q.cutAfter)
				}
				if carried += n; carried >= limit {
					p.sever(to, from, chunk[:n])
					return
				}
			}
			if _, err := to.Write(chunk[:n]); err != nil {
				reset(from)
				return
			}
		}
		if err == io.EOF {
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
		if err != nil {
			reset(to)
			return
		}
	}
}

// hold keeps n bytes back for as long as a bad line takes, or until it gets better.
func (p *proxy) hold(q quality, n int, changed <-chan struct{}) {
	wait := q.delay
	if q.bytesPerSecond > 0 {
		wait += time.Duration(n) * time.Second / time.Duration(q.bytesPerSecond)
	}
	if wait == 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-p.ctx.Done():
	}
}

// sever cuts a connection in the middle of what is being sent: every other time the
// broker gets all of it, and a moment to act on it.
func (p *proxy) sever(broker, client net.Conn, last []byte) {
	p.mu.Lock()
	p.cuts++
	delivered := p.cuts%2 == 0
	p.mu.Unlock()
	if delivered {
		reset(client)
		_, _ = broker.Write(last)
		p.hold(quality{delay: 50 * time.Millisecond}, 0, nil)
	}
	reset(client)
	reset(broker)
}

// reset closes a connection without goodbye.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
