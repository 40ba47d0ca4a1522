package transport

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

func TestServersThatAnswerBadly(t *testing.T) {
	head := []string{":status", "200", "content-type", "application/grpc"}
	// says answers with a header, a message, and what comes behind it.
	says := func(then func(p *peer, id uint32)) func(*peer, uint32) {
		return func(p *peer, id uint32) {
			p.headers(id, false, head...)
			p.data(id, false, framed([]byte("x")))
			then(p, id)
		}
	}
	alone := func(pairs ...string) func(*peer, uint32) {
		return func(p *peer, id uint32) { p.headers(id, true, append(head[:4:4], pairs...)...) }
	}
	web := func(status string) func(*peer, uint32) {
		return func(p *peer, id uint32) { p.headers(id, true, ":status", status, "content-type", "text/html") }
	}
	sends := func(b ...byte) func(*peer, uint32) {
		return func(p *peer, id uint32) {
			p.headers(id, false, head...)
			p.data(id, false, b)
			p.headers(id, true, "grpc-status", "0")
		}
	}
	reset := func(code http2.ErrCode) func(*peer, uint32) {
		return func(p *peer, id uint32) { p.ok(p.WriteRSTStream(id, code)) }
	}
	for name, test := range map[string]struct {
		code   rollout.Code
		answer func(p *peer, id uint32)
		unsent bool
	}{
		"trailers alone":        {rollout.NotFound, alone("grpc-status", "5", "grpc-message", "a%20b"), false},
		"OK and no message":     {rollout.Internal, alone("grpc-status", "0"), false},
		"no status":             {rollout.Internal, alone(), false},
		"status of no number":   {rollout.Internal, alone("grpc-status", "fine"), false},
		"metadata of no base64": {rollout.Internal, alone("grpc-status", "0", "x-bin", "!"), false},
		"unauthorized":          {rollout.Unauthenticated, web("401"), false},
		"unavailable":           {rollout.Unavailable, web("503"), false},
		"not found":             {rollout.Unimplemented, web("404"), false},
		"teapot":                {rollout.Unknown, web("418"), false},
		"HTML":                  {rollout.Unknown, web("200"), false},
		"no :status":            {rollout.Unknown, func(p *peer, id uint32) { p.headers(id, true, "grpc-status", "0") }, false},
		"header in upper case":  {rollout.Internal, alone("grpc-status", "0", "X-Y", "1"), false},
		"line break":            {rollout.Internal, alone("grpc-status", "0", "x", "1\n2"), false},
		"much metadata":         {rollout.ResourceExhausted, alone("x", strings.Repeat("x", testHeader)), false},
		"two headers":           {rollout.Internal, says(func(p *peer, id uint32) { p.headers(id, false, head...) }), false},
		"pseudo-header behind":  {rollout.Internal, says(func(p *peer, id uint32) { p.headers(id, true, ":status", "200", "grpc-status", "0") }), false},
		"two messages":          {rollout.Internal, says(func(p *peer, id uint32) { p.data(id, false, framed(nil)) }), false},
		"end without trailers":  {rollout.Internal, says(func(p *peer, id uint32) { p.data(id, true, nil) }), false},
		"message before header": {rollout.Internal, func(p *peer, id uint32) {
			p.data(id, false, framed([]byte("x")))
			p.headers(id, true, append(head[:4:4], "grpc-status", "0")...)
		}, false},
		"message cut short": {rollout.Internal, sends(0, 0, 0, 0, 9, 1), false},
		"prefix cut short":  {rollout.Internal, sends(0, 0), false},
		"message too large": {rollout.ResourceExhausted, sends(0, 0xff, 0, 0, 0), false},
		"unknown flag":      {rollout.Internal, sends(7, 0, 0, 0, 0), false},
		"zipped, not said":  {rollout.Internal, sends(1, 0, 0, 0, 0), false},
		"zipped garbage": {rollout.Internal, func(p *peer, id uint32) {
			p.headers(id, false, append(head[:4:4], "grpc-encoding", "gzip")...)
			p.data(id, false, []byte{1, 0, 0, 0, 1, 0})
			p.headers(id, true, "grpc-status", "0")
		}, false},
		"reset":            {rollout.Internal, reset(http2.ErrCodeInternal), false},
		"reset, refused":   {rollout.Unavailable, reset(http2.ErrCodeRefusedStream), true},
		"reset, cancelled": {rollout.Canceled, reset(http2.ErrCodeCancel), false},
		"reset, calm":      {rollout.ResourceExhausted, reset(http2.ErrCodeEnhanceYourCalm), false},
		"reset inside a message": {rollout.Internal, func(p *peer, id uint32) {
			p.headers(id, false, head...)
			p.data(id, false, framed(make([]byte, 100))[:50])
			reset(http2.ErrCodeInternal)(p, id)
		}, false},
		"reset behind a message": {rollout.Internal, says(reset(http2.ErrCodeInternal)), false},
		"WINDOW_UPDATE by 0":     {rollout.Internal, func(p *peer, id uint32) { p.ok(p.WriteWindowUpdate(id, 0)) }, false},
		"status, message is left": {rollout.Aborted, func(p *peer, id uint32) {
			p.headers(id, false, head...)
			p.data(id, false, framed([]byte("x"))[:3])
			p.headers(id, true, "grpc-status", "10")
		}, false},
		"padded": {rollout.OK, func(p *peer, id uint32) {
			p.headers(id, false, ":status", "103")
			p.headers(id, false, head...)
			p.ok(p.WriteDataPadded(id, false, framed([]byte("x")), make([]byte, 255)))
			p.ok(p.WriteDataPadded(id, false, nil, make([]byte, 255)))
			p.headers(id, true, "grpc-status", "0")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, c := rawServer(t)
			var calls sync.WaitGroup
			calls.Go(func() {
				req, _ := counted([]byte("question"))
				defer req.Free()
				reply, unsent := c.Call(t.Context(), echoMethod, req, nil)
				if reply.Status.Code != test.code || unsent != test.unsent || (reply.Payload != nil) != (test.code == rollout.OK) {
					t.Errorf("%+v, unsent %v; want %v, %v", reply.Status, unsent, test.code, test.unsent)
				}
				reply.Payload.Free()
				// The connection is as good as before.
				if got, reply := call(t.Context(), c, echoMethod, nil, nil); string(got) != "fine" {
					t.Errorf("the next call: %q, %+v", got, reply.Status)
				}
			})
			test.answer(p, p.request())
			p.answer(p.request(), []byte("fine"))
			calls.Wait()
		})
	}
	t.Cleanup(func() { eventually(t, "all answers freed", func() bool { return lent.Load() == 0 }) })
}

func TestBrokenServersAreGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		code http2.ErrCode
		send func(p *peer, id uint32)
	}{
		"PUSH_PROMISE": {http2.ErrCodeProtocol, func(p *peer, id uint32) {
			p.ok(p.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: p.encode(asking(echoMethod)...), EndHeaders: true}))
		}},
		"stream of its own":      {http2.ErrCodeProtocol, func(p *peer, _ uint32) { p.headers(2, true, ":status", "200") }},
		"stream to come":         {http2.ErrCodeProtocol, func(p *peer, id uint32) { p.headers(id+2, true, ":status", "200") }},
		"HEADERS of no stream":   {http2.ErrCodeProtocol, func(p *peer, _ uint32) { p.headers(0, true, ":status", "200") }},
		"DATA of no stream":      {http2.ErrCodeProtocol, func(p *peer, _ uint32) { p.data(0, true, nil) }},
		"DATA of stream to come": {http2.ErrCodeProtocol, func(p *peer, id uint32) { p.data(id+2, true, nil) }},
		"RST_STREAM to come":     {http2.ErrCodeProtocol, func(p *peer, id uint32) { p.ok(p.WriteRSTStream(id+2, 0)) }},
		"frame too large": {http2.ErrCodeFrameSize, func(p *peer, id uint32) {
			p.bytes(frame{kind: http2.FrameData, stream: id, length: minFrameSize + 1}.append(nil))
		}},
		"CONTINUATIONs":      {http2.ErrCodeEnhanceYourCalm, func(p *peer, id uint32) { half(p, id); p.ok(p.WriteContinuation(id, false, nil)) }},
		"CONTINUATION alone": {http2.ErrCodeProtocol, func(p *peer, id uint32) { p.ok(p.WriteContinuation(id, true, nil)) }},
		"HPACK garbage": {http2.ErrCodeCompression, func(p *peer, id uint32) {
			p.bytes(odd(http2.FrameHeaders, http2.FlagHeadersEndHeaders, id, 0xff, 0xff, 0xff, 0xff))
		}},
		"less than its padding": {http2.ErrCodeProtocol, func(p *peer, id uint32) { p.bytes(padded(id, 0, 9, 0)) }},
		"window over the top":   {http2.ErrCodeFlowControl, func(p *peer, _ uint32) { p.ok(p.WriteWindowUpdate(0, maxWindow)) }},
		"window by 0":           {http2.ErrCodeProtocol, func(p *peer, _ uint32) { p.ok(p.WriteWindowUpdate(0, 0)) }},
		"short GOAWAY":          {http2.ErrCodeProtocol, func(p *peer, _ uint32) { p.bytes(odd(http2.FrameGoAway, 0, 0)) }},
		"HTTP/1":                {http2.ErrCodeFrameSize, func(p *peer, _ uint32) { p.bytes([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, c := rawServer(t)
			var calls sync.WaitGroup
			calls.Go(func() {
				if _, reply := call(t.Context(), c, echoMethod, nil, nil); reply.Status.Code != rollout.Unavailable {
					t.Errorf("got %+v", reply.Status)
				}
			})
			test.send(p, p.request())
			p.wantGoAway(test.code)
			calls.Wait()
			_ = p.nc.Close()
			<-c.Done()
			var broke *connectionError
			if !errors.As(c.Err(), &broke) || broke.code != test.code {
				t.Errorf("it ended by %v", c.Err())
			}
		})
	}
}

func TestGoAwayTellsWhichCallsWereNotBegun(t *testing.T) {
	p, c := rawServer(t)
	type result struct {
		got    []byte
		unsent bool
	}
	results := make(chan result, 2)
	ask := func() {
		req, _ := counted(make([]byte, 200_000)) // more than the window: some is left to send
		defer req.Free()
		reply, unsent := c.Call(t.Context(), echoMethod, req, nil)
		results <- result{reply.Payload.AppendTo(nil), unsent}
		reply.Payload.Free()
	}
	go ask()
	first := p.request()
	go ask()
	second := p.request()
	p.ok(p.WriteGoAway(first, http2.ErrCodeNo, []byte("bye")))
	if r := <-results; !r.unsent || len(r.got) != 0 {
		t.Errorf("the call that was not begun: %+v", r)
	}
	<-c.Leaving()
	p.answer(first, []byte("y"))
	if r := <-results; r.unsent || string(r.got) != "y" {
		t.Errorf("the call that was begun: %+v", r)
	}
	// Of a stream that it did not take it need hear no more.
	for {
		f, err := p.ReadFrame()
		if err != nil {
			break
		}
		if f.Header().Type == http2.FrameRSTStream && f.Header().StreamID == second {
			t.Error("a stream that was not taken is reset")
		}
	}
	_ = p.nc.Close()
	<-c.Done()
}

func TestNoResetInAnswerToAReset(t *testing.T) {
	p, c := rawServer(t)
	var calls sync.WaitGroup
	calls.Go(func() { call(t.Context(), c, echoMethod, make([]byte, 200_000), nil) })
	id := p.request()
	p.ok(p.WriteRSTStream(id, http2.ErrCodeRefusedStream))
	p.ok(p.WritePing(false, [8]byte{7}))
	p.await("the PING's answer", func(f http2.Frame) bool {
		if f.Header().Type == http2.FrameRSTStream {
			t.Error("a reset is answered with a reset")
		}
		g, ok := f.(*http2.PingFrame)
		return ok && g.IsAck()
	})
	calls.Wait()
}

func TestServerThatIsNone(t *testing.T) {
	for name, says := range map[string]string{"nothing": "", "HTTP/1": "HTTP/1.1 400 Bad Request\r\n\r\n", "no settings": string(odd(http2.FramePing, 0, 0, make([]byte, 8)...))} {
		ours, theirs := socketPair(t)
		if _, err := theirs.Write([]byte(says)); err != nil {
			t.Fatal(err)
		}
		_ = theirs.Close()
		if c, err := NewClientConn(t.Context(), ours, clientOptions()); err == nil {
			_ = c.Close()
			t.Errorf("%s: connected", name)
		}
	}
	ours, _ := socketPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := NewClientConn(ctx, ours, clientOptions()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that says nothing: %v", err)
	}
}

func TestClientWaitsForAStream(t *testing.T) {
	p, c := rawServer(t)
	p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1}))
	eventually(t, "the settings are known", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.peer.streams == 1 })
	const callers = 5
	var calls sync.WaitGroup
	ask := func() {
		if got, reply := call(t.Context(), c, echoMethod, nil, nil); string(got) != "y" {
			t.Errorf("%q, %+v", got, reply.Status)
		}
	}
	calls.Go(ask)
	id := p.request()
	ctx, cancel := context.WithCancel(t.Context())
	calls.Go(func() {
		if _, reply := call(ctx, c, "/gives/up", nil, nil); reply.Status.Code != rollout.Canceled {
			t.Errorf("one that gave up: %+v", reply.Status)
		}
	})
	for range callers {
		calls.Go(ask)
	}
	eventually(t, "all but one wait", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.waiting) == callers+1 })
	cancel()
	for range callers {
		c.mu.Lock()
		if n := len(c.streams); n != 1 {
			t.Errorf("%d streams at a time, at most 1", n)
		}
		c.mu.Unlock()
		p.answer(id, []byte("y"))
		id = p.request()
	}
	p.answer(id, []byte("y"))
	calls.Wait()
}

// One who gives up when it is his turn passes it on.
func TestTurnIsPassedOn(t *testing.T) {
	p, c := rawServer(t)
	p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}))
	eventually(t, "the settings are known", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.peer.streams == 0 })
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	for i, ctx := range []context.Context{ctx, t.Context()} {
		calls.Go(func() { call(ctx, c, echoMethod, nil, nil) })
		eventually(t, "it waits", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.waiting) == i+1 })
	}
	c.mu.Lock()
	c.peer.streams = 1
	c.wake()
	cancel()
	c.mu.Unlock()
	p.answer(p.request(), nil)
	calls.Wait()
}
