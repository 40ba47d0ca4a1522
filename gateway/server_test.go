package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// house is a rig with a listener, and a client before it.
type house struct {
	*rig
	conn   *grpc.ClientConn
	client inference.GRPCInferenceServiceClient
	addr   string
	served chan error
}

func open(t *testing.T, o Options, dial ...grpc.DialOption) *house {
	s := newRig(t)
	s.registry = prometheus.NewRegistry()
	o.Version, o.Registerer = "1.2.3", s.registry
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.g = g
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{rig: s, addr: lis.Addr().String(), served: make(chan error, 1)}
	go func() { h.served <- g.Serve(lis) }()
	t.Cleanup(g.server.Stop)
	if len(dial) == 0 {
		dial = append(dial, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	h.conn, err = grpc.NewClient(h.addr, dial...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.conn.Close() })
	h.client = inference.NewGRPCInferenceServiceClient(h.conn)
	return h
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestInferOverGRPC(t *testing.T) {
	h := open(t, Options{})
	h.serve(h.route(rollout.ModeCanary))
	ctx := metadata.AppendToOutgoingContext(within(t, 10*time.Second), "authorization", "Bearer t", "blob-bin", "\x00\x01", "x-user", "a", "x-user", "b")
	var header, trailer metadata.MD
	out, err := h.client.ModelInfer(ctx, request(), grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		t.Fatal(err)
	}
	if out.ModelName != "fraud" || out.ModelVersion != "2" || out.Id != "client-1" {
		t.Errorf("answer %v", out)
	}
	if len(header.Get(IDHeader)) != 1 || header.Get("served-by")[0] != "inner-2" || trailer.Get("cost-bin")[0] != "\x00\xff" {
		t.Errorf("header %#v, trailer %#v", header, trailer)
	}
	md := h.challenger.calls[0].md
	if md["authorization"][0] != "Bearer t" || md["blob-bin"][0] != "\x00\x01" || len(md["x-user"]) != 2 || len(md) != 3 {
		t.Errorf("the arm got metadata %#v", md)
	}
	if left := h.challenger.calls[0].deadline; left <= 0 || left > time.Second {
		t.Errorf("the challenger was given %s", left)
	}
}

func TestDeadlineReachesTheArm(t *testing.T) {
	h := open(t, Options{})
	h.serve(h.route(rollout.ModeShadow))
	h.champion.does = hangs
	_, err := h.client.ModelInfer(within(t, 300*time.Millisecond), request())
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	h.settle()
	if left := h.champion.calls[0].deadline; left <= 0 || left > 300*time.Millisecond {
		t.Errorf("the champion was given %s", left)
	}
}

// settle drains the gateway, so that what handlers wrote can be read.
func (h *house) settle() {
	h.t.Helper()
	if err := h.g.Drain(within(h.t, 10*time.Second)); err != nil {
		h.t.Error(err)
	}
}

func TestCancelReachesTheArm(t *testing.T) {
	h := open(t, Options{})
	h.serve(h.route(rollout.ModeCanary))
	ctx, cancel := context.WithCancel(t.Context())
	h.challenger.does = func(ctx context.Context, _ *inference.ModelInferRequest) rollout.Reply {
		cancel()
		return hangs(ctx, nil)
	}
	if _, err := h.client.ModelInfer(ctx, request()); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	h.settle()
	if got := h.breaker.told; len(got) != 1 || got[0].Blame != rollout.OnCaller || len(h.champion.calls) != 0 {
		t.Errorf("the breaker was told %+v; %d fallbacks", got, len(h.champion.calls))
	}
}

// Details pass byte for byte, also where protobuf would write them otherwise.
func TestStatusPassesUnchanged(t *testing.T) {
	h := open(t, Options{})
	h.serve(h.route(rollout.ModeShadow))
	detail, err := anypb.New(&errdetails.ErrorInfo{Reason: "QUOTA", Domain: "fraud"})
	if err != nil {
		t.Fatal(err)
	}
	details, err := proto.Marshal(&spb.Status{Code: int32(codes.ResourceExhausted), Message: "no more: 100 % ü\n", Details: []*anypb.Any{detail}})
	if err != nil {
		t.Fatal(err)
	}
	details = append(details, 0xfa, 0x7f, 0x01, 'x') // a field of the future
	h.champion.does = func(context.Context, *inference.ModelInferRequest) rollout.Reply {
		return rollout.Reply{Status: rollout.Status{Code: rollout.ResourceExhausted, Message: "no more: 100 % ü\n", Details: details}}
	}
	var header, trailer metadata.MD
	_, err = h.client.ModelInfer(within(t, 10*time.Second), request(), grpc.Header(&header), grpc.Trailer(&trailer))
	s := status.Convert(err)
	if s.Code() != codes.ResourceExhausted || s.Message() != "no more: 100 % ü\n" || len(s.Details()) != 1 {
		t.Errorf("status %v with details %v", s, s.Details())
	}
	if got := trailer.Get("grpc-status-details-bin"); len(got) != 1 || got[0] != string(details) {
		t.Errorf("details %q, want %q", got, details)
	}
	if len(header.Get(IDHeader)) != 1 {
		t.Error("an error without the id")
	}
}

func TestLargeAndCompressedMessages(t *testing.T) {
	h := open(t, Options{})
	h.serve(h.route(rollout.ModeShadow))
	big := make([]byte, 600_000)
	_, _ = rand.Read(big)
	req := request()
	req.RawInputContents = [][]byte{big}
	for name, opts := range map[string][]grpc.CallOption{"plain": nil, "gzip": {grpc.UseCompressor(gzip.Name)}} {
		out, err := h.client.ModelInfer(within(t, 10*time.Second), req, opts...)
		if err != nil || !bytes.Equal(out.RawOutputContents[0], big) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.settle()
}

func TestLimits(t *testing.T) {
	h := open(t, Options{MaxMessageBytes: 1 << 20})
	h.serve(h.route(rollout.ModeShadow))
	req := request()
	req.RawInputContents = [][]byte{make([]byte, 1<<20)}
	for name, opts := range map[string][]grpc.CallOption{"plain": nil, "a bomb": {grpc.UseCompressor(gzip.Name)}} {
		if _, err := h.client.ModelInfer(within(t, 10*time.Second), req, opts...); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s over the message limit: %v", name, err)
		}
	}
	ctx := metadata.AppendToOutgoingContext(within(t, 10*time.Second), "x-much", strings.Repeat("m", DefaultMaxHeaderBytes))
	if _, err := h.client.ModelInfer(ctx, request()); err == nil {
		t.Error("over the header limit: no error")
	}
	if len(h.champion.calls) != 0 {
		t.Errorf("%d calls reached the champion", len(h.champion.calls))
	}
}

// TestMalformedOverGRPC sends bytes that are no ModelInferRequest.
func TestMalformedOverGRPC(t *testing.T) {
	h := open(t, Options{})
	h.serve(h.route(rollout.ModeShadow))
	err := h.conn.Invoke(within(t, 10*time.Second), inference.GRPCInferenceService_ModelInfer_FullMethodName,
		[]byte{0x0a, 0x7f}, new([]byte), grpc.ForceCodec(raw{}))
	if s := status.Convert(err); s.Code() != codes.InvalidArgument || !strings.Contains(s.Message(), "ModelInferRequest") {
		t.Errorf("got %v", err)
	}
}

// raw sends and receives bytes.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                       { return "proto" }

func TestHandlerPanicsOverGRPC(t *testing.T) {
	var log bytes.Buffer
	h := open(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h.serve(h.route(rollout.ModeShadow))
	h.champion.does = panics
	if _, err := h.client.ModelInfer(within(t, 10*time.Second), request()); status.Code(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
	if _, err := h.client.ModelReady(within(t, 10*time.Second), &inference.ModelReadyRequest{Name: "fraud"}); status.Code(err) != codes.Internal {
		t.Errorf("ModelReady: got %v", err)
	}
	h.settle()
	if got := strings.Count(log.String(), "lost its lines"); got != 2 {
		t.Errorf("%d of 2 panics in the log:\n%s", got, log.String())
	}
}

func TestOwnMethods(t *testing.T) {
	h := open(t, Options{})
	ctx := within(t, 10*time.Second)
	check := func(ready bool) {
		t.Helper()
		live, err := h.client.ServerLive(ctx, &inference.ServerLiveRequest{})
		if err != nil || !live.Live {
			t.Errorf("live: %v, %v", live, err)
		}
		got, err := h.client.ServerReady(ctx, &inference.ServerReadyRequest{})
		if err != nil || got.Ready != ready {
			t.Errorf("ready: %v, %v, want %v", got, err, ready)
		}
		want := map[bool]healthpb.HealthCheckResponse_ServingStatus{true: healthpb.HealthCheckResponse_SERVING, false: healthpb.HealthCheckResponse_NOT_SERVING}[ready]
		for _, service := range []string{"", "inference.GRPCInferenceService"} {
			health, err := healthpb.NewHealthClient(h.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
			if err != nil || health.Status != want {
				t.Errorf("health of %q: %v, %v, want %s", service, health, err, want)
			}
		}
	}
	check(false)
	h.serve(h.route(rollout.ModeShadow))
	check(true)
	md, err := h.client.ServerMetadata(ctx, &inference.ServerMetadataRequest{})
	if err != nil || md.Name != "understudy" || md.Version != "1.2.3" || len(md.Extensions) != 0 {
		t.Errorf("metadata: %v, %v", md, err)
	}
}

func TestUnknownMethods(t *testing.T) {
	h := open(t, Options{})
	h.serve(h.route(rollout.ModeShadow))
	for _, method := range []string{
		"/inference.GRPCInferenceService/ModelStreamInfer",
		"/inference.GRPCInferenceService/RepositoryIndex",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", // off by default
		"/other.Service/Method",
	} {
		stream, err := h.conn.NewStream(within(t, 10*time.Second), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		err = stream.RecvMsg(&inference.ModelInferResponse{})
		if s := status.Convert(err); s.Code() != codes.Unimplemented || !strings.Contains(s.Message(), method) || !strings.Contains(s.Message(), "ModelInfer") {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestReflection(t *testing.T) {
	h := open(t, Options{Reflection: true})
	stream, err := reflectionpb.NewServerReflectionClient(h.conn).ServerReflectionInfo(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{
		FileContainingSymbol: "inference.GRPCInferenceService.ModelInfer"}}
	if err := stream.Send(ask); err != nil {
		t.Fatal(err)
	}
	got, err := stream.Recv()
	if err != nil || len(got.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("got %v, %v", got, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}
