package transport

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

// against is a client of a server that is played by hand: it has seen the client's request, of stream 1.
func against(t *testing.T, play func(p *peer)) *ClientConn {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	played := make(chan struct{})
	go func() {
		defer close(played)
		nc, err := lis.Accept()
		if err != nil {
			return
		}
		p := newPeer(t, nc)
		_, _ = io.ReadFull(nc, make([]byte, len(http2.ClientPreface)))
		_ = p.WriteSettings()
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok && h.StreamID == 1 {
				break
			}
		}
		play(p)
		// What else the client says is of no interest, but read.
		_, _ = io.Copy(io.Discard, nc)
	}()
	t.Cleanup(func() { <-played })
	return connect(t, lis.Addr().String(), clientOptions())
}

// What a server must not do, and how the call ends.
func TestHostileServers(t *testing.T) {
	ok := []string{":status", "200", "content-type", "application/grpc"}
	answered := func(p *peer) {
		_ = p.headers(1, false, ok...)
		_ = p.WriteData(1, false, framed([]byte("a")))
	}
	for name, c := range map[string]struct {
		do   func(p *peer)
		want rollout.Code
		says string
	}{
		"as it should be": {func(p *peer) {
			answered(p)
			_ = p.headers(1, true, "grpc-status", "0")
		}, rollout.OK, ""},
		"a status alone": {func(p *peer) {
			_ = p.headers(1, true, append(ok, "grpc-status", "5", "grpc-message", "no%20such")...)
		}, rollout.NotFound, "no such"},
		"1xx before": {func(p *peer) {
			_ = p.headers(1, false, ":status", "103")
			answered(p)
			_ = p.headers(1, true, "grpc-status", "0")
		}, rollout.OK, ""},
		"nothing, and gone":        {func(p *peer) { p.nc.Close() }, rollout.Unavailable, "lost"},
		"half an answer, and gone": {func(p *peer) { answered(p); p.nc.Close() }, rollout.Unavailable, "lost"},
		"no trailers": {func(p *peer) {
			_ = p.headers(1, false, ok...)
			_ = p.WriteData(1, true, framed([]byte("a")))
		}, rollout.Internal, "without a status"},
		"OK and no message": {func(p *peer) { _ = p.headers(1, true, append(ok, "grpc-status", "0")...) }, rollout.Internal, "no message"},
		"two messages": {func(p *peer) {
			answered(p)
			_ = p.WriteData(1, false, framed([]byte("b")))
			_ = p.headers(1, true, "grpc-status", "0")
		}, rollout.Internal, "more than one"},
		"half a message": {func(p *peer) {
			_ = p.headers(1, false, ok...)
			_ = p.WriteData(1, false, framed([]byte("abc"))[:6])
			_ = p.headers(1, true, "grpc-status", "0")
		}, rollout.Internal, "inside a message"},
		"a message over the limit": {func(p *peer) {
			_ = p.headers(1, false, ok...)
			_ = p.WriteData(1, false, []byte{0, 0xff, 0, 0, 0})
		}, rollout.ResourceExhausted, "larger"},
		"a status that is none": {func(p *peer) { answered(p); _ = p.headers(1, true, "grpc-status", "fine") }, rollout.Internal, "want a number"},
		"a second header":       {func(p *peer) { _ = p.headers(1, false, ok...); _ = p.headers(1, false, ok...) }, rollout.Internal, "second header"},
		"a web page": {func(p *peer) {
			_ = p.headers(1, false, ":status", "503", "content-type", "text/html")
			_ = p.WriteData(1, true, []byte("<html>"))
		}, rollout.Unavailable, "503"},
		"metadata over the limit": {func(p *peer) { _ = p.headers(1, false, append(ok, "a", strings.Repeat("x", 17<<10))...) }, rollout.ResourceExhausted, "more than"},
		"a malformed header":      {func(p *peer) { _ = p.headers(1, false, append(ok, "Upper", "1")...) }, rollout.Internal, "malformed"},
		"a reset":                 {func(p *peer) { answered(p); _ = p.WriteRSTStream(1, http2.ErrCodeInternal) }, rollout.Internal, "reset"},
		"a refusal":               {func(p *peer) { _ = p.WriteRSTStream(1, http2.ErrCodeRefusedStream) }, rollout.Unavailable, "reset"},
		"calm, please":            {func(p *peer) { _ = p.WriteRSTStream(1, http2.ErrCodeEnhanceYourCalm) }, rollout.ResourceExhausted, "reset"},
		"going away": {func(p *peer) {
			_ = p.WriteGoAway(0, http2.ErrCodeNo, []byte("bye"))
		}, rollout.Unavailable, "bye"},
		"a push":          {func(p *peer) { _ = p.raw(http2.FramePushPromise, 4, 1, make([]byte, 8)) }, rollout.Unavailable, "PUSH_PROMISE"},
		"its own stream":  {func(p *peer) { _ = p.headers(2, false, ok...) }, rollout.Unavailable, "opened stream 2"},
		"HPACK of no use": {func(p *peer) { _ = p.raw(http2.FrameHeaders, 4, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff}) }, rollout.Unavailable, "COMPRESSION"},
		"a frame that is too large": {func(p *peer) {
			_ = p.raw(http2.FrameData, 0, 1, make([]byte, minFrameSize+1))
		}, rollout.Unavailable, "FRAME_SIZE"},
		"a header block without end": {func(p *peer) {
			_ = p.raw(http2.FrameHeaders, 0, 1, p.encode(ok...))
			for p.WriteContinuation(1, false, make([]byte, minFrameSize)) == nil {
			}
		}, rollout.Unavailable, "header block"},
		"data of stream 99": {func(p *peer) { _ = p.WriteData(99, false, nil) }, rollout.Unavailable, "not open"},
		"no HTTP/2":         {func(p *peer) { _, _ = io.WriteString(p.nc, "HTTP/1.1 400 Bad Request\r\n\r\n") }, rollout.Unavailable, "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := against(t, c.do)
			reply, got := call(within(t, 5*time.Second), conn, echoes, payload(1, 10), nil)
			if reply.Status.Code != c.want || !strings.Contains(reply.Status.Message, c.says) {
				t.Errorf("%+v, want %s that says %q", reply.Status, c.want, c.says)
			}
			if reply.Status.Code == rollout.OK && string(got) != "a" {
				t.Errorf("answer %q", got)
			}
			conn.Close()
			balanced(t)
		})
	}
}

// A server that says nothing ends nothing but the caller's patience; the stream is reset, so
// that it learns of that.
func TestServerThatHangs(t *testing.T) {
	reset := make(chan http2.ErrCode, 1)
	conn := against(t, func(p *peer) {
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			if r, ok := f.(*http2.RSTStreamFrame); ok {
				reset <- r.ErrCode
				return
			}
		}
	})
	if reply, _ := call(within(t, 50*time.Millisecond), conn, echoes, payload(1, 10), nil); reply.Status.Code != rollout.DeadlineExceeded {
		t.Errorf("%+v", reply.Status)
	}
	if code := <-reset; code != http2.ErrCodeCancel {
		t.Errorf("the server was told %s", code)
	}
	conn.Close()
	balanced(t)
}

// A server that does not read gets no more than it has room for, and calls fail before they hold
// more than mostQueued.
func TestServerThatDoesNotRead(t *testing.T) {
	conn := against(t, func(p *peer) { _ = p.WriteWindowUpdate(0, 1<<30); time.Sleep(300 * time.Millisecond) })
	ctx := within(t, 200*time.Millisecond)
	done := make(chan rollout.Status)
	const calls = 64
	for i := range calls {
		go func() {
			reply, _ := call(ctx, conn, echoes, payload(i, 1<<20), nil)
			done <- reply.Status
		}()
	}
	for range calls {
		if s := <-done; s.Code != rollout.DeadlineExceeded && s.Code != rollout.Unavailable {
			t.Errorf("%+v", s)
		}
	}
	conn.Close()
	balanced(t)
}

// A server that pings a client gets its answers, a client that is silent is found out, and
// so is a server.
func TestKeepalive(t *testing.T) {
	o := clientOptions()
	o.KeepaliveTime, o.KeepaliveTimeout = 20*time.Millisecond, 20*time.Millisecond
	s := limits()
	s.KeepaliveMinTime = time.Millisecond
	s.KeepaliveTime, s.KeepaliveTimeout = 20*time.Millisecond, 50*time.Millisecond
	_, addr, _ := serve(t, s)
	alive := connect(t, addr, o)
	time.Sleep(200 * time.Millisecond)
	if reply, _ := call(within(t, 5*time.Second), alive, echoes, payload(1, 1), nil); reply.Status.Code != rollout.OK {
		t.Errorf("a connection that was idle for long: %+v", reply.Status)
	}

	silent := meet(t, addr)
	time.Sleep(200 * time.Millisecond)
	if got := silent.ending(); got != "closed" {
		t.Errorf("a silent client is told %q", got)
	}

	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	go func() {
		nc, err := lis.Accept()
		if err == nil {
			p := newPeer(t, nc)
			_ = p.WriteSettings() // and that is all
		}
	}()
	mute := connect(t, lis.Addr().String(), o)
	select {
	case <-mute.Done():
	case <-time.After(5 * time.Second):
		t.Error("a silent server was not found out")
	}
}

// flow reads a stream's data until it has ended, gives room as it is told, and returns the message.
func (p *peer) flow(stream uint32, give func(read int)) []byte {
	p.Helper()
	var got bytes.Buffer
	p.wait("the answer's end", func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.DataFrame:
			got.Write(f.Data())
			give(len(f.Data()))
		case *http2.MetaHeadersFrame:
			return f.StreamEnded()
		case *http2.RSTStreamFrame:
			p.Fatalf("reset: %s", f.ErrCode)
		}
		return false
	})
	return got.Bytes()
}

// The smallest windows, those that become negative, and frames of other sizes.
func TestWindows(t *testing.T) {
	_, addr, _ := serve(t, limits())
	want := framed(pattern(1, 500))

	p := meet(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.must(p.headers(1, false, ask(echoes)...))
	p.must(p.WriteData(1, true, want))
	p.must(p.WriteWindowUpdate(1, 1))
	if got := p.flow(1, func(n int) {
		if n != 1 {
			t.Errorf("%d bytes into a window of 1", n)
		}
		p.must(p.WriteWindowUpdate(1, 1))
	}); !bytes.Equal(got, want) {
		t.Errorf("byte by byte: %d of %d bytes", len(got), len(want))
	}

	p = meet(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	p.must(p.headers(1, false, ask(echoes)...))
	p.must(p.WriteData(1, true, want))
	rounds := 0
	if got := p.flow(1, func(int) {
		switch rounds++; rounds {
		case 1: // all 100 are used: the window becomes −60, and then 0
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 40}))
			p.must(p.WriteWindowUpdate(1, 60))
			p.must(p.WriteWindowUpdate(1, 5))
		case 2:
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000}))
		}
	}); !bytes.Equal(got, want) || rounds != 3 {
		t.Errorf("negative windows: %d of %d bytes in %d rounds", len(got), len(want), rounds)
	}

	large := framed(pattern(1, 60000))
	p = meet(t, addr, http2.Setting{ID: http2.SettingMaxFrameSize, Val: 40000})
	p.must(p.headers(1, false, ask(echoes)...))
	for rest, last := large, false; !last; rest = rest[min(len(rest), 16384):] {
		last = len(rest) <= 16384
		p.must(p.WriteData(1, last, rest[:min(len(rest), 16384)]))
	}
	most := 0
	if got := p.flow(1, func(n int) { most = max(most, n) }); !bytes.Equal(got, large) || most > 40000 || most <= minFrameSize {
		t.Errorf("frames to 40000 bytes: %d of %d bytes, the largest %d", len(got), len(large), most)
	}
}

// Streams that wait for the connection's window take turns, one that is reset gives way, and
// a small answer is not kept behind a large one whose own window is used up.
func TestConnectionWindow(t *testing.T) {
	_, addr, _ := serve(t, limits())
	p := meet(t, addr)
	send := func(id uint32, n int) {
		p.must(p.headers(id, false, ask(echoes)...))
		b := framed(pattern(int(id), n))
		for last := false; !last; b = b[min(len(b), 16384):] {
			last = len(b) <= 16384
			p.must(p.WriteData(id, last, b[:min(len(b), 16384)]))
		}
	}
	got := map[uint32]int{}
	ended := map[uint32]bool{}
	read := func(until func() bool) {
		p.wait("data", func(f http2.Frame) bool {
			switch f := f.(type) {
			case *http2.DataFrame:
				got[f.StreamID] += len(f.Data())
			case *http2.MetaHeadersFrame:
				ended[f.StreamID] = ended[f.StreamID] || f.StreamEnded()
			}
			return until()
		})
	}
	send(1, 100_000)
	read(func() bool { return got[1] == initialWindow }) // both windows are used up
	send(3, 50_000)
	send(5, 50_000)
	p.must(p.WriteRSTStream(3, http2.ErrCodeCancel))
	p.must(p.WriteWindowUpdate(0, 1<<20))
	read(func() bool { return ended[5] })
	if got[3] != 0 || got[5] != 50_005 || got[1] != initialWindow {
		t.Errorf("bytes by stream: %v", got)
	}
	p.must(p.WriteWindowUpdate(1, 1<<20))
	read(func() bool { return ended[1] })
	if got[1] != 100_005 {
		t.Errorf("bytes by stream: %v", got)
	}
}

// The connection's window comes back for data that nobody wants: of streams that were refused or reset.
func TestUnwantedDataIsCredited(t *testing.T) {
	_, addr, _ := serve(t, limits())
	c := connect(t, addr, clientOptions())
	for i := range 40 { // 40 MB, the window is 4
		ctx := within(t, 10*time.Second)
		if reply, _ := call(ctx, c, fails, payload(i, 1<<20), nil); reply.Status.Code != rollout.InvalidArgument {
			t.Fatalf("call %d: %+v", i, reply.Status)
		}
		if reply, _ := call(ctx, c, echoes, payload(i, 8<<20+1), nil); reply.Status.Code != rollout.ResourceExhausted {
			t.Fatalf("call %d: %+v", i, reply.Status)
		}
	}
	c.Close()
	balanced(t)
}
