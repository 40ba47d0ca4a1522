package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/understudy-serving/understudy/rollout"
)

func TestDrainFailsNoCall(t *testing.T) {
	const callers = 20
	r := newRig(t)
	theirs, ours := theirClient(t, r), newClient(t, r.dial(), clientOptions())
	var failed atomic.Int64
	var calls sync.WaitGroup
	for i := range callers {
		calls.Go(func() {
			in, out := pattern(uint64(i), 100_000), []byte(nil)
			if err := theirs.Invoke(t.Context(), holdMethod, &in, &out); err != nil || !bytes.Equal(in, out) {
				failed.Add(1)
			}
		})
		calls.Go(func() {
			in := pattern(uint64(i), 100_000)
			if out, reply := call(t.Context(), ours, holdMethod, in, nil); reply.Status.Code != rollout.OK || !bytes.Equal(in, out) {
				failed.Add(1)
			}
		})
	}
	for range 2 * callers {
		<-r.held
	}
	drained := make(chan struct{})
	go func() {
		r.server.Drain()
		close(drained)
	}()
	<-ours.Leaving()
	if _, reply := call(t.Context(), ours, echoMethod, nil, nil); reply.Status.Code != rollout.Unavailable {
		t.Errorf("a new call: %+v", reply.Status)
	}
	select {
	case <-drained:
		t.Error("drained under calls")
	default:
	}
	close(r.release)
	calls.Wait()
	<-drained
	if n := failed.Load(); n != 0 {
		t.Errorf("%d calls of %d failed", n, 2*callers)
	}
	<-ours.Done()
	if nc, err := net.Dial("tcp", r.addr); err == nil {
		_ = nc.Close()
		t.Error("a drained server still listens")
	}
}

// drainPing waits for the PING by which a server finds out that its client knows of the drain.
func (p *peer) drainPing() *http2.PingFrame {
	p.t.Helper()
	return p.await("drain's PING", func(f http2.Frame) bool {
		g, ok := f.(*http2.PingFrame)
		return ok && !g.IsAck()
	}).(*http2.PingFrame)
}

// A connection that is closed while the peer still sends is reset, and what is in the kernel
// for a slow reader is lost.
func TestLastAnswerReachesASlowReader(t *testing.T) {
	const size = 2 << 20
	r := newRig(t)
	nc := r.dial()
	_ = nc.(*net.TCPConn).SetReadBuffer(16 << 10)
	p := newPeer(t, nc)
	p.bytes([]byte(http2.ClientPreface))
	p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: size + prefixLen}))
	p.ok(p.WriteWindowUpdate(0, size))
	want := pattern(1, size)
	p.ask(1, holdMethod, want)
	<-r.held
	go r.server.Drain()
	drain := p.drainPing()
	p.ok(p.WritePing(true, drain.Data))
	close(r.release)
	var got []byte
	for done := false; !done; {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			got = append(got, f.Data()...)
			// What the kernel refuses is of no more use to the server either.
			_ = p.WriteWindowUpdate(0, uint32(f.Length))
			_ = p.WritePing(false, [8]byte{1})
		case *http2.MetaHeadersFrame:
			done = f.StreamEnded()
		}
	}
	if !bytes.Equal(got[prefixLen:], want) {
		t.Error("the answer is another")
	}
	p.wantEnd()
}

func TestCallsOpenedBehindTheGoAwayHarmNone(t *testing.T) {
	r := newRig(t)
	p := r.rawClient()
	p.ask(1, holdMethod, []byte("x"))
	<-r.held
	go r.server.Drain()
	drain := p.drainPing()
	p.wantEcho(3) // it had not heard
	p.ok(p.WritePing(true, drain.Data))
	p.await("the last GOAWAY", func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		return ok && g.LastStreamID == 3
	})
	p.ask(5, echoMethod, []byte("x"))
	p.ok(p.WriteRSTStream(5, http2.ErrCodeCancel))
	p.ok(p.WriteWindowUpdate(5, 1))
	p.barrier()
	close(r.release)
	p.wantField(1, "grpc-status", "0")
	p.wantEnd()
}

func TestStopEndsHandlers(t *testing.T) {
	r := newRig(t)
	c := newClient(t, r.dial(), clientOptions())
	var calls sync.WaitGroup
	calls.Go(func() {
		if _, reply := call(t.Context(), c, holdMethod, nil, nil); reply.Status.Code != rollout.Unavailable {
			t.Errorf("got %+v", reply.Status)
		}
	})
	ctx := <-r.held
	r.server.Stop()
	if ctx.Err() == nil {
		t.Error("a handler outlived Stop")
	}
	calls.Wait()
	if err := r.server.Serve(closedListener{}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve after Stop: %v", err)
	}
}

type closedListener struct{}

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }
func (closedListener) Addr() net.Addr            { return nil }

func TestConnectionsEndByAgeAndIdleness(t *testing.T) {
	for name, change := range map[string]func(*ServerOptions){
		"idle": func(o *ServerOptions) { o.MaxIdle = 20 * time.Millisecond },
		"old":  func(o *ServerOptions) { o.MaxAge = 20 * time.Millisecond },
	} {
		c := newClient(t, newRig(t, change).dial(), clientOptions())
		select {
		case <-c.Done():
		case <-time.After(patience):
			t.Errorf("a connection that is %s was kept", name)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	var refused atomic.Int64
	r := newRig(t, func(o *ServerOptions) { o.MaxConnections, o.Refused = 1, func() { refused.Add(1) } })
	r.rawClient().wantEcho(1)
	second := r.dial()
	_ = second.SetDeadline(time.Now().Add(patience))
	if _, err := second.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a second connection is served")
	}
	if refused.Load() != 1 || r.server.Connections() != 1 {
		t.Errorf("%d refused, %d open", refused.Load(), r.server.Connections())
	}
}

func TestServerGivesUpSilentClients(t *testing.T) {
	r := newRig(t, func(o *ServerOptions) {
		o.KeepaliveTime, o.KeepaliveTimeout = 50*time.Millisecond, 500*time.Millisecond
	})
	silent, alive := r.rawClient(), newClient(t, r.dial(), clientOptions())
	silent.await("a PING", func(f http2.Frame) bool { return f.Header().Type == http2.FramePing })
	for {
		if _, err := silent.ReadFrame(); err != nil {
			break
		}
	}
	if _, reply := call(t.Context(), alive, echoMethod, nil, nil); reply.Status.Code != rollout.OK {
		t.Errorf("one that answers pings: %+v", reply.Status)
	}
}

func TestClientGivesUpASilentServer(t *testing.T) {
	p, c := rawServer(t, func(o *ClientOptions) { o.KeepaliveTime, o.KeepaliveTimeout = 20*time.Millisecond, 20*time.Millisecond })
	_, reply := call(t.Context(), c, echoMethod, nil, nil)
	if reply.Status.Code != rollout.Unavailable || !errors.Is(c.Err(), errSilent) {
		t.Errorf("got %+v, %v", reply.Status, c.Err())
	}
	p.await("a PING", func(f http2.Frame) bool { return f.Header().Type == http2.FramePing })
}

// Clients measure their windows with a ping behind what they hear.
func TestPingsBehindAnswersAreFree(t *testing.T) {
	p := newRig(t).rawClient()
	for i := range uint32(10) {
		p.wantEcho(2*i + 1)
		p.barrier()
	}
}

func TestOurPingsSuitTheirServer(t *testing.T) {
	_, addr := theirServer(t, func(_ context.Context, in []byte) ([]byte, error) { return in, nil },
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Millisecond, PermitWithoutStream: true}))
	c := ourClient(t, addr, func(o *ClientOptions) { o.KeepaliveTime, o.KeepaliveTimeout = 10*time.Millisecond, patience })
	time.Sleep(100 * time.Millisecond) // ten pings
	if _, reply := call(t.Context(), c, echoMethod, nil, nil); reply.Status.Code != rollout.OK {
		t.Errorf("got %+v", reply.Status)
	}
}

// Answers may be on their way from a server that takes no more.
func TestAnswersAreReadBehindAFailedWrite(t *testing.T) {
	ours, theirs := socketPair(t)
	p := newPeer(t, theirs)
	p.ok(p.WriteSettings())
	mute := &muteConn{Conn: ours}
	c := newClient(t, mute, clientOptions())
	p.ok(readPreface(theirs))
	var calls sync.WaitGroup
	calls.Go(func() {
		if got, reply := call(t.Context(), c, echoMethod, []byte("x"), nil); string(got) != "y" {
			t.Errorf("%q, %+v", got, reply.Status)
		}
	})
	id := p.request()
	mute.failing.Store(true)
	calls.Go(func() {
		if _, reply := call(t.Context(), c, echoMethod, []byte("x"), nil); reply.Status.Code != rollout.Unavailable {
			t.Errorf("a call that can't be sent: %+v", reply.Status)
		}
	})
	eventually(t, "a write failed", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.failed != nil })
	p.answer(id, []byte("y"))
	_ = p.nc.Close()
	calls.Wait()
}

// muteConn fails to write when it is told to.
type muteConn struct {
	net.Conn
	failing atomic.Bool
}

func (m *muteConn) Write(b []byte) (int, error) {
	if m.failing.Load() {
		return 0, syscall.EPIPE
	}
	return m.Conn.Write(b)
}

func (m *muteConn) CloseWrite() error { return m.Conn.(*net.TCPConn).CloseWrite() }

func TestRetireEndsBehindTheLastCall(t *testing.T) {
	p, c := rawServer(t)
	var calls sync.WaitGroup
	calls.Go(func() {
		if got, reply := call(t.Context(), c, echoMethod, nil, nil); string(got) != "y" {
			t.Errorf("%q, %+v", got, reply.Status)
		}
	})
	id := p.request()
	c.Retire()
	req := rollout.NewPayload(nil, nil)
	if reply, unsent := c.Call(t.Context(), echoMethod, req, nil); reply.Status.Code != rollout.Unavailable || !unsent {
		t.Errorf("a call of a retired connection: %+v, unsent %v", reply.Status, unsent)
	}
	p.answer(id, []byte("y"))
	calls.Wait()
	if _, err := io.Copy(io.Discard, p.nc); err != nil {
		t.Error(err)
	}
	_ = p.nc.Close()
	<-c.Done()
}
