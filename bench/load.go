package main

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/oip/rawgrpc"
)

const (
	// connections is how many each client has.
	connections = 4
	// patience is the deadline of a call. Clients have one, so proxies must carry it.
	patience = 10 * time.Second
)

// caller makes one call, the n-th.
type caller func(ctx context.Context, n int) error

// client speaks to one address over its connections.
type client struct{ conns []*grpc.ClientConn }

func newClient(addr string) (*client, error) {
	c := &client{}
	for range connections {
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawgrpc.Codec{})))
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

func (c *client) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// sending calls with messages of one size, by turns over the connections.
func (c *client) sending(m *messages) caller {
	return func(ctx context.Context, n int) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var in mem.BufferSlice
		err := c.conns[n%connections].Invoke(ctx, oip.MethodModelInfer, m.of(n), &in)
		in.Free()
		return err
	}
}

// window is what a load saw between two moments, while it ran on before and after.
type window struct {
	took      time.Duration
	latencies []time.Duration // of calls that ended in it and did not fail
	failed    int
	failure   error // one of them
}

// marks are called at the window's two ends.
type marks struct{ begin, end func() }

// closed loads with n callers, each of which sends when its last answer is there. Its
// latencies say nothing of a service that stalls: while it does, nobody asks.
func closed(ctx context.Context, call caller, n int, warm, measure time.Duration, m marks) window {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var open, over atomic.Bool
	seen := make([]window, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for k := i; !over.Load() && ctx.Err() == nil; k += n {
				began := time.Now()
				err := call(ctx, k)
				if open.Load() {
					seen[i].add(time.Since(began), err)
				}
			}
		})
	}
	pause(ctx, warm)
	m.begin()
	began := time.Now()
	open.Store(true)
	pause(ctx, measure)
	open.Store(false)
	took := time.Since(began)
	m.end()
	over.Store(true)
	all.Wait()
	return merge(seen, took)
}

func (w *window) add(latency time.Duration, err error) {
	if err != nil {
		w.failed++
		w.failure = err
		return
	}
	w.latencies = append(w.latencies, latency)
}

func merge(parts []window, took time.Duration) window {
	all := window{took: took}
	for _, w := range parts {
		all.latencies = append(all.latencies, w.latencies...)
		all.failed += w.failed
		if w.failure != nil {
			all.failure = w.failure
		}
	}
	return all
}

// paced loads with calls at random times, rate a second on average, whether or not the
// ones before are answered; the n-th call goes to calls[pick(n)]. It returns a window for each of calls.
//
// A latency counts from the time that the schedule gives the call, not from when it got
// away: who waits behind a stall has waited. (A load that sends late and counts from
// then leaves out just the calls that a stall hurts: "coordinated omission".)
func paced(ctx context.Context, calls []caller, pick func(n int) int, rate float64, warm, measure time.Duration, m marks) []window {
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := make([]window, len(calls))
	begun := time.Now()
	opens, closes := begun.Add(warm), begun.Add(warm+measure)
	open := false
	s := newSchedule(begun, rate)
	for n := 0; ctx.Err() == nil; n++ {
		due := s.next()
		if due.After(closes) {
			break
		}
		pause(ctx, time.Until(due))
		if !open && !due.Before(opens) {
			open = true
			m.begin()
		}
		counts, to := open, pick(n)
		all.Go(func() {
			err := calls[to](ctx, n)
			if latency := time.Since(due); counts {
				mu.Lock()
				seen[to].add(latency, err)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	m.end()
	for i := range seen {
		seen[i].took = measure
	}
	return seen
}

// schedule is when calls are due: a Poisson process, as of many callers who know nothing
// of each other.
type schedule struct {
	at     time.Time
	rate   float64
	chance *rand.Rand
}

func newSchedule(begin time.Time, rate float64) *schedule {
	return &schedule{begin, rate, rand.New(rand.NewPCG(3, 4))}
}

func (s *schedule) next() time.Time {
	s.at = s.at.Add(time.Duration(-math.Log(1-s.chance.Float64()) / s.rate * float64(time.Second)))
	return s.at
}
