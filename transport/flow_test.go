package transport

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

func window(n uint32) http2.Setting {
	return http2.Setting{ID: http2.SettingInitialWindowSize, Val: n}
}

// received reads answers until those streams have ended, tells grant of each frame, and returns
// what came on each stream.
func (p *peer) received(grant func(id uint32, n int), streams ...uint32) map[uint32][]byte {
	p.t.Helper()
	got := map[uint32][]byte{}
	for len(streams) > 0 {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("streams %d have not ended: %v", streams, err)
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			got[f.StreamID] = append(got[f.StreamID], f.Data()...)
			grant(f.StreamID, len(f.Data()))
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				streams = slices.DeleteFunc(streams, func(id uint32) bool { return id == f.StreamID })
			}
		}
	}
	return got
}

func TestAnswersFitTinyWindows(t *testing.T) {
	r := newRig(t)
	for _, initial := range []uint32{0, 1, 3, prefixLen, 7} {
		p := r.rawClient(window(initial))
		want := framed(pattern(1, 50))
		p.ask(1, echoMethod, want[prefixLen:])
		if initial == 0 {
			p.ok(p.WriteWindowUpdate(1, 1))
		}
		got := p.received(func(id uint32, n int) {
			if n > int(max(initial, 1)) {
				t.Errorf("%d bytes in a window of %d", n, initial)
			}
			p.ok(p.WriteWindowUpdate(id, uint32(n)))
		}, 1)
		if !bytes.Equal(got[1], want) {
			t.Errorf("window %d: %x, want %x", initial, got[1], want)
		}
	}
}

func TestWindowsMayBecomeNegative(t *testing.T) {
	const size, cut = 200_000, 10_000
	r := newRig(t)
	p := r.rawClient(window(100_000))
	want := framed(pattern(1, size))
	p.ask(1, echoMethod, want[prefixLen:])
	// All that the connection's window held is sent; the stream is left with more than 0.
	p.await("the last of it", func() func(http2.Frame) bool {
		n := 0
		return func(f http2.Frame) bool {
			if d, ok := f.(*http2.DataFrame); ok {
				n += len(d.Data())
			}
			return n == initialWindow
		}
	}())
	p.ok(p.WriteSettings(window(cut))) // it has sent 55,535 more than that
	p.ok(p.WriteWindowUpdate(0, size))
	p.ok(p.WriteWindowUpdate(1, initialWindow-cut)) // to 0
	p.ok(p.WritePing(false, [8]byte{1}))
	p.await("the PING's answer", func(f http2.Frame) bool {
		if f.Header().Type == http2.FrameData {
			t.Error("data without a window")
		}
		return f.Header().Type == http2.FramePing
	})
	p.ok(p.WriteSettings(window(0), window(size)))
	rest := p.received(func(uint32, int) {}, 1)[1]
	if !bytes.Equal(rest, want[initialWindow:]) {
		t.Errorf("%d bytes of the rest, want %d", len(rest), len(want)-initialWindow)
	}
}

func TestFramesAreAsLongAsThePeerTakes(t *testing.T) {
	const size = 3 << 20
	r := newRig(t)
	for _, most := range []uint32{minFrameSize, 100_000, maxFrameSize} {
		p := r.rawClient(window(maxWindow), http2.Setting{ID: http2.SettingMaxFrameSize, Val: most})
		p.ok(p.WriteWindowUpdate(0, size))
		want := framed(pattern(1, size))
		p.ask(1, echoMethod, want[prefixLen:])
		longest := 0
		got := p.received(func(_ uint32, n int) { longest = max(longest, n) }, 1)
		if !bytes.Equal(got[1], want) {
			t.Errorf("frames of at most %d: the answer is another", most)
		}
		if bound := min(int(most), mostData); longest > bound || longest < bound/2 {
			t.Errorf("frames of at most %d: the longest is %d", most, longest)
		}
	}
}

func TestConnectionWindowIsShared(t *testing.T) {
	const streams, size = 30, 20_000
	r := newRig(t)
	p := r.rawClient()
	want := map[uint32][]byte{}
	for i := range uint32(streams) {
		id := 2*i + 1
		want[id] = framed(pattern(uint64(id), size))
		p.ask(id, echoMethod, want[id][prefixLen:])
	}
	// Streams are cut off while they wait, of which nothing may be left in others' way.
	for _, id := range []uint32{21, 41} {
		p.ok(p.WriteRSTStream(id, http2.ErrCodeCancel))
		delete(want, id)
	}
	got := p.received(func(_ uint32, n int) { p.ok(p.WriteWindowUpdate(0, uint32(n))) }, slices.Collect(maps.Keys(want))...)
	for id, b := range want {
		if !bytes.Equal(got[id], b) {
			t.Errorf("stream %d: %d bytes, want %d", id, len(got[id]), len(b))
		}
	}
}

func TestWhoWaitsLongestIsServedFirst(t *testing.T) {
	p := newRig(t).rawClient(window(1 << 20))
	ids := []uint32{1, 3, 5, 7, 9}
	for _, id := range ids {
		p.ask(id, echoMethod, make([]byte, 70_000)) // the first takes all there is
		p.await("its header", func(f http2.Frame) bool { return f.Header().StreamID == id })
	}
	p.barrier()
	for _, id := range ids {
		for ended := false; !ended; {
			p.ok(p.WriteWindowUpdate(0, 7000))
			p.await("more", func(f http2.Frame) bool {
				if h := f.Header(); h.Type == http2.FrameData || h.Type == http2.FrameHeaders {
					if h.StreamID != id {
						t.Fatalf("stream %d is served before %d", h.StreamID, id)
					}
					ended = h.Flags.Has(http2.FlagHeadersEndStream)
					return true
				}
				return false
			})
		}
	}
}

// Padding counts against windows, and is given back with the rest.
func TestPaddingIsGivenBack(t *testing.T) {
	p := newRig(t).rawClient()
	p.headers(1, false, asking(echoMethod)...)
	var padded bytes.Buffer
	wire := p.Framer
	p.Framer = http2.NewFramer(&padded, nil)
	for _, b := range framed(make([]byte, 3*streamWindow/257)) {
		p.ok(p.WriteDataPadded(1, false, []byte{b}, make([]byte, 255)))
	}
	p.ok(p.WriteData(1, true, nil))
	p.Framer = wire
	p.bytes(padded.Bytes())
	p.wantField(1, "grpc-status", "0")
}

// Of a stream that is reset while its answer waits nothing more is said.
func TestBlockedAnswersAreGivenUp(t *testing.T) {
	r := newRig(t)
	p := r.rawClient(window(0))
	p.ask(1, echoMethod, []byte("x"))
	p.await("its header", func(f http2.Frame) bool { return f.Header().StreamID == 1 })
	p.ok(p.WriteRSTStream(1, http2.ErrCodeCancel))
	p.ok(p.WriteSettings(window(100)))
	p.ask(3, echoMethod, []byte("y"))
	p.await("the other's end", func(f http2.Frame) bool {
		if f.Header().StreamID == 1 {
			t.Errorf("it goes on with %v", f)
		}
		return f.Header().StreamID == 3 && f.Header().Flags.Has(http2.FlagHeadersEndStream) && f.Header().Type == http2.FrameHeaders
	})
}

// Nobody waits two minutes here: what would happen then does.
func TestAnswersThatNobodyTakesAreGivenUp(t *testing.T) {
	left := make(chan struct{}, 1)
	r := newRig(t, func(o *ServerOptions) {
		o.Methods = map[string]Method{echoMethod: {Handle: echo, Admit: func() rollout.Status { return rollout.Status{} }, Leave: func() { left <- struct{}{} }}}
	})
	p := r.rawClient(window(0))
	p.ask(1, echoMethod, []byte("x"))
	p.wantField(1, ":status", "200")
	sc := r.onlyConn()
	sc.mu.Lock()
	call := sc.streams[1].end.(*serverCall)
	if call.waiting == nil {
		t.Error("nothing would give the answer up")
	}
	sc.mu.Unlock()
	call.giveUp()
	p.wantReset(1, http2.ErrCodeCancel)
	<-left
	call.giveUp() // the timer that ran out just then
	p.ok(p.WriteSettings(window(initialWindow)))
	p.wantEcho(3)
}

// A connection's window is given back for what nobody wants any more.
func TestWindowOfResetStreamsIsGivenBack(t *testing.T) {
	const streams = 3 * connectionWindow / (initialWindow - 1000)
	r := newRig(t)
	p := r.rawClient()
	granted := make(chan int, 1)
	go func() {
		total := initialWindow
		for {
			f, err := p.ReadFrame()
			if err != nil {
				break
			}
			if w, ok := f.(*http2.WindowUpdateFrame); ok && w.StreamID == 0 {
				total += int(w.Increment)
			}
			if g, ok := f.(*http2.PingFrame); ok && g.IsAck() {
				break
			}
		}
		granted <- total
	}()
	sent := 0
	for i := range uint32(streams) {
		id := 2*i + 1
		p.headers(id, false, asking(echoMethod)...)
		message := framed(make([]byte, initialWindow-1000))[:initialWindow-2000]
		p.data(id, false, message)
		p.ok(p.WriteRSTStream(id, http2.ErrCodeCancel))
		p.ok(p.WriteDataPadded(id, false, make([]byte, 16_000), make([]byte, 200))) // it crossed
		sent += len(message) + 16_201
	}
	p.ok(p.WritePing(false, [8]byte{1}))
	if left := <-granted - sent; left <= connectionWindow/2 || left > connectionWindow {
		t.Errorf("after %d bytes of streams cut off, %d are left of %d", sent, left, connectionWindow)
	}
}

func TestRequestsFitTinyWindows(t *testing.T) {
	p, c := rawServer(t)
	p.ok(p.WriteSettings(window(0)))
	eventually(t, "the settings are known", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.peer.window == 0 })
	want := framed(pattern(1, 100))
	var calls sync.WaitGroup
	calls.Go(func() {
		if got, reply := call(t.Context(), c, echoMethod, want[prefixLen:], nil); string(got) != "y" {
			t.Errorf("%q, %+v", got, reply.Status)
		}
	})
	id := p.request()
	p.ok(p.WriteWindowUpdate(id, 1))
	var got []byte
	p.await("the last of it", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if !ok {
			return false
		}
		got = append(got, d.Data()...)
		if len(d.Data()) > 1 {
			t.Errorf("%d bytes in a window of 1", len(d.Data()))
		}
		p.ok(p.WriteWindowUpdate(id, 1))
		return d.StreamEnded()
	})
	if !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	p.answer(id, []byte("y"))
	calls.Wait()
}

// One caller's message that the server makes no room for holds nobody else up, and is given
// up with its call.
func TestBlockedRequestsAreGivenUp(t *testing.T) {
	p, c := rawServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	req, released := counted(make([]byte, 1<<20))
	var blocked, calls sync.WaitGroup
	blocked.Go(func() {
		reply, _ := c.Call(ctx, echoMethod, req, nil)
		if reply.Status.Code != rollout.Canceled {
			t.Errorf("got %+v", reply.Status)
		}
	})
	first := p.request()
	p.ok(p.WriteWindowUpdate(0, 1<<20)) // so that only the stream's window is used up
	calls.Go(func() {
		if got, reply := call(t.Context(), c, echoMethod, make([]byte, 1000), nil); string(got) != "y" {
			t.Errorf("%q, %+v", got, reply.Status)
		}
	})
	p.answer(p.request(), []byte("y"))
	calls.Wait()
	cancel()
	blocked.Wait()
	p.wantReset(first, http2.ErrCodeCancel)
	req.Free()
	eventually(t, "the request is released", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return *released == 1 })
}
