package sink

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// errClosed ends what is still being written when the sink closes.
var errClosed = errors.New("the sink is closed")

// ioTimeout bounds a read or write for which kafka-go sets no deadline of its own,
// as during a SASL handshake with a broker that hangs.
const ioTimeout = 10 * time.Second

// dialer opens connections for kafka-go and can cut them all off: nothing else ends
// a write that kafka-go has begun.
type dialer struct {
	net    net.Dialer
	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

func newDialer() *dialer {
	return &dialer{net: net.Dialer{Timeout: 3 * time.Second}, open: map[*conn]struct{}{}}
}

// DialContext opens a connection, or refuses after close.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		c.Close()
		return nil, errClosed
	}
	tracked := &conn{Conn: c, dialer: d}
	d.open[tracked] = struct{}{}
	return tracked, nil
}

// close cuts all connections off, now and later.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for c := range d.open {
		c.Conn.Close()
	}
}

// conn is a connection that never waits for ever. kafka-go uses each from one
// goroutine at a time and reads only where an answer is due.
type conn struct {
	net.Conn
	dialer   *dialer
	deadline time.Time
}

func (c *conn) SetDeadline(t time.Time) error {
	c.deadline = t
	return c.Conn.SetDeadline(t)
}

// bound sets a deadline where there is none.
func (c *conn) bound() error {
	if !c.deadline.IsZero() {
		return nil
	}
	return c.Conn.SetDeadline(time.Now().Add(ioTimeout))
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.bound(); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.bound(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}
