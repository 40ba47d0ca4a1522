package oip

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	pb "github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ encoding.CodecV2 = Codec{}

// leakPool counts the buffers that are out, and spoils those that come back, so that
// whoever still reads one gets nonsense.
type leakPool struct {
	out   atomic.Int64
	again atomic.Int64
	held  sync.Map
}

// pooledFrom is above the size from which the transport gives buffers back at all.
const pooledFrom = 1 << 10

func (p *leakPool) Get(n int) *[]byte {
	b := make([]byte, n)
	if cap(b) > pooledFrom {
		p.out.Add(1)
		p.held.Store(&b[0], true)
	}
	return &b
}

func (p *leakPool) Put(b *[]byte) {
	full := (*b)[:cap(*b)]
	if cap(full) <= pooledFrom {
		return
	}
	if _, ok := p.held.LoadAndDelete(&full[0]); !ok {
		p.again.Add(1)
	}
	for i := range full {
		full[i] = 0xdd
	}
	p.out.Add(-1)
}

// relay is a server that answers each request with itself under another name.
type relay struct {
	pool leakPool
	// open counts answers that the transport has not freed.
	open atomic.Int64
	// received, if set, tells that a request is there; its handler goes on when wait is closed.
	received, wait chan struct{}
}

const relayMethod = "/inference.GRPCInferenceService/ModelInfer"

func (r *relay) handle(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var in Frame
	if err := decode(&in); err != nil {
		return nil, err
	}
	defer in.Free()
	if r.wait != nil {
		r.received <- struct{}{}
		<-r.wait
	}
	req, err := PeekRequest(in.Payload)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	r.open.Add(1)
	edited := req.WithNames("answered", "2")
	out := rollout.NewPayload(edited.Chunks(), func() { edited.Free(); r.open.Add(-1) })
	return &Frame{Payload: out}, nil
}

func (r *relay) start(t *testing.T) (*grpc.ClientConn, func()) {
	t.Helper()
	const limit = 16 << 20
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.ForceServerCodecV2(Codec{}), grpc.MaxRecvMsgSize(limit), grpc.WaitForHandlers(true), experimental.BufferPool(&r.pool))
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "inference.GRPCInferenceService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "ModelInfer", Handler: r.handle}}}, r)
	healthpb.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///relay",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Codec{}), grpc.MaxCallRecvMsgSize(limit), grpc.MaxCallSendMsgSize(limit)),
		experimental.WithBufferPool(&r.pool))
	if err != nil {
		t.Fatal(err)
	}
	return conn, sync.OnceFunc(func() {
		conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// balanced sees, after the transports have ended, that every buffer came back once.
func (r *relay) balanced(t *testing.T) {
	t.Helper()
	if n := r.pool.out.Load(); n != 0 {
		t.Errorf("%d buffers were never given back", n)
	}
	if n := r.pool.again.Load(); n != 0 {
		t.Errorf("%d buffers were given back twice", n)
	}
	if n := r.open.Load(); n != 0 {
		t.Errorf("%d sent payloads were not freed", n)
	}
}

func TestFramesThroughGRPC(t *testing.T) {
	r := &relay{}
	conn, stop := r.start(t)
	defer stop()
	var calls sync.WaitGroup
	for worker := range 4 {
		calls.Go(func() {
			rng := rand.New(rand.NewPCG(13, uint64(worker)))
			for _, size := range []int{0, 60, 900, 1024, 1100, 5000, 17 << 10, 70 << 10, 1<<20 + 1, 3 << 20} {
				raw := make([]byte, size)
				for i := range raw {
					raw[i] = byte(rng.Uint32())
				}
				want := &pb.ModelInferRequest{ModelName: "fraud", Id: "7", RawInputContents: [][]byte{raw}}
				wire := marshal(t, want)
				sent := 0
				req := rollout.NewPayload(chunked(rng, wire, nil).Chunks(), func() { sent++ })
				if size > 4000 {
					req = rollout.NewPayload(inChunksOf(4000, string(wire)).Chunks(), func() { sent++ })
				}
				answer, err := call(t.Context(), conn, req)
				if err != nil {
					t.Errorf("%d bytes: %v", size, err)
					return
				}
				want.ModelName, want.ModelVersion = "answered", "2"
				var got pb.ModelInferRequest
				if err := proto.Unmarshal(answer.Bytes(), &got); err != nil || !proto.Equal(&got, want) {
					t.Errorf("%d bytes: answer is not what was sent (%v)", size, err)
				}
				answer.Free()
				req.Free()
			}
		})
	}
	calls.Wait()
	stop()
	r.balanced(t)
}

// call sends a message as a client does, keeping its own reference.
func call(ctx context.Context, conn *grpc.ClientConn, req *rollout.Payload) (*rollout.Payload, error) {
	out, in := Frame{Payload: req.Ref()}, Frame{}
	defer out.Free()
	if err := conn.Invoke(ctx, relayMethod, &out, &in); err != nil {
		in.Free()
		return nil, err
	}
	return in.Payload, nil
}

// However a call ends, the request's references come back and so do the buffers.
func TestFramesOfFailedCallsAreFreed(t *testing.T) {
	wire := marshal(t, &pb.ModelInferRequest{RawInputContents: [][]byte{make([]byte, 2<<20)}})
	r := &relay{received: make(chan struct{}, 2), wait: make(chan struct{})}
	conn, stop := r.start(t)
	defer stop()

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	p, released := counted(wire)
	if _, err := call(gone, conn, p); status.Code(err) != codes.Canceled {
		t.Errorf("call with a context that has ended: %v", err)
	}
	if p.Free(); *released != 1 {
		t.Errorf("call that was never sent: request released %d times", *released)
	}

	var freed atomic.Int32
	p = rollout.NewPayload(inChunksOf(16<<10, string(wire)).Chunks(), func() { freed.Add(1) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := call(ctx, conn, p)
		ended <- err
	}()
	<-r.received
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("cancelled call: %v", err)
	}
	p.Free()
	close(r.wait)
	malformed, _ := counted([]byte("\x0a\x09"))
	if _, err := call(t.Context(), conn, malformed); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "model_name") {
		t.Errorf("malformed request: %v", err)
	}
	stop()
	if freed.Load() != 1 {
		t.Errorf("cancelled call: request released %d times", freed.Load())
	}
	r.balanced(t)
}

func TestOtherMessagesAreProtobuf(t *testing.T) {
	r := &relay{}
	conn, stop := r.start(t)
	defer stop()
	ok, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || ok.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v (%v)", ok, err)
	}
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(ask); err != nil {
		t.Fatal(err)
	}
	list, err := stream.Recv()
	if err != nil || !strings.Contains(list.String(), "inference.GRPCInferenceService") {
		t.Errorf("reflection: %v (%v)", list, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("end of the reflection stream: %v", err)
	}
}

func TestCodecRefuses(t *testing.T) {
	if _, err := (Codec{}).Marshal("text"); err == nil || !strings.Contains(err.Error(), "string") {
		t.Errorf("marshal of a string: %v", err)
	}
	if err := (Codec{}).Unmarshal(nil, "text"); err == nil {
		t.Error("unmarshal into a string: no error")
	}
	f := &Frame{Payload: whole([]byte("x"))}
	if b, err := (Codec{}).Marshal(f); err != nil || string(b.Materialize()) != "x" {
		t.Errorf("marshal: %v", err)
	}
	if _, err := (Codec{}).Marshal(f); !errors.Is(err, ErrNoPayload) {
		t.Errorf("marshal of the same frame again: %v, want ErrNoPayload", err)
	}
	if err := (Codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer("\x0a\x09")}, &pb.ModelInferRequest{}); err == nil {
		t.Error("unmarshal of a malformed message: no error")
	}
	if _, err := (Codec{}).Marshal(&pb.ModelInferRequest{ModelName: "\xff"}); err == nil {
		t.Error("marshal of a name that is no UTF-8: no error")
	}
}

// The transport may give buffers back in any order, and a payload behind several of
// them is freed with the last.
func TestSentPayloadIsFreedWithItsLastBuffer(t *testing.T) {
	big := bytes.Repeat([]byte("b"), 2000)
	p, released := counted([]byte("head"), big, []byte("s1"), nil, []byte("s2"), big, []byte("tail"))
	want := string(p.Bytes())
	out, err := Codec{}.Marshal(&Frame{Payload: p})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 5 || string(out.Materialize()) != want {
		t.Fatalf("%d buffers, want small chunks joined into 5", len(out))
	}
	out.Ref()
	for _, i := range []int{3, 1, 0, 4, 2} {
		out[i].Free()
	}
	if *released != 0 {
		t.Fatal("freed while the transport still has a reference")
	}
	if out.Free(); *released != 1 {
		t.Errorf("released %d times", *released)
	}
	p, released = counted([]byte("small"), []byte("ones"))
	if _, err := (Codec{}).Marshal(&Frame{Payload: p}); err != nil || *released != 1 {
		t.Errorf("small chunks are copied, so the payload is free at once: released %d times (%v)", *released, err)
	}
}

func TestReceivedFrameKeepsItsBuffers(t *testing.T) {
	var pool leakPool
	data := mem.BufferSlice{mem.Copy(bytes.Repeat([]byte("a"), 3000), &pool), mem.Copy([]byte("b"), &pool)}
	var f Frame
	for range 2 { // a server that answers twice
		if err := (Codec{}).Unmarshal(data, &f); err != nil {
			t.Fatal(err)
		}
	}
	data.Free()
	if got := f.Payload.Bytes(); string(got[2999:]) != "ab" {
		t.Errorf("payload ends in %q", got[2999:])
	}
	f.Free()
	if n := pool.out.Load(); n != 0 || f.Payload != nil {
		t.Errorf("%d buffers out after Free", n)
	}
	f.Free() // nothing is left to free
}
