package gateway

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// limit returns a listener that closes connections over the gateway's maximum at once.
// Waiting would leave clients hanging in the kernel's queue, and hide the cause.
func (g *Gateway) limit(lis net.Listener) net.Listener {
	return &listener{Listener: lis, g: g}
}

type listener struct {
	net.Listener
	g *Gateway
}

// Accept returns the next connection under the maximum.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.g.connections.Add(1) <= int64(l.g.options.MaxConnections) {
			return &connection{Conn: c, open: &l.g.connections}, nil
		}
		l.g.connections.Add(-1)
		_ = c.Close()
		l.g.refused()
	}
}

// warnEvery keeps a flood of connections from flooding the log.
const warnEvery = 10 * time.Second

func (g *Gateway) refused() {
	g.metrics.refused.Inc()
	now := g.now().UnixNano()
	last := g.lastRefusal.Load()
	if (last == 0 || now-last >= int64(warnEvery)) && g.lastRefusal.CompareAndSwap(last, now) {
		g.log.Warn("client connections refused: the maximum is reached; raise limits.maxConnections, or look for clients that open one for each request",
			"maxConnections", g.options.MaxConnections)
	}
}

// connection gives its place back when it is closed.
type connection struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

// Close may be called more than once.
func (c *connection) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
