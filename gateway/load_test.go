package gateway

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// With all places taken a call is refused at once; when one is free again the next is
// served. The same with bytes.
func TestOverloadIsRefused(t *testing.T) {
	for name, o := range map[string]Options{"calls": {MaxInFlight: 1}, "bytes": {MaxInFlightBytes: 1}} {
		t.Run(name, func(t *testing.T) {
			h := open(t, o)
			h.serve(h.route(rollout.ModeChampion))
			arrived, release := make(chan struct{}, 8), make(chan struct{})
			h.champion.does = func(ctx context.Context, req *inference.ModelInferRequest) rollout.Reply {
				arrived <- struct{}{}
				<-release
				return h.says("inner-1", "1")(ctx, req)
			}
			first := make(chan error, 1)
			go func() {
				_, err := h.client.ModelInfer(within(t, 10*time.Second), request())
				first <- err
			}()
			<-arrived
			if _, err := h.client.ModelInfer(within(t, 10*time.Second), request()); status.Code(err) != codes.ResourceExhausted {
				t.Errorf("the second of two got %v", err)
			}
			if got := h.metric("understudy_requests_total")["none RESOURCE_EXHAUSTED "]; got != 1 {
				t.Errorf("counted %v: %v", got, h.metric("understudy_requests_total"))
			}
			close(release)
			if err := <-first; err != nil {
				t.Error(err)
			}
			for began := time.Now(); ; time.Sleep(time.Millisecond) { // the place is free a moment after the answer
				if _, err := h.client.ModelInfer(within(t, 10*time.Second), request()); err == nil {
					break
				} else if time.Since(began) > 10*time.Second {
					t.Fatal(err)
				}
			}
			for began := time.Now(); h.g.load.calls.Load() != 0 || h.g.load.bytes.Load() != 0; time.Sleep(time.Millisecond) {
				if time.Since(began) > 10*time.Second {
					t.Fatalf("%d calls and %d bytes under way, and none is", h.g.load.calls.Load(), h.g.load.bytes.Load())
				}
			}
		})
	}
}

// A gateway is busy before it refuses anybody, by calls and by bytes.
func TestBusyComesBeforeRefusing(t *testing.T) {
	g := &Gateway{load: load{maxCalls: 4, maxBytes: 100}}
	for n, want := range []bool{false, false, true, true} {
		if !g.load.enter() || g.Busy() != want {
			t.Errorf("with %d of 4 calls: busy %v, want %v", n+1, g.Busy(), want)
		}
	}
	if g.load.enter() {
		t.Error("a fifth call was let in")
	}
	for range 3 {
		g.load.leave()
	}
	for _, c := range []struct {
		more int
		want bool
	}{{50, false}, {1, true}, {-1, false}} {
		if g.load.hold(c.more); g.Busy() != c.want {
			t.Errorf("with %d of 100 bytes: busy %v, want %v", g.load.bytes.Load(), g.Busy(), c.want)
		}
	}
}
