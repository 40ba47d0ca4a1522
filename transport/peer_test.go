package transport

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer speaks HTTP/2 by hand, from either end.
type peer struct {
	t  *testing.T
	nc net.Conn
	*http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

func newPeer(t *testing.T, nc net.Conn) *peer {
	p := &peer{t: t, nc: nc, Framer: http2.NewFramer(nc, nc)}
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(initialTableSize, nil)
	p.encoder = hpack.NewEncoder(&p.block)
	_ = nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = nc.Close() })
	return p
}

// rawClient is a client up to where streams begin.
func (r *rig) rawClient(settings ...http2.Setting) *peer {
	r.t.Helper()
	p := newPeer(r.t, r.dial())
	p.bytes([]byte(http2.ClientPreface))
	p.ok(p.WriteSettings(settings...))
	return p
}

// rawServer is a server, and our client of it.
func rawServer(t *testing.T, change ...func(*ClientOptions)) (*peer, *ClientConn) {
	t.Helper()
	ours, theirs := socketPair(t)
	p := newPeer(t, theirs)
	if err := p.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	o := clientOptions()
	for _, f := range change {
		f(&o)
	}
	c := newClient(t, ours, o)
	if err := readPreface(theirs); err != nil {
		t.Fatal(err)
	}
	return p, c
}

// socketPair is a connection's two ends, of TCP, so that a write that would wait is told.
func socketPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	if a, err = net.Dial("tcp", lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func (p *peer) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) bytes(b []byte) {
	p.t.Helper()
	_, err := p.nc.Write(b)
	p.ok(err)
}

// encode makes a header block of pairs.
func (p *peer) encode(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1], Sensitive: true})
	}
	return bytes.Clone(p.block.Bytes())
}

// asking is what a gRPC request begins with.
func asking(method string, more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":path", method, ":authority", "test",
		"content-type", "application/grpc", "te", "trailers"}, more...)
}

func (p *peer) headers(id uint32, end bool, pairs ...string) {
	p.t.Helper()
	p.ok(p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encode(pairs...), EndStream: end, EndHeaders: true}))
}

// data sends bytes in frames that fit.
func (p *peer) data(id uint32, end bool, b []byte) {
	p.t.Helper()
	for len(b) > minFrameSize {
		p.ok(p.WriteData(id, false, b[:minFrameSize]))
		b = b[minFrameSize:]
	}
	p.ok(p.WriteData(id, end, b))
}

// ask makes a whole request.
func (p *peer) ask(id uint32, method string, message []byte) {
	p.t.Helper()
	p.headers(id, false, asking(method)...)
	p.data(id, true, framed(message))
}

// answer gives a whole answer to our client.
func (p *peer) answer(id uint32, message []byte) {
	p.t.Helper()
	p.headers(id, false, ":status", "200", "content-type", "application/grpc")
	p.data(id, false, framed(message))
	p.headers(id, true, "grpc-status", "0")
}

// await reads up to the first frame that is looked for.
func (p *peer) await(what string, match func(http2.Frame) bool) http2.Frame {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("waiting for %s: %v", what, err)
		}
		if match(f) {
			return f
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				p.t.Fatalf("waiting for %s: GOAWAY %s %s", what, f.ErrCode, f.DebugData())
			}
		}
	}
}

// barrier waits until the other end has read all that was sent.
func (p *peer) barrier() {
	p.t.Helper()
	p.ok(p.WritePing(false, [8]byte{'b'}))
	p.await("the PING's answer", func(f http2.Frame) bool {
		g, ok := f.(*http2.PingFrame)
		return ok && g.IsAck() && g.Data[0] == 'b'
	})
}

func (p *peer) wantGoAway(code http2.ErrCode) {
	p.t.Helper()
	p.await("GOAWAY "+code.String(), func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		return ok && g.ErrCode == code
	})
	p.wantEnd()
}

// wantEnd reads until the other end closes its half, without a reset.
func (p *peer) wantEnd() {
	p.t.Helper()
	for {
		if _, err := p.ReadFrame(); err == io.EOF {
			return
		} else if err != nil {
			p.t.Fatalf("want the end of the connection: %v", err)
		}
	}
}

func (p *peer) wantReset(id uint32, code http2.ErrCode) {
	p.t.Helper()
	p.await(fmt.Sprintf("RST_STREAM %s of %d", code, id), func(f http2.Frame) bool {
		r, ok := f.(*http2.RSTStreamFrame)
		return ok && r.StreamID == id && r.ErrCode == code
	})
}

// wantField waits for a header block of a stream that says so.
func (p *peer) wantField(id uint32, name, value string) {
	p.t.Helper()
	p.await(fmt.Sprintf("%s: %s on %d", name, value, id), func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		if !ok || h.StreamID != id {
			return false
		}
		for _, field := range h.Fields {
			if field.Name == name {
				if field.Value != value {
					p.t.Fatalf("%s of stream %d is %q, want %q: %v", name, id, field.Value, value, h.Fields)
				}
				return true
			}
		}
		return false
	})
}

// wantEcho sees that the connection serves another call.
func (p *peer) wantEcho(id uint32) {
	p.t.Helper()
	p.ask(id, echoMethod, []byte("still here"))
	p.wantField(id, "grpc-status", "0")
}

// request reads a call's header, whose stream it returns.
func (p *peer) request() uint32 {
	p.t.Helper()
	return p.await("a request", func(f http2.Frame) bool {
		_, ok := f.(*http2.MetaHeadersFrame)
		return ok
	}).Header().StreamID
}
