package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress; arms get it uncompressed
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/proto/inference"
)

// nameSlack is what an answer may grow by over the limit when the public name replaces
// the arm's.
const nameSlack = 64 << 10

// Windows of a fixed size leave out the pings by which grpc-go finds one. Most messages
// fit into a stream's, so that a sender does not stop within one.
const (
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
)

// streamWorkers keep goroutines with grown stacks at hand; above that many requests at a
// time new ones are started.
const streamWorkers = 64

func (g *Gateway) newServer() *grpc.Server {
	o := g.options
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(oip.Codec{}),
		grpc.MaxRecvMsgSize(o.MaxMessageBytes),
		grpc.MaxSendMsgSize(o.MaxMessageBytes + nameSlack),
		grpc.MaxConcurrentStreams(o.MaxConcurrentStreams),
		grpc.MaxHeaderListSize(o.MaxHeaderBytes),
		grpc.ConnectionTimeout(o.ConnectionTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: o.KeepaliveMinTime, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: o.KeepaliveTime, Timeout: o.KeepaliveTimeout,
			MaxConnectionIdle: o.MaxIdle, MaxConnectionAge: o.MaxAge, // 0 is grpc-go's never
		}),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
		grpc.InTapHandle(keepHeader),
		grpc.WaitForHandlers(true), // when Drain returns, every record was offered
		grpc.UnknownServiceHandler(unknown),
	}
	if o.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s := grpc.NewServer(opts...)
	s.RegisterService(g.service(), nil)
	g.health = health.NewServer()
	g.updateHealth()
	healthpb.RegisterHealthServer(s, &healthService{Server: g.health, draining: g.draining})
	if o.Reflection {
		reflection.Register(s)
	}
	return s
}

// Serve answers on the listener, which it closes, until Drain; then it returns nil. It may be
// called for several listeners, which share the maximum of connections.
func (g *Gateway) Serve(lis net.Listener) error {
	if err := g.server.Serve(g.limit(lis)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("gateway: serving %s: %w", lis.Addr(), err)
	}
	return nil
}

// Drain tells health checks that the gateway is going, takes no new requests, and
// waits for those under way. At the end of ctx it cuts them off, waits until their
// handlers are done, and returns ctx's error. After Drain every accepted request was offered.
func (g *Gateway) Drain(ctx context.Context) error {
	g.drainOnce.Do(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		close(g.draining)
		g.health.Shutdown()
	})
	stopped := make(chan struct{})
	go func() {
		g.server.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		g.server.Stop()
		<-stopped
		return fmt.Errorf("gateway: requests were cut off: %w", ctx.Err())
	}
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
