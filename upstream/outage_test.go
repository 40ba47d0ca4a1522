package upstream

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/understudy-serving/understudy/rollout"
)

// TestServerDownAndBack: UNAVAILABLE at once, no waiting; found again by itself, and both
// said in the log, once.
func TestServerDownAndBack(t *testing.T) {
	addr, stop := serve(t, "", echo)
	var log safeBuffer
	c := dial(t, Options{Spec: rollout.Spec{Target: addr, Model: "m", Version: "1"}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if reply, _ := call(t, within(t, 10*time.Second), c, []byte("x"), nil); reply.Status.Code != rollout.OK {
		t.Fatalf("status %+v", reply.Status)
	}
	stop()
	for range 20 {
		began := time.Now()
		reply, _ := call(t, t.Context(), c, []byte("x"), nil)
		if took := time.Since(began); reply.Status.Code != rollout.Unavailable || took > time.Second {
			t.Fatalf("status %+v after %s", reply.Status, took)
		}
	}
	began := time.Now()
	for !strings.Contains(log.String(), "unreachable") { // not before an attempt to connect has failed
		if time.Since(began) > 10*time.Second {
			t.Fatal("nothing in the log")
		}
		time.Sleep(time.Millisecond)
	}
	serve(t, addr, echo)
	began = time.Now()
	for {
		reply, _ := call(t, t.Context(), c, []byte("x"), nil)
		if reply.Status.Code == rollout.OK {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("not found again: %+v", reply.Status)
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.Close()
	if got := log.String(); strings.Count(got, "unreachable") != 1 || !strings.Contains(got, "m:1 at "+addr) {
		t.Errorf("log:\n%s", got)
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestNeverUpIsPromptToo(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	lis.Close()
	c := dial(t, Options{Spec: rollout.Spec{Target: "dns:///" + addr}})
	began := time.Now()
	reply, _ := call(t, t.Context(), c, []byte("x"), nil)
	if took := time.Since(began); reply.Status.Code != rollout.Unavailable || took > 2*time.Second {
		t.Errorf("status %+v after %s", reply.Status, took)
	}
}

func TestRoundRobin(t *testing.T) {
	var hits [3]atomic.Int32
	r := manual.NewBuilderWithScheme("fixed")
	var state resolver.State
	for i := range hits {
		addr, _ := serve(t, "", func(_ context.Context, in []byte) ([]byte, error) {
			hits[i].Add(1)
			return in, nil
		})
		state.Addresses = append(state.Addresses, resolver.Address{Addr: addr})
	}
	r.InitialState(state)
	o := Options{Spec: rollout.Spec{Target: "fixed:///any"}}.withDefaults()
	p, err := newPool(o, r)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{options: o, pool: p}
	t.Cleanup(func() { c.Close() })
	for began := time.Now(); hits[0].Load() == 0 || hits[1].Load() == 0 || hits[2].Load() == 0; {
		if reply, _ := call(t, t.Context(), c, []byte("x"), nil); reply.Status.Code != rollout.OK || time.Since(began) > 10*time.Second {
			t.Fatalf("status %+v, calls not spread over all addresses", reply.Status)
		}
	}
}

func TestCloseEndsCalls(t *testing.T) {
	arrived := make(chan struct{})
	addr, _ := serve(t, "", func(ctx context.Context, _ []byte) ([]byte, error) {
		close(arrived)
		<-ctx.Done()
		return nil, io.EOF
	})
	c := dial(t, Options{Spec: rollout.Spec{Target: addr}, Logger: slog.New(slog.DiscardHandler)})
	go func() {
		<-arrived
		c.Close()
	}()
	if reply, _ := call(t, t.Context(), c, []byte("x"), nil); reply.Status.Code != rollout.Canceled {
		t.Errorf("status %+v", reply.Status)
	}
	if reply, _ := call(t, t.Context(), c, []byte("x"), nil); reply.Status.Code != rollout.Canceled {
		t.Errorf("after Close: %+v", reply.Status)
	}
}
