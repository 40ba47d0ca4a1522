package transport

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/rollout"
)

// raw has grpc-go leave messages the bytes that they are.
type raw struct{}

func (raw) Name() string                    { return "raw" }
func (raw) Marshal(m any) ([]byte, error)   { return *m.(*[]byte), nil }
func (raw) Unmarshal(b []byte, m any) error { *m.(*[]byte) = bytes.Clone(b); return nil }

// sizes are about the bounds of frames, windows and buffers.
var sizes = []int{0, 1, 16 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 5 << 20}

// theirClient is grpc-go's, of our server.
func theirClient(t *testing.T, r *rig) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(r.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(testMessage), grpc.MaxCallSendMsgSize(2*testMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// theirServer is grpc-go's, every method of which is served so; its address.
func theirServer(t *testing.T, serve func(context.Context, []byte) ([]byte, error), options ...grpc.ServerOption) (*grpc.Server, string) {
	t.Helper()
	s := grpc.NewServer(append(options, grpc.ForceServerCodec(raw{}), grpc.MaxRecvMsgSize(testMessage), grpc.MaxSendMsgSize(2*testMessage),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			var in []byte
			if err := stream.RecvMsg(&in); err != nil {
				return err
			}
			out, err := serve(stream.Context(), in)
			if err != nil {
				return err
			}
			return stream.SendMsg(&out)
		}))...)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(lis)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return s, lis.Addr().String()
}

func ourClient(t *testing.T, addr string, change ...func(*ClientOptions)) *ClientConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	o := clientOptions()
	for _, f := range change {
		f(&o)
	}
	return newClient(t, nc, o)
}

func TestTheirClientOurServerSizes(t *testing.T) {
	c := theirClient(t, newRig(t))
	for _, zip := range []bool{false, true} {
		for _, size := range sizes {
			in, out := pattern(uint64(size), size), []byte(nil)
			var options []grpc.CallOption
			if zip {
				in = bytes.Repeat(in[:size/1000], 1000) // gzip takes its time under the race detector
				options = append(options, grpc.UseCompressor(gzip.Name))
			}
			if err := c.Invoke(t.Context(), echoMethod, &in, &out, options...); err != nil || !bytes.Equal(in, out) {
				t.Errorf("%d bytes, zipped %v: %d bytes came back, %v", size, zip, len(out), err)
			}
		}
	}
}

func TestOurClientTheirServerSizes(t *testing.T) {
	_, addr := theirServer(t, func(ctx context.Context, in []byte) ([]byte, error) {
		if md, _ := metadata.FromIncomingContext(ctx); md.Get("zip") != nil {
			return in, grpc.SetSendCompressor(ctx, gzip.Name)
		}
		return in, nil
	})
	c := ourClient(t, addr)
	for _, md := range []rollout.Metadata{nil, {"zip": {"1"}}} {
		for _, size := range sizes {
			in := pattern(uint64(size), size)
			if md != nil {
				in = bytes.Repeat(in[:size/1000], 1000)
			}
			req, released := counted(in)
			reply, _ := c.Call(t.Context(), echoMethod, req, md)
			if reply.Status.Code != rollout.OK || !bytes.Equal(reply.Payload.Bytes(), in) {
				t.Errorf("%d bytes, metadata %v: %d bytes came back, %+v", size, md, reply.Payload.Len(), reply.Status)
			}
			reply.Payload.Free()
			req.Free()
			eventually(t, "the request released once", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return *released == 1 })
		}
	}
	if n := lent.Load(); n != 0 {
		t.Errorf("%d answers were not freed", n)
	}
}

func TestTheirClientOurServerStatus(t *testing.T) {
	c := theirClient(t, newRig(t))
	want, err := status.New(codes.Aborted, "größer\n100%").WithDetails(&errdetails.ErrorInfo{Reason: "R", Domain: "d"})
	if err != nil {
		t.Fatal(err)
	}
	details, err := proto.Marshal(want.Proto())
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "fail-bin", want.Message(), "details-bin", string(details), "seen", "a", "seen", "b")
	var in, out []byte
	var header, trailer metadata.MD
	got := status.Convert(c.Invoke(ctx, echoMethod, &in, &out, grpc.Header(&header), grpc.Trailer(&trailer)))
	if !proto.Equal(got.Proto(), want.Proto()) {
		t.Errorf("got %v, want %v", got.Proto(), want.Proto())
	}
	if !slices.Equal(trailer.Get("seen"), []string{"a", "b"}) {
		t.Errorf("trailers-only: trailer %v", trailer)
	}
	ctx = metadata.AppendToOutgoingContext(t.Context(), "panic", "ouch")
	if err := c.Invoke(ctx, echoMethod, &in, &out); status.Code(err) != codes.Internal || status.Convert(err).Message() != "panic: ouch" {
		t.Errorf("a panic is answered with %v", err)
	}
	if err := c.Invoke(t.Context(), nobody, &in, &out); status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method is answered with %v", err)
	}
}

func TestOurClientTheirServerStatus(t *testing.T) {
	want, err := status.New(codes.Aborted, "größer\n100%").WithDetails(&errdetails.ErrorInfo{Reason: "R", Domain: "d"})
	if err != nil {
		t.Fatal(err)
	}
	_, addr := theirServer(t, func(ctx context.Context, _ []byte) ([]byte, error) {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("seen", "a", "seen", "b"))
		return nil, want.Err()
	})
	_, reply := call(t.Context(), ourClient(t, addr), echoMethod, nil, nil)
	details, err := proto.Marshal(want.Proto())
	if err != nil {
		t.Fatal(err)
	}
	if s := reply.Status; s.Code != rollout.Aborted || s.Message != want.Message() || !bytes.Equal(s.Details, details) {
		t.Errorf("got %+v, want %v", s, want)
	}
	if !slices.Equal(reply.Trailer["seen"], []string{"a", "b"}) {
		t.Errorf("trailer %v", reply.Trailer)
	}
}

func TestTheirClientOurServerMetadata(t *testing.T) {
	c := theirClient(t, newRig(t))
	want := metadata.Pairs("one", "1", "many", "a", "many", "b", "blob-bin", "\x00\xff", "blob-bin", "")
	var in, out []byte
	var header, trailer metadata.MD
	if err := c.Invoke(metadata.NewOutgoingContext(t.Context(), want), echoMethod, &in, &out, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]metadata.MD{"header": header, "trailer": trailer} {
		for key, values := range want {
			if !slices.Equal(got[key], values) {
				t.Errorf("%s: %s is %q, want %q", name, key, got[key], values)
			}
		}
	}
}

func TestOurClientTheirServerMetadata(t *testing.T) {
	_, addr := theirServer(t, func(ctx context.Context, in []byte) ([]byte, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if err := grpc.SetHeader(ctx, md); err != nil {
			return nil, err
		}
		return in, grpc.SetTrailer(ctx, md)
	})
	want := rollout.Metadata{"one": {"1"}, "many": {"a", "b"}, "blob-bin": {"\x00\xff", ""}}
	_, reply := call(t.Context(), ourClient(t, addr), echoMethod, nil, want)
	for name, got := range map[string]rollout.Metadata{"header": reply.Header, "trailer": reply.Trailer} {
		for key, values := range want {
			if !slices.Equal(got[key], values) {
				t.Errorf("%s: %s is %q, want %q", name, key, got[key], values)
			}
		}
	}
}

func TestTheirClientOurServerDeadlineAndCancellation(t *testing.T) {
	r := newRig(t)
	c := theirClient(t, r)
	in, out := []byte("x"), []byte(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.Invoke(ctx, holdMethod, &in, &out); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	served := <-r.held
	deadline, ok := served.Deadline()
	if left := time.Until(deadline); !ok || left > 200*time.Millisecond {
		t.Errorf("the handler has %v left", left)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		served = <-r.held
		cancel()
	}()
	if err := c.Invoke(ctx, holdMethod, &in, &out); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	select {
	case <-served.Done():
	case <-time.After(patience):
		t.Error("the handler was not told that its caller has gone")
	}
}

func TestOurClientTheirServerDeadlineAndCancellation(t *testing.T) {
	held := make(chan context.Context, 1)
	_, addr := theirServer(t, func(ctx context.Context, _ []byte) ([]byte, error) {
		held <- ctx
		<-ctx.Done()
		return nil, ctx.Err()
	})
	c := ourClient(t, addr)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, reply := call(ctx, c, echoMethod, nil, nil); reply.Status.Code != rollout.DeadlineExceeded {
		t.Errorf("got %+v", reply.Status)
	}
	served := <-held
	deadline, ok := served.Deadline()
	if left := time.Until(deadline); !ok || left > 200*time.Millisecond {
		t.Errorf("the server had %v left", left)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		served = <-held
		cancel()
	}()
	if _, reply := call(ctx, c, echoMethod, nil, nil); reply.Status.Code != rollout.Canceled {
		t.Errorf("got %+v", reply.Status)
	}
	select {
	case <-served.Done():
	case <-time.After(patience):
		t.Error("the server was not told that its caller has gone")
	}
}

func TestMessagesOverTheLimitAreRefused(t *testing.T) {
	small := func(o *ServerOptions) { o.MaxMessageBytes = 1000 }
	theirs, out := theirClient(t, newRig(t, small)), []byte(nil)
	for _, zip := range []bool{false, true} {
		in := make([]byte, 1001) // zeros: few bytes zipped
		var options []grpc.CallOption
		if zip {
			options = append(options, grpc.UseCompressor(gzip.Name))
		}
		if err := theirs.Invoke(t.Context(), echoMethod, &in, &out, options...); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("request, zipped %v: %v", zip, err)
		}
		in = in[1:]
		if err := theirs.Invoke(t.Context(), echoMethod, &in, &out, options...); err != nil {
			t.Errorf("a request at the limit, zipped %v: %v", zip, err)
		}
	}
	_, addr := theirServer(t, func(ctx context.Context, in []byte) ([]byte, error) {
		return make([]byte, 1001), grpc.SetSendCompressor(ctx, string(in))
	})
	ours := ourClient(t, addr, func(o *ClientOptions) { o.MaxMessageBytes = 1000 })
	for _, encoding := range []string{identity, zipped} {
		if _, reply := call(t.Context(), ours, echoMethod, []byte(encoding), nil); reply.Status.Code != rollout.ResourceExhausted {
			t.Errorf("answer, %s: %+v", encoding, reply.Status)
		}
	}
}

func TestStreamsOfMessages(t *testing.T) {
	c := theirClient(t, newRig(t))
	s, err := c.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, chatMethod)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		in, out := pattern(uint64(i), i*1000), []byte(nil)
		if err := s.SendMsg(&in); err != nil {
			t.Fatal(err)
		}
		if err := s.RecvMsg(&out); err != nil || !bytes.Equal(in, out) {
			t.Fatalf("message %d: %d bytes, %v", i, len(out), err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var out []byte
	if err := s.RecvMsg(&out); fmt.Sprint(err) != "EOF" {
		t.Errorf("behind the end: %v", err)
	}
}

// An answer may come while the request is still on its way.
func TestRefusalOvertakesTheRequest(t *testing.T) {
	r := newRig(t)
	theirs, ours := theirClient(t, r), newClient(t, r.dial(), clientOptions())
	in, out := make([]byte, 2*testMessage), []byte(nil)
	for range 5 {
		if err := theirs.Invoke(t.Context(), echoMethod, &in, &out); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("theirs: %v", err)
		}
		if _, reply := call(t.Context(), ours, echoMethod, in, nil); reply.Status.Code != rollout.ResourceExhausted {
			t.Errorf("ours: %+v", reply.Status)
		}
		if got, reply := call(t.Context(), ours, echoMethod, []byte("x"), nil); string(got) != "x" {
			t.Errorf("the next call: %q, %+v", got, reply.Status)
		}
	}
}
