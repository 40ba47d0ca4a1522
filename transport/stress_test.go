package transport

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Calls of all sizes that are answered, given up, run out of time or lose their connection, many at a
// time. Every answer is what its own request was, and every message comes back: what
// is sent from a buffer that was used anew shows.
func TestStress(t *testing.T) {
	o := limits()
	o.Methods[echoes] = Method{Handle: func(ctx context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
		switch rand.IntN(8) {
		case 0:
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		case 1:
			return rollout.Reply{Status: rollout.Status{Code: rollout.Aborted, Message: "on purpose"}}
		case 2:
			// What a gateway does: a few bytes of its own around those of the request.
			inner := req.Ref()
			return rollout.Reply{Payload: rollout.NewPayload(append([][]byte{{'+'}}, req.Chunks()...), inner.Free)}
		}
		return echo(ctx, req, md)
	}}
	_, addr, stop := serve(t, o)
	const callers, calls = 32, 60
	var answered, failed atomic.Int64
	var all sync.WaitGroup
	for round := range 3 {
		conns := []*ClientConn{connect(t, addr, clientOptions()), connect(t, addr, clientOptions())}
		for caller := range callers {
			all.Go(func() {
				for i := range calls {
					if stressed(t, conns[caller%2], 1000*caller+i) {
						answered.Add(1)
					} else {
						failed.Add(1)
					}
				}
			})
		}
		if round > 0 { // in the middle of it
			time.Sleep(20 * time.Millisecond)
			conns[0].Close()
		}
		all.Wait()
		conns[0].Close()
		conns[1].Close()
	}
	stop()
	balanced(t)
	if answered.Load() < callers*calls/4 || failed.Load() == 0 {
		t.Errorf("%d calls were answered, %d failed: that is no stress", answered.Load(), failed.Load())
	}
}

func stressed(t *testing.T, c *ClientConn, seed int) (answered bool) {
	n := rand.IntN(1 << rand.IntN(20))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	switch rand.IntN(6) {
	case 0:
		time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
	case 1:
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
		defer cancel()
	}
	reply, got := call(ctx, c, echoes, payload(seed, n), nil)
	if reply.Status.Code != rollout.OK {
		return false
	}
	if want := pattern(seed, n); !bytes.Equal(got, want) && !bytes.Equal(got, append([]byte{'+'}, want...)) {
		t.Errorf("%d bytes came back as %d others", n, len(got))
	}
	return true
}
