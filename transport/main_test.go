package transport

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-serving/understudy/rollout"
)

// nonsense is what comes back is overwritten with; noise is what messages are made of.
var (
	nonsense = bytes.Repeat([]byte{0xdd}, 64<<10)
	noise    = func() []byte {
		b := make([]byte, 16<<20)
		rand.NewChaCha8([32]byte{1}).Read(b)
		return b
	}()
)

// away counts the messages that were given away and have not come back.
var away atomic.Int64

func TestMain(m *testing.M) {
	watch = func(chunks [][]byte, back bool) {
		if !back {
			away.Add(1)
			return
		}
		for _, c := range chunks { // whoever reads it now gets nonsense
			for len(c) > 0 {
				c = c[copy(c, nonsense):]
			}
		}
		away.Add(-1)
	}
	goleak.VerifyTestMain(m)
}

// balanced sees that every message has come back.
func balanced(t *testing.T) {
	t.Helper()
	eventually(t, "every message to come back", func() bool { return away.Load() == 0 })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s; %d messages are away", what, away.Load())
		}
	}
}

const (
	echoes = "/test.Service/Echo"
	fails  = "/test.Service/Fail"
	hangs  = "/test.Service/Hang"
	panics = "/test.Service/Panic"
)

// limits are a server's for tests.
func limits() ServerOptions {
	return ServerOptions{
		Methods: map[string]Method{
			echoes: {Handle: echo},
			fails: {Handle: func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply {
				return rollout.Reply{Status: rollout.Status{Code: rollout.InvalidArgument, Message: "50 % of it,\nat änderung"},
					Header: rollout.Metadata{"a": {"1"}}, Trailer: rollout.Metadata{"b": {"2"}}}
			}},
			hangs: {Handle: func(ctx context.Context, _ *rollout.Payload, _ rollout.Metadata) rollout.Reply {
				<-ctx.Done()
				return rollout.Reply{Status: ended(ctx)}
			}},
			panics: {Handle: func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply { panic("on purpose") }},
		},
		Other: func(*ServerStream) rollout.Status {
			return rollout.Status{Code: rollout.Unimplemented, Message: "unknown"}
		},
		Panicked:        func(p any) rollout.Status { return rollout.Status{Code: rollout.Internal, Message: "panicked"} },
		MaxMessageBytes: 8 << 20, MaxHeaderBytes: 16 << 10, MaxConcurrentStreams: 100, MaxConnections: 100,
		ConnectionTimeout: 5 * time.Second, KeepaliveMinTime: time.Hour, KeepaliveTime: time.Hour, KeepaliveTimeout: time.Second,
	}
}

// echo answers with the very bytes that came, and the metadata as header and trailer.
func echo(_ context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
	return rollout.Reply{Payload: req.Ref(), Header: md, Trailer: md}
}

// serve runs a server until stop, which waits for its handlers.
func serve(t testing.TB, o ServerOptions) (s *Server, addr string, stop func()) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = NewServer(o)
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	stop = sync.OnceFunc(func() {
		s.Stop()
		if err := <-served; err != ErrServerClosed {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, lis.Addr().String(), stop
}

func clientOptions() ClientOptions {
	return ClientOptions{Authority: "test", Scheme: "http", UserAgent: "test", MaxMessageBytes: 8 << 20, MaxHeaderBytes: 16 << 10,
		KeepaliveTime: time.Hour, KeepaliveTimeout: time.Second}
}

func connect(t testing.TB, addr string, o ClientOptions) *ClientConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := NewClientConn(ctx, nc, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// payload is one of n bytes that differ by seed.
func payload(seed, n int) *rollout.Payload {
	return rollout.NewPayload([][]byte{pattern(seed, n)}, nil)
}

func pattern(seed, n int) []byte {
	seed %= 1 << 16
	return noise[seed : seed+n : seed+n]
}

// call makes one call and returns the answer's bytes, copied.
func call(ctx context.Context, c *ClientConn, method string, req *rollout.Payload, md rollout.Metadata) (rollout.Reply, []byte) {
	reply, _ := c.Call(ctx, method, req, md)
	req.Free()
	got := bytes.Clone(reply.Payload.Bytes())
	reply.Payload.Free()
	return reply, got
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
