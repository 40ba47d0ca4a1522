package gateway

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/transport"
)

// operators are the services for operators, health and reflection, which grpc-go implements: it
// registers them here as on a server of its own.
type operators struct {
	services map[string]grpc.ServiceInfo
	handlers map[string]func(*operatorStream) error
}

func (g *Gateway) newOperators() *operators {
	o := &operators{services: make(map[string]grpc.ServiceInfo), handlers: make(map[string]func(*operatorStream) error)}
	g.health = health.NewServer()
	g.updateHealth()
	healthpb.RegisterHealthServer(o, &healthService{Server: g.health, draining: g.draining})
	// Reflection names what is served; calls of it do not come here.
	o.describe(&inference.GRPCInferenceService_ServiceDesc)
	if g.options.Reflection {
		reflection.Register(o)
	}
	return o
}

// RegisterService takes a service of generated code.
func (o *operators) RegisterService(desc *grpc.ServiceDesc, impl any) {
	o.describe(desc)
	for _, m := range desc.Methods {
		o.handlers["/"+desc.ServiceName+"/"+m.MethodName] = func(s *operatorStream) error {
			answer, err := m.Handler(impl, s.Context(), s.RecvMsg, nil)
			if err != nil {
				return err
			}
			return s.SendMsg(answer)
		}
	}
	for _, m := range desc.Streams {
		o.handlers["/"+desc.ServiceName+"/"+m.StreamName] = func(s *operatorStream) error { return m.Handler(impl, s) }
	}
}

func (o *operators) describe(desc *grpc.ServiceDesc) {
	info := grpc.ServiceInfo{Metadata: desc.Metadata}
	for _, m := range desc.Methods {
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
	}
	for _, m := range desc.Streams {
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.StreamName, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams})
	}
	o.services[desc.ServiceName] = info
}

// GetServiceInfo is what reflection asks.
func (o *operators) GetServiceInfo() map[string]grpc.ServiceInfo { return o.services }

// serve answers a call of a method that is not forwarded.
func (o *operators) serve(s *transport.ServerStream) rollout.Status {
	handler, ok := o.handlers[s.Method()]
	if !ok {
		return unknown(s.Method())
	}
	got := status.Convert(handler(&operatorStream{stream: s}))
	out := rollout.Status{Code: rollout.Code(got.Code()), Message: got.Message()}
	if len(got.Details()) > 0 {
		out.Details, _ = proto.Marshal(got.Proto())
	}
	return out
}

// operatorStream is a call as generated code sees it (grpc.ServerStream). None of the services
// here sends metadata.
type operatorStream struct{ stream *transport.ServerStream }

func (s *operatorStream) Context() context.Context { return s.stream.Context() }

func (s *operatorStream) SetHeader(metadata.MD) error { return nil }

func (s *operatorStream) SendHeader(metadata.MD) error { return nil }

func (s *operatorStream) SetTrailer(metadata.MD) {}

func (s *operatorStream) RecvMsg(m any) error {
	p, err := s.stream.Recv()
	if err == io.EOF {
		return err
	} else if err != nil {
		return status.FromContextError(err).Err()
	}
	defer p.Free()
	return proto.Unmarshal(p.Bytes(), m.(proto.Message))
}

func (s *operatorStream) SendMsg(m any) error {
	b, err := proto.Marshal(m.(proto.Message))
	if err != nil {
		return err
	}
	return s.stream.Send(rollout.NewPayload([][]byte{b}, nil))
}

// updateHealth makes the health service say what Ready says.
func (g *Gateway) updateHealth() {
	g.mu.Lock()
	defer g.mu.Unlock()
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if g.Ready() {
		status = healthpb.HealthCheckResponse_SERVING
	}
	for _, service := range []string{"", inference.GRPCInferenceService_ServiceDesc.ServiceName} {
		g.health.SetServingStatus(service, status)
	}
}

// healthService ends its watchers' streams when the gateway drains: they would hold up the
// drain to its end.
type healthService struct {
	*health.Server
	draining <-chan struct{}
}

// Watch tells the watcher NOT_SERVING before it ends the stream.
func (h *healthService) Watch(in *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- h.Server.Watch(in, &watcher{stream, ctx}) }()
	select {
	case err := <-ended:
		return err
	case <-h.draining:
	}
	cancel()
	<-ended
	return stream.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING})
}

// watcher is a stream that ends with a context of its own.
type watcher struct {
	grpc.ServerStreamingServer[healthpb.HealthCheckResponse]
	ctx context.Context
}

func (w *watcher) Context() context.Context { return w.ctx }
