package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/transport"
)

// nameSlack is what an answer may grow by over the limit when the public name replaces
// the arm's.
const nameSlack = 64 << 10

func (g *Gateway) newServer() *transport.Server {
	o := g.options
	streams := g.newOperators()
	return transport.NewServer(transport.ServerOptions{
		TLS:     o.TLS,
		Methods: g.methods(),
		Other:   streams.serve,
		Panicked: func(p any) rollout.Status {
			return g.recovered(p, "")
		},
		MaxMessageBytes: o.MaxMessageBytes, MaxHeaderBytes: int(o.MaxHeaderBytes),
		MaxConcurrentStreams: int(o.MaxConcurrentStreams),
		MaxConnections:       o.MaxConnections, Refused: g.refused,
		ConnectionTimeout: o.ConnectionTimeout,
		KeepaliveMinTime:  o.KeepaliveMinTime,
		KeepaliveTime:     o.KeepaliveTime, KeepaliveTimeout: o.KeepaliveTimeout,
		MaxIdle: o.MaxIdle, MaxAge: o.MaxAge,
	})
}

// Serve answers on the listener, which it closes, until Drain; then it returns nil. It may be
// called for several listeners, which share the maximum of connections.
func (g *Gateway) Serve(lis net.Listener) error {
	if err := g.server.Serve(lis); err != nil && !errors.Is(err, transport.ErrServerClosed) {
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
		g.server.Drain()
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
