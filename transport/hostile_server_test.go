package transport

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

func TestWrongPrefaceIsNotServed(t *testing.T) {
	r := newRig(t)
	for _, preface := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", strings.Repeat("\x00", 24)} {
		nc := r.dial()
		_ = nc.SetDeadline(time.Now().Add(patience))
		if _, err := nc.Write([]byte(preface)); err != nil {
			t.Fatal(err)
		}
		if n, err := nc.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q is answered", preface)
		}
	}
}

func TestSilentHandshakeEnds(t *testing.T) {
	r := newRig(t, func(o *ServerOptions) { o.ConnectionTimeout = 20 * time.Millisecond })
	nc := r.dial()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that says nothing: %v", err)
	}
}

// padded is DATA with its padding in the payload.
func padded(id uint32, flags http2.Flags, payload ...byte) []byte {
	return append(frame{kind: http2.FrameData, flags: flags | http2.FlagDataPadded, stream: id, length: len(payload)}.append(nil), payload...)
}

// odd is a frame of any kind.
func odd(kind http2.FrameType, flags http2.Flags, id uint32, payload ...byte) []byte {
	return append(frame{kind: kind, flags: flags, stream: id, length: len(payload)}.append(nil), payload...)
}

func TestBrokenClientsAreSentAway(t *testing.T) {
	r := newRig(t)
	for name, test := range map[string]struct {
		code http2.ErrCode
		send func(p *peer)
	}{
		"frame too large": {http2.ErrCodeFrameSize, func(p *peer) {
			p.bytes(frame{kind: http2.FrameData, stream: 1, length: minFrameSize + 1}.append(nil))
		}},
		"unknown frame too large": {http2.ErrCodeFrameSize, func(p *peer) {
			p.bytes(frame{kind: 0x77, length: maxFrameSize}.append(nil))
		}},
		"HEADERS of no stream": {http2.ErrCodeProtocol, func(p *peer) { p.headers(0, true, asking(echoMethod)...) }},
		"DATA of no stream":    {http2.ErrCodeProtocol, func(p *peer) { p.data(0, true, nil) }},
		"even stream":          {http2.ErrCodeProtocol, func(p *peer) { p.headers(2, true, asking(echoMethod)...) }},
		"decreasing streams": {http2.ErrCodeStreamClosed, func(p *peer) {
			p.wantEcho(5)
			p.headers(3, true, asking(echoMethod)...)
		}},
		"stream twice": {http2.ErrCodeStreamClosed, func(p *peer) {
			p.wantEcho(1)
			p.headers(1, true, asking(echoMethod)...)
		}},
		"DATA of an idle stream":  {http2.ErrCodeProtocol, func(p *peer) { p.data(1, true, nil) }},
		"RST_STREAM of idle":      {http2.ErrCodeProtocol, func(p *peer) { p.ok(p.WriteRSTStream(7, http2.ErrCodeCancel)) }},
		"RST_STREAM of no stream": {http2.ErrCodeProtocol, func(p *peer) { p.ok(p.WriteRSTStream(0, http2.ErrCodeCancel)) }},
		"RST_STREAM too short":    {http2.ErrCodeFrameSize, func(p *peer) { p.bytes(odd(http2.FrameRSTStream, 0, 1, 0)) }},
		"WINDOW_UPDATE of idle":   {http2.ErrCodeProtocol, func(p *peer) { p.ok(p.WriteWindowUpdate(9, 1)) }},
		"WINDOW_UPDATE by 0":      {http2.ErrCodeProtocol, func(p *peer) { p.ok(p.WriteWindowUpdate(0, 0)) }},
		"WINDOW_UPDATE too much":  {http2.ErrCodeFlowControl, func(p *peer) { p.ok(p.WriteWindowUpdate(0, maxWindow)) }},
		"WINDOW_UPDATE too long":  {http2.ErrCodeFrameSize, func(p *peer) { p.bytes(odd(http2.FrameWindowUpdate, 0, 0, 0, 0, 0, 0, 1)) }},
		"PRIORITY of no stream":   {http2.ErrCodeProtocol, func(p *peer) { p.bytes(odd(http2.FramePriority, 0, 0, 0, 0, 0, 0, 1)) }},
		"depends on itself": {http2.ErrCodeProtocol, func(p *peer) {
			p.ok(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(asking(echoMethod)...), EndHeaders: true,
				Priority: http2.PriorityParam{StreamDep: 1, Weight: 1}}))
		}},
		"PUSH_PROMISE": {http2.ErrCodeProtocol, func(p *peer) {
			p.ok(p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: p.encode(asking(echoMethod)...), EndHeaders: true}))
		}},
		"lone CONTINUATION":         {http2.ErrCodeProtocol, func(p *peer) { p.ok(p.WriteContinuation(1, true, nil)) }},
		"PING inside a block":       {http2.ErrCodeProtocol, func(p *peer) { half(p, 1); p.ok(p.WritePing(false, [8]byte{})) }},
		"another's CONTINUATION":    {http2.ErrCodeProtocol, func(p *peer) { half(p, 1); p.ok(p.WriteContinuation(3, true, nil)) }},
		"large CONTINUATION":        {http2.ErrCodeFrameSize, func(p *peer) { half(p, 1); p.ok(p.WriteContinuation(1, true, make([]byte, minFrameSize+1))) }},
		"empty CONTINUATIONs":       {http2.ErrCodeEnhanceYourCalm, func(p *peer) { half(p, 1); p.ok(p.WriteContinuation(1, false, nil)) }},
		"CONTINUATIONs without end": {http2.ErrCodeEnhanceYourCalm, flood},
		"HPACK garbage": {http2.ErrCodeCompression, func(p *peer) {
			p.block.Reset()
			p.bytes(odd(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0xff, 0xff, 0xff, 0xff))
		}},
		"HPACK cut short":            {http2.ErrCodeCompression, func(p *peer) { p.bytes(odd(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0x40, 10, 'a')) }},
		"HPACK table too large":      {http2.ErrCodeCompression, func(p *peer) { p.bytes(odd(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0x3f, 0xe2, 0x1f)) }},
		"DATA less than its padding": {http2.ErrCodeProtocol, func(p *peer) { p.headers(1, false, asking(echoMethod)...); p.bytes(padded(1, 0, 3, 0, 0)) }},
		"HEADERS less than padding": {http2.ErrCodeProtocol, func(p *peer) {
			p.bytes(odd(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders, 1, 2, 0))
		}},
		"HEADERS without its padding": {http2.ErrCodeFrameSize, func(p *peer) {
			p.bytes(odd(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders, 1))
		}},
		"SETTINGS of a stream":       {http2.ErrCodeProtocol, func(p *peer) { p.bytes(odd(http2.FrameSettings, 0, 1)) }},
		"SETTINGS of odd length":     {http2.ErrCodeFrameSize, func(p *peer) { p.bytes(odd(http2.FrameSettings, 0, 0, 1, 2, 3)) }},
		"SETTINGS ack with settings": {http2.ErrCodeFrameSize, func(p *peer) { p.bytes(odd(http2.FrameSettings, http2.FlagSettingsAck, 0, 0, 1, 0, 0, 0, 0)) }},
		"window too large":           {http2.ErrCodeFlowControl, func(p *peer) { p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})) }},
		"frames too small":           {http2.ErrCodeProtocol, func(p *peer) { p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 100})) }},
		"push that is neither":       {http2.ErrCodeProtocol, func(p *peer) { p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2})) }},
		"open window over the top": {http2.ErrCodeFlowControl, func(p *peer) {
			p.headers(1, false, asking(echoMethod)...)
			p.ok(p.WriteWindowUpdate(1, maxWindow-initialWindow))
			p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: initialWindow + 1}))
		}},
		"PING of a stream": {http2.ErrCodeProtocol, func(p *peer) { p.bytes(odd(http2.FramePing, 0, 1, make([]byte, 8)...)) }},
		"PING too short":   {http2.ErrCodeFrameSize, func(p *peer) { p.bytes(odd(http2.FramePing, 0, 0, 1)) }},
		"PINGs": {http2.ErrCodeEnhanceYourCalm, func(p *peer) {
			for range 5 {
				p.ok(p.WritePing(false, [8]byte{1}))
			}
		}},
		"short GOAWAY": {http2.ErrCodeProtocol, func(p *peer) { p.bytes(odd(http2.FrameGoAway, 0, 0, 1)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := r.rawClient()
			p.t = t
			test.send(p)
			p.wantGoAway(test.code)
		})
	}
}

// half begins a header block.
func half(p *peer, id uint32) {
	p.ok(p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encode(asking(echoMethod)...)}))
}

func flood(p *peer) {
	half(p, 1)
	for range mostBlock/minFrameSize + 1 {
		if p.WriteContinuation(1, false, make([]byte, minFrameSize)) != nil {
			return // it has heard enough
		}
	}
}

func TestBadRequestsEndAlone(t *testing.T) {
	r := newRig(t)
	t.Cleanup(func() { close(r.release) })
	reset := func(code http2.ErrCode) func(*peer) { return func(p *peer) { p.wantReset(1, code) } }
	says := func(name, value string) func(*peer) { return func(p *peer) { p.wantField(1, name, value) } }
	status := func(code string) func(*peer) { return says("grpc-status", code) }
	malformed := reset(http2.ErrCodeProtocol)
	// begins sends a header of pairs, and a message where there is none in it.
	begins := func(pairs ...string) func(*peer) {
		return func(p *peer) {
			p.headers(1, false, pairs...)
			p.data(1, true, framed([]byte("x")))
		}
	}
	message := func(b ...byte) func(*peer) {
		return func(p *peer) {
			p.headers(1, false, asking(echoMethod)...)
			p.data(1, true, b)
		}
	}
	for name, test := range map[string]struct{ send, want func(*peer) }{
		"no :path":            {begins(":method", "POST", ":scheme", "http", "content-type", "application/grpc"), malformed},
		"empty :path":         {begins(":method", "POST", ":scheme", "http", ":path", "", "content-type", "application/grpc"), malformed},
		"no :method":          {begins(":scheme", "http", ":path", echoMethod), malformed},
		"no :scheme":          {begins(":method", "POST", ":path", echoMethod), malformed},
		"two :path":           {begins(asking(echoMethod, ":path", echoMethod)...), malformed},
		"two :scheme":         {begins(":scheme", "http", ":method", "POST", ":scheme", "http", ":path", echoMethod), malformed},
		"late pseudo-header":  {begins(":method", "POST", ":scheme", "http", "te", "trailers", ":path", echoMethod), malformed},
		"unknown pseudo":      {begins(append([]string{":color", "red"}, asking(echoMethod)...)...), malformed},
		":status":             {begins(append([]string{":status", "200"}, asking(echoMethod)...)...), malformed},
		"upper case":          {begins(asking(echoMethod, "X-Upper", "1")...), malformed},
		"name of no token":    {begins(asking(echoMethod, "x y", "1")...), malformed},
		"empty name":          {begins(asking(echoMethod, "", "1")...), malformed},
		"line break in value": {begins(asking(echoMethod, "x", "1\r\ny: 2")...), malformed},
		"connection":          {begins(asking(echoMethod, "connection", "close")...), malformed},
		"transfer-encoding":   {begins(asking(echoMethod, "transfer-encoding", "chunked")...), malformed},
		"te of more":          {begins(asking(echoMethod, "te", "gzip")...), malformed},
		"GET":                 {begins(":method", "GET", ":scheme", "http", ":path", echoMethod), says(":status", "405")},
		"JSON":                {begins(":method", "POST", ":scheme", "http", ":path", echoMethod, "content-type", "application/json"), says(":status", "415")},
		"almost gRPC":         {begins(":method", "POST", ":scheme", "http", ":path", echoMethod, "content-type", "application/grpcx"), says(":status", "415")},
		"unknown method":      {begins(asking(nobody)...), status("12")},
		"unknown encoding":    {begins(asking(echoMethod, "grpc-encoding", "br")...), status("12")},
		"no base64":           {begins(asking(echoMethod, "x-bin", "!")...), status("13")},
		"no timeout":          {begins(asking(echoMethod, "grpc-timeout", "soon")...), status("13")},
		"much metadata":       {begins(asking(echoMethod, "x", strings.Repeat("x", testHeader))...), status("8")},
		"much metadata first": {begins(":method", "POST", ":scheme", "http", ":path", echoMethod, "x", strings.Repeat("x", testHeader), "content-type", "application/grpc"), status("8")},
		"much in pieces":      {inPieces, status("8")},
		"no message":          {func(p *peer) { p.headers(1, true, asking(echoMethod)...) }, status("13")},
		"two messages":        {message(append(framed([]byte("a")), framed([]byte("b"))...)...), status("13")},
		"message cut short":   {message(framed([]byte("abc"))[:7]...), status("13")},
		"prefix cut short":    {message(0, 0), status("13")},
		"unknown flag":        {message(2, 0, 0, 0, 0), status("13")},
		"zipped, not said":    {message(1, 0, 0, 0, 0), status("13")},
		"message too large":   {message(0, 0xff, 0xff, 0xff, 0xff), status("8")},
		"zipped garbage": {func(p *peer) {
			p.headers(1, false, asking(echoMethod, "grpc-encoding", "gzip")...)
			p.data(1, true, []byte{1, 0, 0, 0, 2, 'x', 'x'})
		}, status("13")},
		"header after header": {func(p *peer) {
			p.headers(1, false, asking(echoMethod)...)
			p.headers(1, false, "x", "1")
		}, malformed},
		"pseudo-header in trailers": {func(p *peer) {
			p.headers(1, false, asking(echoMethod)...)
			p.headers(1, true, ":path", echoMethod)
		}, malformed},
		"DATA after the end": {func(p *peer) {
			p.ask(1, holdMethod, nil)
			p.data(1, false, []byte("x"))
		}, reset(http2.ErrCodeStreamClosed)},
		"DATA after RST_STREAM": {func(p *peer) {
			p.headers(1, false, asking(stubbornMethod)...)
			p.ok(p.WriteRSTStream(1, http2.ErrCodeCancel))
			p.data(1, false, []byte("x"))
		}, reset(http2.ErrCodeStreamClosed)},
		"HEADERS after the end": {func(p *peer) {
			p.ask(1, holdMethod, nil)
			p.headers(1, true, "x", "1")
		}, reset(http2.ErrCodeStreamClosed)},
		"WINDOW_UPDATE by 0": {func(p *peer) {
			p.ask(1, holdMethod, nil)
			p.ok(p.WriteWindowUpdate(1, 0))
		}, malformed},
		"WINDOW_UPDATE too much": {func(p *peer) {
			p.ask(1, holdMethod, nil)
			p.ok(p.WriteWindowUpdate(1, maxWindow))
		}, reset(http2.ErrCodeFlowControl)},
		"PRIORITY too short": {func(p *peer) { p.bytes(odd(http2.FramePriority, 0, 1, 1)); p.headers(1, true, asking(echoMethod)...) }, reset(http2.ErrCodeFrameSize)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := r.rawClient()
			p.t = t
			test.send(p)
			test.want(p)
			p.wantEcho(3)
		})
	}
}

// inPieces sends a header that takes CONTINUATIONs, and is too large.
func inPieces(p *peer) {
	block := p.encode(asking(echoMethod, "x", strings.Repeat("\x7f", 40<<10))...)
	p.ok(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:10], EndStream: true}))
	for block = block[10:]; len(block) > 10000; block = block[10000:] {
		p.ok(p.WriteContinuation(1, false, block[:10000]))
	}
	p.ok(p.WriteContinuation(1, true, block))
}
