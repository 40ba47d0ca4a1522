package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-serving/understudy/rollout"
)

// peer speaks HTTP/2 by hand, from either end.
type peer struct {
	testing.TB
	*http2.Framer
	nc      net.Conn
	encoder *hpack.Encoder
	block   bytes.Buffer
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	p := &peer{TB: t, Framer: http2.NewFramer(nc, nc), nc: nc}
	p.encoder = hpack.NewEncoder(&p.block)
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.SetMaxReadFrameSize(maxFrameSize)
	p.AllowIllegalWrites = true
	return p
}

func (p *peer) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// meet is a client whose settings the server has, and has answered.
func meet(t testing.TB, addr string, settings ...http2.Setting) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, nc)
	_, err = io.WriteString(nc, http2.ClientPreface)
	p.must(err)
	p.must(p.WriteSettings(settings...))
	p.wait("the settings' answer", func(f http2.Frame) bool {
		s, ok := f.(*http2.SettingsFrame)
		return ok && s.IsAck()
	})
	return p
}

// wait reads until a frame is what the test waits for.
func (p *peer) wait(what string, wanted func(http2.Frame) bool) {
	p.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.Fatalf("waiting for %s: %v", what, err)
		}
		if wanted(f) {
			return
		}
	}
}

func (p *peer) encode(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		p.must(p.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return bytes.Clone(p.block.Bytes())
}

// ask are the fields of a request.
func ask(method string, more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":path", method, ":authority", "a", "content-type", "application/grpc", "te", "trailers"}, more...)
}

func (p *peer) headers(id uint32, last bool, pairs ...string) error {
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encode(pairs...), EndHeaders: true, EndStream: last})
}

// framed is a message of gRPC's.
func framed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// raw writes a frame whatever it is worth.
func (p *peer) raw(kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) error {
	return p.WriteRawFrame(kind, flags, stream, payload)
}

// ending is what a peer is told in the end: a GOAWAY's code, a stream's RST_STREAM or
// status, or nothing but the connection's end.
func (p *peer) ending() string {
	for {
		f, err := p.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "nothing"
		} else if err != nil {
			return "closed"
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			return "GOAWAY " + f.ErrCode.String()
		case *http2.RSTStreamFrame:
			return "RST " + f.ErrCode.String()
		case *http2.MetaHeadersFrame:
			if s := f.PseudoValue("status"); s != "" && s != "200" {
				return "HTTP " + s
			}
			for _, field := range f.Fields {
				if field.Name == "grpc-status" {
					return "status " + field.Value
				}
			}
		}
	}
}

// What a client must not do, and what it is told. Others are served all the while.
func TestHostileClients(t *testing.T) {
	long := strings.Repeat("x", 17<<10)
	for name, c := range map[string]struct {
		do   func(p *peer) error
		want string
	}{
		"a frame that is too large": {func(p *peer) error {
			return p.raw(http2.FrameData, 0, 1, make([]byte, minFrameSize+1))
		}, "GOAWAY FRAME_SIZE_ERROR"},
		"HEADERS of stream 0": {func(p *peer) error { return p.headers(0, true, ask(echoes)...) }, "GOAWAY PROTOCOL_ERROR"},
		"an even stream":      {func(p *peer) error { return p.headers(2, true, ask(echoes)...) }, "GOAWAY PROTOCOL_ERROR"},
		"a stream again": {func(p *peer) error {
			p.must(p.headers(5, false, ask(hangs)...))
			return p.headers(3, true, ask(echoes)...)
		}, "GOAWAY STREAM_CLOSED"},
		"DATA of stream 0":            {func(p *peer) error { return p.WriteData(0, true, nil) }, "GOAWAY PROTOCOL_ERROR"},
		"DATA of an idle stream":      {func(p *peer) error { return p.WriteData(7, true, nil) }, "GOAWAY PROTOCOL_ERROR"},
		"a reset of an idle stream":   {func(p *peer) error { return p.WriteRSTStream(9, http2.ErrCodeCancel) }, "GOAWAY PROTOCOL_ERROR"},
		"a reset of 3 bytes":          {func(p *peer) error { return p.raw(http2.FrameRSTStream, 0, 1, make([]byte, 3)) }, "GOAWAY FRAME_SIZE_ERROR"},
		"a window for an idle stream": {func(p *peer) error { return p.WriteWindowUpdate(9, 1) }, "GOAWAY PROTOCOL_ERROR"},
		"a window by nothing":         {func(p *peer) error { return p.raw(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) }, "GOAWAY PROTOCOL_ERROR"},
		"a window over the top":       {func(p *peer) error { return p.WriteWindowUpdate(0, maxWindow) }, "GOAWAY FLOW_CONTROL_ERROR"},
		"a window of 3 bytes":         {func(p *peer) error { return p.raw(http2.FrameWindowUpdate, 0, 0, make([]byte, 3)) }, "GOAWAY FRAME_SIZE_ERROR"},
		"PUSH_PROMISE":                {func(p *peer) error { return p.raw(http2.FramePushPromise, 4, 1, make([]byte, 8)) }, "GOAWAY PROTOCOL_ERROR"},
		"CONTINUATION of nothing":     {func(p *peer) error { return p.WriteContinuation(1, true, nil) }, "GOAWAY PROTOCOL_ERROR"},
		"SETTINGS of a stream":        {func(p *peer) error { return p.raw(http2.FrameSettings, 0, 1, nil) }, "GOAWAY PROTOCOL_ERROR"},
		"SETTINGS of 5 bytes":         {func(p *peer) error { return p.raw(http2.FrameSettings, 0, 0, make([]byte, 5)) }, "GOAWAY FRAME_SIZE_ERROR"},
		"an answer that has settings": {func(p *peer) error { return p.raw(http2.FrameSettings, 1, 0, make([]byte, 6)) }, "GOAWAY FRAME_SIZE_ERROR"},
		"ENABLE_PUSH of 2":            {func(p *peer) error { return p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2}) }, "GOAWAY PROTOCOL_ERROR"},
		"an initial window that is over": {func(p *peer) error {
			return p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}, "GOAWAY FLOW_CONTROL_ERROR"},
		"a frame size that is under": {func(p *peer) error {
			return p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1})
		}, "GOAWAY PROTOCOL_ERROR"},
		"a ping of a stream":    {func(p *peer) error { return p.raw(http2.FramePing, 0, 1, make([]byte, 8)) }, "GOAWAY PROTOCOL_ERROR"},
		"a ping of 7 bytes":     {func(p *peer) error { return p.raw(http2.FramePing, 0, 0, make([]byte, 7)) }, "GOAWAY FRAME_SIZE_ERROR"},
		"a GOAWAY of 7 bytes":   {func(p *peer) error { return p.raw(http2.FrameGoAway, 0, 0, make([]byte, 7)) }, "GOAWAY PROTOCOL_ERROR"},
		"PRIORITY of no stream": {func(p *peer) error { return p.raw(http2.FramePriority, 0, 0, make([]byte, 5)) }, "GOAWAY PROTOCOL_ERROR"},
		"HPACK that is none": {func(p *peer) error {
			return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}, "GOAWAY COMPRESSION_ERROR"},
		"more padding than data": {func(p *peer) error {
			p.must(p.headers(1, false, ask(hangs)...))
			return p.raw(http2.FrameData, http2.FlagDataPadded, 1, []byte{9, 0})
		}, "GOAWAY PROTOCOL_ERROR"},
		"no byte for the padding": {func(p *peer) error { return p.raw(http2.FrameHeaders, http2.FlagHeadersPadded|4, 1, nil) }, "GOAWAY FRAME_SIZE_ERROR"},
		"something inside a header block": {func(p *peer) error {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(ask(echoes)...)}))
			return p.WritePing(false, [8]byte{})
		}, "GOAWAY PROTOCOL_ERROR"},
		"a header block without end": {func(p *peer) error {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(ask(echoes)...)}))
			for p.WriteContinuation(1, false, make([]byte, minFrameSize)) == nil {
			}
			return nil
		}, "GOAWAY ENHANCE_YOUR_CALM"},
		"a header block in empty pieces": {func(p *peer) error {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(ask(echoes)...)}))
			return p.WriteContinuation(1, false, nil)
		}, "GOAWAY ENHANCE_YOUR_CALM"},
		"pings without end": {func(p *peer) error {
			for range 10 {
				if p.WritePing(false, [8]byte{}) != nil {
					break
				}
			}
			return nil
		}, "GOAWAY ENHANCE_YOUR_CALM"},
		"no :path":   {func(p *peer) error { return p.headers(1, true, ":method", "POST", ":scheme", "http") }, "RST PROTOCOL_ERROR"},
		"no :scheme": {func(p *peer) error { return p.headers(1, true, ":method", "POST", ":path", echoes) }, "RST PROTOCOL_ERROR"},
		"two :path":  {func(p *peer) error { return p.headers(1, true, ask(echoes, ":path", "/b")...) }, "RST PROTOCOL_ERROR"},
		"a pseudo-header behind": {func(p *peer) error {
			return p.headers(1, true, ":method", "POST", ":scheme", "http", "a", "b", ":path", echoes)
		}, "RST PROTOCOL_ERROR"},
		"an unknown pseudo-header": {func(p *peer) error { return p.headers(1, true, append([]string{":odd", "1"}, ask(echoes)...)...) }, "RST PROTOCOL_ERROR"},
		"an answer's pseudo-header": {func(p *peer) error {
			return p.headers(1, true, append([]string{":status", "200"}, ask(echoes)...)...)
		}, "RST PROTOCOL_ERROR"},
		"connection: close":  {func(p *peer) error { return p.headers(1, true, ask(echoes, "connection", "close")...) }, "RST PROTOCOL_ERROR"},
		"te: gzip":           {func(p *peer) error { return p.headers(1, true, ask(echoes, "te", "gzip")...) }, "RST PROTOCOL_ERROR"},
		"an upper-case name": {func(p *peer) error { return p.headers(1, true, ask(echoes, "Upper", "1")...) }, "RST PROTOCOL_ERROR"},
		"itself as its dependency": {func(p *peer) error {
			return p.raw(http2.FramePriority, 0, 1, []byte{0, 0, 0, 1, 0})
		}, "RST PROTOCOL_ERROR"},
		"trailers in the middle": {func(p *peer) error {
			p.must(p.headers(1, false, ask(hangs)...))
			return p.headers(1, false, "a", "b")
		}, "RST PROTOCOL_ERROR"},

		"GET": {func(p *peer) error { return p.headers(1, true, ":method", "GET", ":scheme", "http", ":path", "/") }, "HTTP 405"},
		"no gRPC": {func(p *peer) error {
			return p.headers(1, true, ":method", "POST", ":scheme", "http", ":path", echoes, "content-type", "text/plain")
		}, "HTTP 415"},
		"metadata over the limit":    {func(p *peer) error { return p.headers(1, true, ask(echoes, "long", long)...) }, "status 8"},
		"metadata that is no base64": {func(p *peer) error { return p.headers(1, true, ask(echoes, "a-bin", "?")...) }, "status 13"},
		"a deadline that is none":    {func(p *peer) error { return p.headers(1, true, ask(echoes, "grpc-timeout", "soon")...) }, "status 13"},
		"a deadline of ages": {func(p *peer) error {
			p.must(p.headers(1, false, ask(echoes, "grpc-timeout", "99999999H")...))
			return p.WriteData(1, true, framed(nil))
		}, "status 0"},
		"an unknown encoding": {func(p *peer) error { return p.headers(1, true, ask(echoes, "grpc-encoding", "br")...) }, "status 12"},
		"no message":          {func(p *peer) error { return p.headers(1, true, ask(echoes)...) }, "status 13"},
		"half a message": {func(p *peer) error {
			p.must(p.headers(1, false, ask(echoes)...))
			return p.WriteData(1, true, framed(make([]byte, 100))[:50])
		}, "status 13"},
		"half a prefix": {func(p *peer) error {
			p.must(p.headers(1, false, ask(echoes)...))
			return p.WriteData(1, true, []byte{0, 0})
		}, "status 13"},
		"two messages": {func(p *peer) error {
			p.must(p.headers(1, false, ask(echoes)...))
			return p.WriteData(1, true, append(framed([]byte("a")), framed([]byte("b"))...))
		}, "status 13"},
		"a message over the limit": {func(p *peer) error {
			p.must(p.headers(1, false, ask(echoes)...))
			return p.WriteData(1, false, []byte{0, 0xff, 0xff, 0xff, 0xff})
		}, "status 8"},
		"a flag of 2": {func(p *peer) error {
			p.must(p.headers(1, false, ask(echoes)...))
			return p.WriteData(1, true, []byte{2, 0, 0, 0, 0})
		}, "status 13"},
		"gzip that is none": {func(p *peer) error {
			p.must(p.headers(1, false, ask(echoes, "grpc-encoding", "gzip")...))
			return p.WriteData(1, true, []byte{1, 0, 0, 0, 3, 'a', 'b', 'c'})
		}, "status 13"},
		"compressed without a word": {func(p *peer) error {
			p.must(p.headers(1, false, ask(echoes)...))
			return p.WriteData(1, true, []byte{1, 0, 0, 0, 0})
		}, "status 13"},
		"an unknown kind of frame, and padding, are fine": {func(p *peer) error {
			p.must(p.raw(0x42, 0xff, 77, []byte("whatever")))
			p.must(p.raw(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersPriority|http2.FlagHeadersEndHeaders, 1,
				append(append([]byte{3, 0, 0, 0, 0, 16}, p.encode(ask(echoes)...)...), 0, 0, 0)))
			return p.WriteDataPadded(1, true, framed([]byte("a")), make([]byte, 99))
		}, "status 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, addr, stop := serve(t, limits())
			other := connect(t, addr, clientOptions())
			p := meet(t, addr)
			p.must(c.do(p))
			if got := p.ending(); got != c.want {
				t.Errorf("told %q, want %q", got, c.want)
			}
			if reply, got := call(within(t, 10*time.Second), other, echoes, payload(1, 100), nil); reply.Status.Code != rollout.OK || !bytes.Equal(got, pattern(1, 100)) {
				t.Errorf("another client: %+v", reply.Status)
			}
			p.nc.Close()
			other.Close()
			stop()
			balanced(t)
		})
	}
}

func TestNoHTTP2IsClosed(t *testing.T) {
	_, addr, _ := serve(t, limits())
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, nc)
	_, err = io.WriteString(nc, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	p.must(err)
	if got := p.ending(); got != "closed" {
		t.Errorf("told %q", got)
	}
}

// Streams that are opened and reset as fast as can be: their handlers count until they
// return, so that there are never more than a connection may have.
func TestRapidReset(t *testing.T) {
	o := limits()
	o.MaxConcurrentStreams = 10
	release := make(chan struct{})
	running := make(chan struct{}, 1000)
	o.Methods[hangs] = Method{Handle: func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply {
		running <- struct{}{}
		<-release
		return rollout.Reply{Status: rollout.Status{Code: rollout.Canceled}}
	}}
	_, addr, stop := serve(t, o)
	p := meet(t, addr)
	refused := 0
	for i := range 200 {
		id := uint32(2*i + 1)
		p.must(p.headers(id, false, ask(hangs)...))
		p.must(p.WriteData(id, true, framed(nil)))
		p.must(p.WriteRSTStream(id, http2.ErrCodeCancel))
	}
	p.must(p.WriteSettings())
	p.wait("the end", func(f http2.Frame) bool {
		if r, ok := f.(*http2.RSTStreamFrame); ok && r.ErrCode == http2.ErrCodeRefusedStream {
			refused++
		}
		s, ok := f.(*http2.SettingsFrame)
		return ok && s.IsAck()
	})
	if n := len(running); n > 10 || refused < 190 {
		t.Errorf("%d handlers ran, %d streams were refused", n, refused)
	}
	close(release)
	p.nc.Close()
	stop()
	balanced(t)
}

// One who sends without end and reads nothing is not read any more, and holds little.
func TestClientThatDoesNotRead(t *testing.T) {
	for name, send := range map[string]func(p *peer, n int) error{
		"settings": func(p *peer, _ int) error { return p.WriteSettings() },
		"calls": func(p *peer, n int) error {
			id := uint32(2*n + 1)
			if err := p.headers(id, false, ask(echoes)...); err != nil {
				return err
			}
			return p.WriteData(id, true, framed(pattern(n, 16000)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, addr, stop := serve(t, limits())
			p := meet(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			p.must(p.WriteWindowUpdate(0, 1<<30))
			_ = p.nc.SetWriteDeadline(time.Now().Add(700 * time.Millisecond))
			for n := 0; send(p, n) == nil; n++ {
			}
			s.mu.Lock()
			for _, c := range s.conns {
				c.mu.Lock()
				if queued := c.out.size + c.under; queued > mostUnsent+2<<20 {
					t.Errorf("%d bytes wait for one who does not read", queued)
				}
				c.mu.Unlock()
			}
			s.mu.Unlock()
			other := connect(t, addr, clientOptions())
			if reply, _ := call(within(t, 10*time.Second), other, echoes, payload(1, 100), nil); reply.Status.Code != rollout.OK {
				t.Errorf("another client: %+v", reply.Status)
			}
			other.Close()
			stop()
			balanced(t)
		})
	}
}
