package transport

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

// A client that reads nothing costs a bounded queue, and only itself.
func TestClientThatDoesNotRead(t *testing.T) {
	const most = 100
	for name, flood := range map[string]func(p *peer, id uint32){
		"headers": func(p *peer, id uint32) {
			p.headers(id, false, asking(echoMethod, "x", strings.Repeat("x", 5000))...)
			p.data(id, true, framed(nil))
		},
		"answers": func(p *peer, id uint32) { p.ask(id, echoMethod, make([]byte, 100_000)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *ServerOptions) { o.MaxConcurrentStreams = most })
			p := r.rawClient(window(maxWindow))
			p.ok(p.WriteWindowUpdate(0, maxWindow-initialWindow))
			p.wantEcho(1)
			sc := r.onlyConn()
			flooded := make(chan struct{})
			go func() {
				defer close(flooded)
				p.floodUntilClosed(flood)
			}()
			other := newClient(t, r.dial(), clientOptions())
			bounded := func() {
				if n := sc.backlog(); n > mostUnsent+2*mostData {
					t.Fatalf("%d bytes are queued for one who does not read", n)
				}
				if _, reply := call(t.Context(), other, echoMethod, pattern(1, 1000), nil); reply.Status.Code != rollout.OK {
					t.Fatalf("another client: %+v", reply.Status)
				}
			}
			eventually(t, "the client is held", func() bool { bounded(); return sc.backlog() > mostUnsent || sc.open() == most })
			for range 50 {
				bounded()
			}
			_ = p.nc.Close()
			<-flooded
		})
	}
}

// onlyConn is the one connection that the server has.
func (r *rig) onlyConn() *serverConn {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	for _, sc := range r.server.conns {
		return sc
	}
	return nil
}

// floodUntilClosed sends without reading, many frames at a time, so that the server sees no pause.
func (p *peer) floodUntilClosed(send func(p *peer, id uint32)) {
	var frames bytes.Buffer
	p.Framer = http2.NewFramer(&frames, nil)
	for id := uint32(3); ; {
		for ; frames.Len() < 256<<10; id += 2 {
			send(p, id)
		}
		if _, err := frames.WriteTo(p.nc); err != nil {
			return
		}
	}
}

func (c *conn) backlog() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.size + c.under
}

func (c *conn) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams)
}

// endless is a connection whose peer sends without a pause, and does not read.
type endless struct {
	net.Conn
	frames []byte
	at     int
	read   atomic.Int64
	closed chan struct{}
}

func (e *endless) Read(b []byte) (int, error) {
	select {
	case <-e.closed:
		return 0, net.ErrClosed
	default:
	}
	for n := 0; n < len(b); {
		m := copy(b[n:], e.frames[e.at:])
		n, e.at = n+m, (e.at+m)%len(e.frames)
	}
	e.read.Add(int64(len(b)))
	return len(b), nil
}

func (e *endless) Write([]byte) (int, error) {
	<-e.closed
	return 0, net.ErrClosed
}

func (e *endless) Close() error {
	close(e.closed)
	return nil
}

func TestFloodWithoutAPauseIsHeld(t *testing.T) {
	r := newRig(t)
	e := &endless{frames: bytes.Repeat(odd(http2.FrameSettings, 0, 0), 1000), closed: make(chan struct{})}
	sc := newServerConn(r.server, e)
	sc.most = 100_000 // to be there sooner
	served := make(chan struct{})
	go func() {
		defer close(served)
		sc.serve()
	}()
	before, still := int64(0), 0
	eventually(t, "the reader waits", func() bool {
		n := e.read.Load()
		if still++; n != before {
			before, still = n, 0
		}
		if n > 1_000_000 {
			t.Fatalf("%d bytes were read, %d are queued", n, sc.backlog())
		}
		return still == 50
	})
	if n := sc.backlog(); n < sc.most {
		t.Errorf("it waits with %d bytes queued", n)
	}
	sc.end(errClosed)
	<-served
}

func TestServerThatFloodsWithoutReadingIsGivenUp(t *testing.T) {
	e := &endless{frames: bytes.Repeat(odd(http2.FrameSettings, 0, 0), 1000), closed: make(chan struct{})}
	c := newClient(t, e, clientOptions())
	c.mu.Lock()
	c.most = 100_000 // to be there sooner
	c.mu.Unlock()
	<-c.Done()
	if got, want := fmt.Sprint(c.Err()), "answers that are not read"; !strings.Contains(got, want) {
		t.Errorf("it ended by %s, want %s", got, want)
	}
}

// What came before is answered while a frame is only half here.
func TestHalfAFrameHoldsNoAnswer(t *testing.T) {
	r := newRig(t)
	p := r.rawClient()
	p.barrier()
	var ping bytes.Buffer
	p.ok(http2.NewFramer(&ping, nil).WritePing(false, [8]byte{7}))
	p.bytes(append(ping.Bytes(), ping.Bytes()[:4]...)) // in one piece, so that both are read at once
	p.await("the answer", func(f http2.Frame) bool {
		g, ok := f.(*http2.PingFrame)
		return ok && g.IsAck() && g.Data == [8]byte{7}
	})
}
