package upstream

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/oip/rawgrpc"
	"github.com/understudy-serving/understudy/rollout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is what a model server does with a message.
type script func(ctx context.Context, in []byte) ([]byte, error)

// serve runs a gRPC server that knows no messages, on addr if it is not empty.
func serve(t *testing.T, addr string, does script) (at string, stop func()) {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(rawgrpc.Codec{}), grpc.MaxRecvMsgSize(8<<20), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var in mem.BufferSlice
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		defer in.Free()
		out, err := does(stream.Context(), in.Materialize())
		if err != nil {
			return err
		}
		return stream.SendMsg(rawgrpc.Message(slices.Clone(out)))
	}))
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(lis) })
	stop = sync.OnceFunc(func() {
		s.Stop()
		wg.Wait()
	})
	t.Cleanup(stop)
	return lis.Addr().String(), stop
}

func dial(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := Dial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// call sends bytes, and sees that they are given back in the end.
func call(t *testing.T, ctx context.Context, c *Client, body []byte, md rollout.Metadata) (rollout.Reply, []byte) {
	t.Helper()
	freed := make(chan struct{})
	req := rollout.NewPayload([][]byte{body}, func() { close(freed) })
	reply := c.Call(ctx, oip.MethodModelInfer, req, md)
	req.Free()
	t.Cleanup(func() {
		select {
		case <-freed:
		case <-time.After(10 * time.Second):
			t.Error("the request's bytes were never given back")
		}
	})
	if (reply.Payload != nil) != (reply.Status.Code == rollout.OK) {
		t.Errorf("status %s with payload %v", reply.Status.Code, reply.Payload)
	}
	out := slices.Clone(reply.Payload.Bytes())
	reply.Payload.Free()
	return reply, out
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func echo(_ context.Context, in []byte) ([]byte, error) { return in, nil }

func TestBytesPassUnchanged(t *testing.T) {
	addr, _ := serve(t, "", echo)
	c := dial(t, Options{Spec: rollout.Spec{Target: addr}})
	for _, size := range []int{0, 1, 200, 1024, 5000, 600_000} {
		body := make([]byte, size)
		_, _ = rand.Read(body)
		reply, out := call(t, within(t, 10*time.Second), c, body, nil)
		if reply.Status.Code != rollout.OK || !bytes.Equal(out, body) {
			t.Errorf("%d bytes: status %+v, %d bytes back", size, reply.Status, len(out))
		}
	}
}

func TestMetadataPassesBothWays(t *testing.T) {
	var got metadata.MD
	addr, _ := serve(t, "", func(ctx context.Context, in []byte) ([]byte, error) {
		got, _ = metadata.FromIncomingContext(ctx)
		_ = grpc.SetHeader(ctx, metadata.Pairs("served-by", "a", "served-by", "b", "sum-bin", "\x00\xff", "grpc-reserved", "x"))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("cost", "1", "grpc-reserved", "x"))
		return in, nil
	})
	c := dial(t, Options{Spec: rollout.Spec{Target: addr}, UserAgent: "understudy/test"})
	md := rollout.Metadata{"authorization": {"Bearer t"}, "x-user": {"a", "b"}, "blob-bin": {"\x00\n"}}
	reply, _ := call(t, within(t, 10*time.Second), c, []byte("x"), md)

	if got["authorization"][0] != "Bearer t" || !slices.Equal(got["x-user"], []string{"a", "b"}) || got["blob-bin"][0] != "\x00\n" {
		t.Errorf("the server got %#v", got)
	}
	if got["user-agent"][0] != "understudy/test" {
		t.Errorf("user agent %q", got["user-agent"])
	}
	if !slices.Equal(reply.Header["served-by"], []string{"a", "b"}) || reply.Header["sum-bin"][0] != "\x00\xff" || len(reply.Header) != 2 {
		t.Errorf("header %#v", reply.Header)
	}
	if reply.Trailer["cost"][0] != "1" || len(reply.Trailer) != 1 {
		t.Errorf("trailer %#v", reply.Trailer)
	}
	if len(md) != 3 {
		t.Errorf("the caller's metadata became %v", md)
	}
}

func TestStatusAndTrailerOfAFailure(t *testing.T) {
	addr, _ := serve(t, "", func(ctx context.Context, _ []byte) ([]byte, error) {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("retry-after", "7"))
		return nil, status.Error(codes.FailedPrecondition, "tensor ü: want [1,30]\n100 %")
	})
	c := dial(t, Options{Spec: rollout.Spec{Target: addr}})
	reply, _ := call(t, within(t, 10*time.Second), c, []byte("x"), nil)
	if s := reply.Status; s.Code != rollout.FailedPrecondition || s.Message != "tensor ü: want [1,30]\n100 %" || s.Details != nil {
		t.Errorf("status %+v", s)
	}
	if len(reply.Trailer) != 1 || reply.Trailer["retry-after"][0] != "7" {
		t.Errorf("trailer %v", reply.Trailer)
	}
}

func TestDeadlineAndCancelReachTheServer(t *testing.T) {
	var left time.Duration
	gone := make(chan struct{}, 2)
	arrived := make(chan struct{}, 2)
	addr, _ := serve(t, "", func(ctx context.Context, _ []byte) ([]byte, error) {
		if at, ok := ctx.Deadline(); ok {
			left = time.Until(at)
		}
		arrived <- struct{}{}
		<-ctx.Done()
		gone <- struct{}{}
		return nil, ctx.Err()
	})
	c := dial(t, Options{Spec: rollout.Spec{Target: addr}})
	reply, _ := call(t, within(t, 200*time.Millisecond), c, []byte("x"), nil)
	<-gone
	if reply.Status.Code != rollout.DeadlineExceeded || left <= 0 || left > 200*time.Millisecond {
		t.Errorf("status %+v, the server had %s", reply.Status, left)
	}
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if reply, _ = call(t, ctx, c, []byte("x"), nil); reply.Status.Code != rollout.Canceled {
		t.Errorf("status %+v", reply.Status)
	}
	<-gone
}

func TestNeverRetries(t *testing.T) {
	var attempts atomic.Int32
	addr, _ := serve(t, "", func(context.Context, []byte) ([]byte, error) {
		attempts.Add(1)
		return nil, status.Error(codes.Unavailable, "later")
	})
	c := dial(t, Options{Spec: rollout.Spec{Target: addr}})
	reply, _ := call(t, within(t, 10*time.Second), c, []byte("x"), nil)
	if reply.Status.Code != rollout.Unavailable || reply.Status.Message != "later" || attempts.Load() != 1 {
		t.Errorf("status %+v after %d attempts", reply.Status, attempts.Load())
	}
}

func TestSizeLimits(t *testing.T) {
	const limit = 1 << 20
	addr, _ := serve(t, "", func(_ context.Context, in []byte) ([]byte, error) {
		if string(in) == "more" {
			return make([]byte, limit+1), nil
		}
		return in[:1], nil
	})
	c := dial(t, Options{Spec: rollout.Spec{Target: addr}, MaxMessageBytes: limit})
	if reply, _ := call(t, within(t, 10*time.Second), c, []byte("more"), nil); reply.Status.Code != rollout.ResourceExhausted {
		t.Errorf("an answer over the limit: %+v", reply.Status)
	}
	// The gateway's own limit was passed before names made the request longer.
	if reply, _ := call(t, within(t, 10*time.Second), c, make([]byte, limit+1000), nil); reply.Status.Code != rollout.OK {
		t.Errorf("a request with longer names: %+v", reply.Status)
	}
	if reply, _ := call(t, within(t, 10*time.Second), c, make([]byte, limit+nameSlack+1), nil); reply.Status.Code != rollout.ResourceExhausted {
		t.Errorf("a request far over the limit: %+v", reply.Status)
	}
}

func TestDialRefusesBadTargets(t *testing.T) {
	for _, target := range []string{"", "fraud\x7f:8081"} {
		if c, err := Dial(Options{Spec: rollout.Spec{Target: target}}); err == nil {
			c.Close()
			t.Errorf("%q was accepted", target)
		}
	}
}

func TestOwnDialer(t *testing.T) {
	addr, _ := serve(t, "", echo)
	var asked atomic.Value
	c := dial(t, Options{Spec: rollout.Spec{Target: "passthrough:///anywhere:1"}, Dialer: func(ctx context.Context, address string) (net.Conn, error) {
		asked.Store(address)
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}})
	if reply, _ := call(t, within(t, 10*time.Second), c, []byte("x"), nil); reply.Status.Code != rollout.OK || asked.Load() != "anywhere:1" {
		t.Errorf("status %+v, dialled %v", reply.Status, asked.Load())
	}
}

func ExampleForMirror() {
	md := rollout.Metadata{"authorization": {"Bearer secret"}, "x-team": {"risk"}}
	fmt.Println(ForMirror(md, nil))
	fmt.Println(ForMirror(md, []string{"x-team"}))
	// Output:
	// map[x-team:[risk] x-understudy-mirror:[1]]
	// map[authorization:[Bearer secret] x-understudy-mirror:[1]]
}

func TestForMirrorLeavesTheOriginal(t *testing.T) {
	md := rollout.Metadata{"cookie": {"a"}, "x-api-key": {"k"}, "x": {"y"}, MirrorHeader: {"0"}}
	if got := ForMirror(md, nil); len(got) != 2 || got[MirrorHeader][0] != "1" {
		t.Errorf("got %v", got)
	}
	if len(md) != 4 || md[MirrorHeader][0] != "0" {
		t.Errorf("the original became %v", md)
	}
	if got := ForMirror(nil, nil); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
