package transport

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/understudy-serving/understudy/rollout"
)

// sizes lie at the borders of frames, of buffers and of windows.
var sizes = []int{0, 1, 100, 16<<10 - 5, 16 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5 << 20}

func dialGRPC(t *testing.T, addr string, o ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, append(o, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestServerForGRPCClients(t *testing.T) {
	_, addr, stop := serve(t, limits())
	conn := dialGRPC(t, addr)
	for _, o := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
		for _, n := range sizes {
			if o != nil && n > 1<<17 {
				continue // the race detector and gzip take seconds
			}
			in, out := wrapperspb.Bytes(pattern(n, n)), new(wrapperspb.BytesValue)
			if err := conn.Invoke(within(t, 10*time.Second), echoes, in, out, o...); err != nil || !bytes.Equal(in.Value, out.Value) {
				t.Errorf("%d bytes, %v: %d came back, %v", n, o, len(out.Value), err)
			}
		}
	}
	var header, trailer metadata.MD
	ctx := metadata.AppendToOutgoingContext(within(t, 10*time.Second), "twice", "1", "twice", "2", "raw-bin", "\x00\xff", "long", strings.Repeat("x", 9000))
	if err := conn.Invoke(ctx, echoes, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue), grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	for name, md := range map[string]metadata.MD{"header": header, "trailer": trailer} {
		if got := md.Get("twice"); len(got) != 2 || got[0] != "1" || got[1] != "2" || md.Get("raw-bin")[0] != "\x00\xff" || len(md.Get("long")[0]) != 9000 {
			t.Errorf("%s %v", name, md)
		}
	}
	for method, want := range map[string]codes.Code{fails: codes.InvalidArgument, panics: codes.Internal, "/no.Such/Method": codes.Unimplemented} {
		if err := conn.Invoke(within(t, 10*time.Second), method, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue)); status.Code(err) != want {
			t.Errorf("%s: %v", method, err)
		} else if want == codes.InvalidArgument && status.Convert(err).Message() != "50 % of it,\nat änderung" {
			t.Errorf("message %q", status.Convert(err).Message())
		}
	}
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := conn.Invoke(short, hangs, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("past the deadline: %v", err)
	}
	for name, big := range map[string]int{"a little": 8<<20 + 1, "much": 12 << 20} {
		for _, o := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
			err := conn.Invoke(within(t, 10*time.Second), echoes, wrapperspb.Bytes(make([]byte, big)), new(wrapperspb.BytesValue), o...)
			if status.Code(err) != codes.ResourceExhausted {
				t.Errorf("%s over the limit, %v: %v", name, o, err)
			}
		}
	}
	huge := metadata.AppendToOutgoingContext(within(t, 10*time.Second), "huge", strings.Repeat("x", 20<<10))
	if err := conn.Invoke(huge, echoes, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue)); err == nil {
		t.Error("metadata over the limit was taken")
	}
	stop()
	balanced(t)
}

// A client that goes away ends its handler's context.
func TestCancelReachesTheHandler(t *testing.T) {
	began, over := make(chan struct{}), make(chan struct{})
	o := limits()
	o.Methods[hangs] = Method{Handle: func(ctx context.Context, _ *rollout.Payload, _ rollout.Metadata) rollout.Reply {
		close(began)
		<-ctx.Done()
		close(over)
		return rollout.Reply{Status: ended(ctx)}
	}}
	_, addr, _ := serve(t, o)
	conn := dialGRPC(t, addr)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-began
		cancel()
	}()
	if err := conn.Invoke(ctx, hangs, wrapperspb.Bytes(nil), new(wrapperspb.BytesValue)); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Error("the handler was not told")
	}
	balanced(t)
}

// Every call that a handler got is answered, while the server drains.
func TestDrainLosesNoCall(t *testing.T) {
	for range 5 {
		var handled, answered atomic.Int64
		o := limits()
		o.Methods[echoes] = Method{Handle: func(ctx context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
			handled.Add(1)
			return echo(ctx, req, md)
		}}
		s, addr, _ := serve(t, o)
		var all sync.WaitGroup
		begun := make(chan struct{}, 1)
		for range 4 {
			conn := dialGRPC(t, addr)
			for range 4 {
				all.Go(func() {
					for {
						err := conn.Invoke(within(t, 10*time.Second), echoes, wrapperspb.Bytes(pattern(1, 100)), new(wrapperspb.BytesValue))
						if status.Code(err) == codes.Unavailable {
							return // there is no other server
						} else if err != nil {
							t.Errorf("%v", err)
							return
						}
						answered.Add(1)
						signal(begun)
					}
				})
			}
		}
		<-begun
		s.Drain()
		all.Wait()
		if handled.Load() != answered.Load() || answered.Load() == 0 {
			t.Errorf("%d calls were answered, of %d that were begun", answered.Load(), handled.Load())
		}
	}
	balanced(t)
}

// serveGRPC is a server of grpc-go's, whose only method echoes or does as it is told.
func serveGRPC(t *testing.T, o ...grpc.ServerOption) (addr string, s *grpc.Server) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = grpc.NewServer(append(o, grpc.MaxRecvMsgSize(16<<20), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var m wrapperspb.BytesValue
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		switch method, _ := grpc.MethodFromServerStream(stream); method {
		case fails:
			s, _ := status.New(codes.FailedPrecondition, "with details, 100 %").WithDetails(&errdetails.ErrorInfo{Reason: "TEST"})
			return s.Err()
		case hangs:
			<-stream.Context().Done()
			return status.FromContextError(stream.Context().Err()).Err()
		}
		md, _ := metadata.FromIncomingContext(stream.Context())
		if len(md.Get("zip")) > 0 {
			if err := grpc.SetSendCompressor(stream.Context(), gzip.Name); err != nil {
				return err
			}
		}
		stream.SetTrailer(metadata.Pairs("b", "2"))
		if err := stream.SetHeader(metadata.MD{"twice": md.Get("twice"), "raw-bin": md.Get("raw-bin")}); err != nil {
			return err
		}
		return stream.SendMsg(&m)
	}))...)
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(lis) })
	t.Cleanup(func() {
		s.Stop()
		serving.Wait()
	})
	return lis.Addr().String(), s
}

// value is a BytesValue on the wire: field 1.
func value(n int) *rollout.Payload {
	b := []byte{0x0a}
	for v := n; ; v >>= 7 {
		if v < 0x80 {
			b = append(b, byte(v))
			break
		}
		b = append(b, byte(v)|0x80)
	}
	if n == 0 {
		b = nil
	}
	return rollout.NewPayload([][]byte{b, pattern(n, n)}, nil)
}

func TestClientOfGRPCServers(t *testing.T) {
	addr, _ := serveGRPC(t)
	c := connect(t, addr, clientOptions())
	for _, md := range []rollout.Metadata{nil, {"zip": {"1"}}} {
		for _, n := range sizes {
			if md != nil && n > 1<<17 {
				continue
			}
			want := bytes.Clone(value(n).Bytes())
			reply, got := call(within(t, 10*time.Second), c, echoes, value(n), md)
			if reply.Status.Code != rollout.OK || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v: %+v, %d bytes", n, md, reply.Status, len(got))
			}
		}
	}
	reply, _ := call(within(t, 10*time.Second), c, echoes, value(1), rollout.Metadata{"twice": {"1", "2"}, "raw-bin": {"\x00\xff"}})
	if h := reply.Header; len(h["twice"]) != 2 || h["raw-bin"][0] != "\x00\xff" || reply.Trailer["b"][0] != "2" {
		t.Errorf("%v, %v", reply.Header, reply.Trailer)
	}
	reply, _ = call(within(t, 10*time.Second), c, fails, value(1), nil)
	if s := reply.Status; s.Code != rollout.FailedPrecondition || s.Message != "with details, 100 %" || !strings.Contains(string(s.Details), "TEST") {
		t.Errorf("%+v", s)
	}
	reply, _ = call(within(t, 50*time.Millisecond), c, hangs, value(1), nil)
	if reply.Status.Code != rollout.DeadlineExceeded {
		t.Errorf("past the deadline: %+v", reply.Status)
	}
	gone, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if reply, _ = call(gone, c, hangs, value(1), nil); reply.Status.Code != rollout.Canceled {
		t.Errorf("cancelled: %+v", reply.Status)
	}
	for _, md := range []rollout.Metadata{nil, {"zip": {"1"}}} {
		big := rollout.NewPayload([][]byte{{0x0a, 0x81, 0x80, 0x80, 0x04}, make([]byte, 8<<20+1)}, nil)
		if reply, _ = call(within(t, 10*time.Second), c, echoes, big, md); reply.Status.Code != rollout.ResourceExhausted {
			t.Errorf("an answer over the limit: %+v", reply.Status)
		}
	}
	if reply, _ = call(within(t, 10*time.Second), c, echoes, value(1), nil); reply.Status.Code != rollout.OK {
		t.Errorf("after all that: %+v", reply.Status)
	}
	c.Close()
	balanced(t)
}

// A server that goes away finishes what it has begun; what it has not is unsent.
func TestClientOfAServerThatGoesAway(t *testing.T) {
	addr, s := serveGRPC(t)
	c := connect(t, addr, clientOptions())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				reply, unsent := c.Call(within(t, 10*time.Second), echoes, value(1000), nil)
				reply.Payload.Free()
				if reply.Status.Code != rollout.OK {
					if reply.Status.Code != rollout.Unavailable || !unsent {
						t.Errorf("%+v, unsent %v", reply.Status, unsent)
					}
					return
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	s.GracefulStop()
	all.Wait()
	<-c.Leaving()
	c.Close()
	balanced(t)
}
