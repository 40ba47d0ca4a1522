package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// tally counts from many goroutines what must come out even.
type tally struct{ accepted, offered, observed, allowed, told, freed, inFlight, most atomic.Int64 }

func (c *tally) Accept()                             { c.accepted.Add(1) }
func (c *tally) Route(rollout.Routing) rollout.Stamp { return 0 }
func (c *tally) Observe(rollout.Outcome)             { c.observed.Add(1) }
func (c *tally) Offer(x *rollout.Exchange) {
	c.offered.Add(1)
	x.Free()
}

func (c *tally) Allow() (func(rollout.Outcome), bool) {
	c.allowed.Add(1)
	return func(rollout.Outcome) { c.told.Add(1) }, true
}

// moody is an arm that answers, refuses, fails and hangs in turn.
type moody struct {
	c     *tally
	turn  atomic.Int64
	bytes []byte
}

func (m *moody) Call(ctx context.Context, _ string, _ *rollout.Payload, _ rollout.Metadata) rollout.Reply {
	n := m.c.inFlight.Add(1)
	defer m.c.inFlight.Add(-1)
	for most := m.c.most.Load(); n > most && !m.c.most.CompareAndSwap(most, n); most = m.c.most.Load() {
	}
	time.Sleep(time.Millisecond)
	switch m.turn.Add(1) % 5 {
	case 0:
		return hangs(ctx, nil)
	case 1:
		return rollout.Reply{Status: rollout.Status{Code: rollout.InvalidArgument}}
	case 2:
		return rollout.Reply{Status: rollout.Status{Code: rollout.Unavailable}}
	}
	m.c.freed.Add(-1)
	return rollout.Reply{Payload: rollout.NewPayload([][]byte{m.bytes}, func() { m.c.freed.Add(1) })}
}

// Whatever mode the routes are swapped to under whatever requests, everything comes out
// even: records, outcomes, the breaker's calls, payloads, and the cap.
func TestEverythingComesOutEven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers, each, limit = 16, 50, 3
		s := newRig(t)
		answer, err := proto.Marshal(&inference.ModelInferResponse{ModelName: "m"})
		if err != nil {
			t.Fatal(err)
		}
		var c, ofChampion tally
		r := s.route(rollout.ModeCanary)
		r.Champion.Upstream = &moody{c: &ofChampion, bytes: answer}
		r.Challenger.Upstream = &moody{c: &c, bytes: answer}
		r.Observer, r.Recorder, r.Breaker, r.ChallengerInFlight = &c, &c, &c, NewInFlight(limit)
		s.serve(r)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range each {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					s.infer(ctx, request(), nil)
					cancel()
				}
			})
		}
		wg.Go(func() {
			for i := range 100 {
				r.Mode = []rollout.Mode{rollout.ModeCanary, rollout.ModeShadow, rollout.ModeCanary, rollout.ModeRolledBack}[i%4]
				s.serve(r)
				time.Sleep(3 * time.Millisecond)
			}
		})
		wg.Wait()
		if c.accepted.Load() == 0 || c.accepted.Load() != c.offered.Load() {
			t.Errorf("%d accepted, %d offered", c.accepted.Load(), c.offered.Load())
		}
		if got := c.observed.Load(); got != callers*each {
			t.Errorf("%d outcomes of %d requests", got, callers*each)
		}
		if c.allowed.Load() == 0 || c.allowed.Load() != c.told.Load() {
			t.Errorf("%d allowed, the breaker heard of %d", c.allowed.Load(), c.told.Load())
		}
		if c.freed.Load() != 0 || ofChampion.freed.Load() != 0 {
			t.Errorf("%d payloads were never given back", -c.freed.Load()-ofChampion.freed.Load())
		}
		if got := c.most.Load(); got > limit {
			t.Errorf("%d calls of the challenger at a time, over the cap of %d", got, limit)
		}
		if got := r.ChallengerInFlight.Current(); got != 0 {
			t.Errorf("%d calls in flight in the end", got)
		}
	})
}
