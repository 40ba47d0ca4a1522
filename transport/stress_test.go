package transport

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/rollout"
)

// stressed is for how long callers and everything that cuts them off go on.
const stressed = time.Second

// someSize is small more often than not.
func someSize(r *rand.Rand) int {
	switch r.IntN(20) {
	case 0:
		return r.IntN(1 << 20)
	case 1, 2, 3, 4:
		return r.IntN(100_000)
	}
	return r.IntN(2000)
}

// someContext ends before the call does, now and then.
func someContext(r *rand.Rand) (context.Context, context.CancelFunc) {
	switch r.IntN(6) {
	case 0:
		return context.WithTimeout(context.Background(), time.Duration(r.IntN(3_000_000)))
	case 1:
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Duration(r.IntN(3_000_000)), cancel)
		return ctx, cancel
	}
	return context.WithCancel(context.Background())
}

// stress has callers make calls of their own bytes until time is up, and returns how many
// ended as they should.
func stress(t *testing.T, callers int, one func(r *rand.Rand, id uint64) (ok bool)) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	done, fine := 0, 0
	end := time.Now().Add(stressed)
	for i := range callers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for n := uint64(0); time.Now().Before(end); n++ {
				ok := one(r, uint64(i)<<32+n)
				mu.Lock()
				if done++; ok {
					fine++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	t.Logf("%d calls, %d answered", done, fine)
	if fine < done/20 || done == fine {
		t.Errorf("%d calls of %d were answered: want some, and others cut off", fine, done)
	}
}

// relay passes bytes on to a server, and kills the connection now and then.
func relay(t *testing.T, addr string) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				_ = in.Close()
				return
			}
			kill := func() { _, _ = in.Close(), out.Close() }
			timer := time.AfterFunc(time.Duration(50+rand.IntN(200))*time.Millisecond, kill)
			for a, b := range map[net.Conn]net.Conn{in: out, out: in} {
				all.Go(func() {
					// In odd pieces, so that frames are cut in two.
					buf := make([]byte, 1+rand.IntN(30_000))
					for {
						n, err := a.Read(buf)
						if _, wrong := b.Write(buf[:n]); err != nil || wrong != nil {
							break
						}
					}
					timer.Stop()
					kill()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = lis.Close()
		all.Wait()
	})
	return lis
}

// Both ends are ours, and every message has to be the caller's own.
func TestBytesAreNobodyElses(t *testing.T) {
	server := newRig(t)
	lis := relay(t, server.addr)
	var mu sync.Mutex
	var c *ClientConn
	conn := func() *ClientConn {
		mu.Lock()
		defer mu.Unlock()
		if c != nil {
			select {
			case <-c.Leaving():
			default:
				return c
			}
		}
		nc, err := net.Dial("tcp", lis.Addr().String())
		if err != nil {
			return nil
		}
		next, err := NewClientConn(t.Context(), nc, clientOptions())
		if err != nil {
			return nil
		}
		c = next
		t.Cleanup(func() { _ = next.Close() })
		return c
	}
	stress(t, 30, func(r *rand.Rand, id uint64) bool {
		c := conn()
		if c == nil {
			return false
		}
		return echoes(t, c, r, id)
	})
}

// echoes makes a call whose request is spoilt when it is released, and judges its answer.
func echoes(t *testing.T, c *ClientConn, r *rand.Rand, id uint64) bool {
	ctx, cancel := someContext(r)
	defer cancel()
	want := pattern(id, someSize(r))
	b := bytes.Clone(want)
	half := len(b) / 2
	req := rollout.NewPayload([][]byte{b[:half:half], b[half:]}, func() { clear(b) })
	reply, _ := c.Call(ctx, echoMethod, req, rollout.Metadata{"id": {fmt.Sprint(id)}})
	req.Free()
	defer reply.Payload.Free()
	switch reply.Status.Code {
	case rollout.OK:
		if !bytes.Equal(reply.Payload.Bytes(), want) || reply.Header["id"][0] != fmt.Sprint(id) || reply.Trailer["id"][0] != fmt.Sprint(id) {
			t.Errorf("call %x has another's answer, of %d bytes; want %d", id, reply.Payload.Len(), len(want))
		}
		return true
	case rollout.Canceled, rollout.DeadlineExceeded, rollout.Unavailable:
	default:
		t.Errorf("call %x: %+v", id, reply.Status)
	}
	return false
}

// What grpc-go's client has of our server is whole too, and the server frees all it lent.
func TestTheirClientGetsItsOwnBytes(t *testing.T) {
	c := theirClient(t, newRig(t))
	stress(t, 20, func(r *rand.Rand, id uint64) bool {
		ctx, cancel := someContext(r)
		defer cancel()
		in, out := pattern(id, someSize(r)), []byte(nil)
		err := c.Invoke(ctx, echoMethod, &in, &out)
		switch code := status.Code(err); {
		case err == nil && !bytes.Equal(in, out):
			t.Errorf("call %x has another's answer", id)
		case err != nil && code != codes.Canceled && code != codes.DeadlineExceeded:
			t.Errorf("call %x: %v", id, err)
		}
		return err == nil
	})
}

// So is what our client has of grpc-go's server.
func TestTheirServerSeesOurBytes(t *testing.T) {
	_, addr := theirServer(t, func(_ context.Context, in []byte) ([]byte, error) { return in, nil })
	c := ourClient(t, addr)
	stress(t, 20, func(r *rand.Rand, id uint64) bool {
		ctx, cancel := someContext(r)
		defer cancel()
		want := pattern(id, someSize(r))
		b := bytes.Clone(want)
		req := rollout.NewPayload([][]byte{b}, func() { clear(b) })
		reply, _ := c.Call(ctx, echoMethod, req, nil)
		req.Free()
		defer reply.Payload.Free()
		switch reply.Status.Code {
		case rollout.OK:
			if !bytes.Equal(reply.Payload.Bytes(), want) {
				t.Errorf("call %x has another's answer", id)
			}
			return true
		case rollout.Canceled, rollout.DeadlineExceeded:
		default:
			t.Errorf("call %x: %+v", id, reply.Status)
		}
		return false
	})
}

// Calls that are cut off at once cost the server no more than their number at a time.
func TestRapidReset(t *testing.T) {
	const most, calls = 10, 5000
	var mu sync.Mutex
	running, worst, begun := 0, 0, 0
	r := newRig(t, func(o *ServerOptions) {
		o.MaxConcurrentStreams = most
		o.Methods = map[string]Method{echoMethod: {Handle: func(ctx context.Context, _ *rollout.Payload, _ rollout.Metadata) rollout.Reply {
			mu.Lock()
			begun++
			running++
			worst = max(worst, running)
			mu.Unlock()
			time.Sleep(100 * time.Microsecond) // as long as it does not look at ctx
			mu.Lock()
			running--
			mu.Unlock()
			return rollout.Reply{Status: ended(ctx)}
		}}}
	})
	p := r.rawClient()
	go func() {
		for { // or it would be held
			if _, err := p.ReadFrame(); err != nil {
				return
			}
		}
	}()
	for i := range uint32(calls) {
		id := 2*i + 1
		p.ask(id, echoMethod, []byte("x"))
		p.ok(p.WriteRSTStream(id, 0))
	}
	_ = p.nc.Close()
	eventually(t, "the connection is forgotten", func() bool { return r.server.Connections() == 0 })
	mu.Lock()
	defer mu.Unlock()
	if worst > most || begun == 0 {
		t.Errorf("%d handlers at a time, at most %d; %d in all", worst, most, begun)
	}
}

// Admit's places are given back, however a call ends.
func TestPlacesAreGivenBack(t *testing.T) {
	var mu sync.Mutex
	held, admitted := 0, 0
	r := newRig(t, func(o *ServerOptions) {
		o.Methods[echoMethod] = Method{Handle: echo,
			Admit: func() (s rollout.Status) {
				mu.Lock()
				defer mu.Unlock()
				if admitted++; admitted%7 == 0 {
					return rollout.Status{Code: rollout.ResourceExhausted, Message: "no place"}
				}
				held++
				return s
			},
			Leave: func() { mu.Lock(); defer mu.Unlock(); held-- },
		}
	})
	p := r.rawClient()
	message := framed([]byte("x"))
	for i, end := range []func(id uint32){
		func(id uint32) { p.data(id, true, message) },
		func(id uint32) { p.data(id, true, message[:3]) },
		func(id uint32) { p.data(id, false, message); p.ok(p.WriteRSTStream(id, 0)) },
		func(id uint32) { p.data(id, false, append(message, message...)) },
		func(id uint32) { p.headers(id, true, "x", "1") },
		func(id uint32) { p.headers(id, false, "x", "1") },
		func(id uint32) { p.data(id, false, message) }, // no place
		func(id uint32) { p.data(id, true, message); p.ok(p.WriteRSTStream(id, 0)) },
		func(id uint32) { p.data(id, false, message) }, // until the end of the connection
		func(id uint32) {},
	} {
		id := uint32(2*i + 1)
		p.headers(id, false, asking(echoMethod)...)
		end(id)
	}
	p.barrier()
	eventually(t, "all but the open ones are back", func() bool { mu.Lock(); defer mu.Unlock(); return held == 2 })
	_ = p.nc.Close()
	eventually(t, "all are back", func() bool { mu.Lock(); defer mu.Unlock(); return held == 0 })
}
