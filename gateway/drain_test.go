package gateway

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// A drain lets requests under way end, tells watchers, and is not held up by them.
func TestDrain(t *testing.T) {
	h := open(t, Options{})
	h.serve(h.route(rollout.ModeShadow))
	arrived, release := make(chan struct{}), make(chan struct{})
	h.champion.does = func(ctx context.Context, req *inference.ModelInferRequest) rollout.Reply {
		close(arrived)
		<-release
		return h.says("inner-1", "1")(ctx, req)
	}
	watch, err := healthpb.NewHealthClient(h.conn).Watch(within(t, 10*time.Second), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", got, err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := h.client.ModelInfer(within(t, 10*time.Second), request())
		answered <- err
	}()
	<-arrived
	drained := make(chan error, 1)
	go func() { drained <- h.g.Drain(within(t, 10*time.Second)) }()
	if got, err := watch.Recv(); err != nil || got.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("%v, %v", got, err)
	}
	if h.g.Ready() {
		t.Error("ready while draining")
	}
	h.serve(h.route(rollout.ModeShadow))
	if h.g.Ready() {
		t.Error("a late table made it ready again")
	}
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the request under way got %v", err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if err := <-h.served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if err := h.g.Drain(t.Context()); err != nil {
		t.Errorf("a second drain: %v", err)
	}
}

// When the time is over, requests are cut off; their records are there all the same.
func TestDrainCutsOff(t *testing.T) {
	h := open(t, Options{})
	h.serve(h.route(rollout.ModeShadow))
	arrived := make(chan struct{})
	h.champion.does = func(ctx context.Context, _ *inference.ModelInferRequest) rollout.Reply {
		close(arrived)
		return hangs(ctx, nil)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := h.client.ModelInfer(within(t, 10*time.Second), request())
		answered <- err
	}()
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.g.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(h.recorder.offered) != 1 {
		t.Errorf("%d records when Drain returned, want 1", len(h.recorder.offered))
	}
	if err := <-answered; status.Code(err) != codes.Unavailable {
		t.Errorf("the client got %v", err)
	}
}

func TestMaxConnections(t *testing.T) {
	h := open(t, Options{MaxConnections: 2})
	dial := func() net.Conn {
		c, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	// The server speaks first: its settings show that a connection was taken.
	taken := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _ := c.Read(make([]byte, 9))
		return n == 9
	}
	preface := func(c net.Conn) {
		_, _ = c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	}
	first, second := dial(), dial()
	preface(first)
	preface(second)
	if !taken(first) || !taken(second) {
		t.Fatal("connections under the maximum were refused")
	}
	if taken(dial()) {
		t.Error("a connection over the maximum was taken")
	}
	if got := h.metric("understudy_connections_refused_total")[""]; got != 1 {
		t.Errorf("%v refusals counted, want 1", got)
	}
	first.Close()
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		c := dial()
		preface(c)
		if taken(c) { // once the server has seen the other one go
			return
		}
	}
	t.Fatal("a place that became free was not given")
}
