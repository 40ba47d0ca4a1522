package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/understudy-serving/understudy/rollout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	echoMethod = "/test.Echo/Echo"
	holdMethod = "/test.Echo/Hold"
	chatMethod = "/test.Echo/Chat"
	// stubbornMethod is a stream whose handler does not go when its client does.
	stubbornMethod = "/test.Echo/Stubborn"
	nobody         = "/test.Echo/Nobody"
	testMessage    = 6 << 20
	testHeader     = 8 << 10
	patience       = 10 * time.Second
)

// rig is a server under test.
type rig struct {
	t      *testing.T
	server *Server
	addr   string
	// held gets the context of each call of holdMethod, which ends with it or with release.
	held    chan context.Context
	release chan struct{}
}

func newRig(t *testing.T, change ...func(*ServerOptions)) *rig {
	t.Helper()
	r := &rig{t: t, held: make(chan context.Context, 1000), release: make(chan struct{})}
	o := ServerOptions{
		Methods: map[string]Method{
			echoMethod: {Handle: echo},
			holdMethod: {Handle: r.hold},
		},
		Other: r.other,
		Panicked: func(p any) rollout.Status {
			return rollout.Status{Code: rollout.Internal, Message: fmt.Sprint("panic: ", p)}
		},
		MaxMessageBytes: testMessage, MaxHeaderBytes: testHeader, MaxConcurrentStreams: 1000, MaxConnections: 1000,
		ConnectionTimeout: patience, KeepaliveMinTime: time.Hour, KeepaliveTime: time.Hour, KeepaliveTimeout: time.Hour,
	}
	for _, f := range change {
		f(&o)
	}
	r.server = NewServer(o)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = lis.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(lis) }()
	t.Cleanup(func() {
		r.server.Stop()
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Error(err)
		}
		eventually(t, "all messages freed", func() bool { return lent.Load() == 0 })
	})
	return r
}

// echo gives the request back, in the buffers that it came in, and its metadata as header
// and trailer.
func echo(_ context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
	if md["panic"] != nil {
		panic(md["panic"][0])
	}
	if md["fail-bin"] != nil {
		return rollout.Reply{Status: rollout.Status{Code: rollout.Aborted, Message: md["fail-bin"][0], Details: []byte(md["details-bin"][0])}, Trailer: md}
	}
	return rollout.Reply{Payload: req.Ref(), Header: md, Trailer: md}
}

func (r *rig) hold(ctx context.Context, req *rollout.Payload, _ rollout.Metadata) rollout.Reply {
	r.held <- ctx
	select {
	case <-r.release:
		return rollout.Reply{Payload: req.Ref()}
	case <-ctx.Done():
		return rollout.Reply{Status: ended(ctx)}
	}
}

func (r *rig) other(s *ServerStream) rollout.Status {
	switch s.Method() {
	case chatMethod:
		return chat(s)
	case stubbornMethod:
		<-r.release
		return rollout.Status{}
	}
	return rollout.Status{Code: rollout.Unimplemented, Message: "no such method"}
}

// chat sends each message back as it comes.
func chat(s *ServerStream) rollout.Status {
	for {
		p, err := s.Recv()
		if err == io.EOF {
			return rollout.Status{}
		}
		var no *refusal
		if errors.As(err, &no) {
			return no.Status
		}
		if err != nil || s.Send(p) != nil {
			return rollout.Status{Code: rollout.Canceled}
		}
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func clientOptions() ClientOptions {
	return ClientOptions{Authority: "test", Scheme: "http", UserAgent: "test/1", MaxMessageBytes: testMessage, MaxHeaderBytes: testHeader,
		KeepaliveTime: time.Hour, KeepaliveTimeout: time.Hour}
}

func newClient(t *testing.T, nc net.Conn, o ClientOptions) *ClientConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := NewClientConn(ctx, nc, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		eventually(t, "all messages freed", func() bool { return lent.Load() == 0 })
	})
	return c
}

// counted is a payload in pieces, and how often it was released.
func counted(b []byte) (p *rollout.Payload, released *int) {
	released = new(int)
	half := len(b) / 2
	return rollout.NewPayload([][]byte{b[:half:half], b[half:]}, func() { *released++ }), released
}

// pattern are n bytes that tell whose they are, and where.
func pattern(id uint64, n int) []byte {
	b := make([]byte, 0, n+8)
	for x := id; len(b) < min(n, 1009); {
		x = x*6364136223846793005 + 1442695040888963407
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	for b = b[:min(n, 1009)]; len(b) < n; {
		b = append(b, b[:min(len(b), n-len(b))]...)
	}
	return b
}

// call makes a call of its own payload, and returns the answer's bytes.
func call(ctx context.Context, c *ClientConn, method string, b []byte, md rollout.Metadata) ([]byte, rollout.Reply) {
	p := rollout.NewPayload([][]byte{b}, nil)
	defer p.Free()
	reply, _ := c.Call(ctx, method, p, md)
	got := reply.Payload.AppendTo(nil)
	reply.Payload.Free()
	return got, reply
}

func framed(message []byte) []byte {
	b := make([]byte, prefixLen, prefixLen+len(message))
	binary.BigEndian.PutUint32(b[1:], uint32(len(message)))
	return append(b, message...)
}
