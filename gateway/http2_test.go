package gateway

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// abuser speaks HTTP/2 by hand: what no client library would do.
type abuser struct {
	t *testing.T
	*http2.Framer
	conn net.Conn
	// settings are the server's.
	settings map[http2.SettingID]uint32
	next     uint32 // stream
}

func (h *house) abuser() *abuser {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	a := &abuser{t: h.t, Framer: http2.NewFramer(conn, conn), conn: conn, settings: map[http2.SettingID]uint32{}, next: 1}
	a.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		h.t.Fatal(err)
	}
	a.must(a.WriteSettings())
	a.read(func(f http2.Frame) bool {
		s, ok := f.(*http2.SettingsFrame)
		if !ok || s.IsAck() {
			return false
		}
		_ = s.ForeachSetting(func(s http2.Setting) error {
			a.settings[s.ID] = s.Val
			return nil
		})
		return true
	})
	a.must(a.WriteSettingsAck())
	return a
}

func (a *abuser) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// read reads frames until one is what the test waits for.
func (a *abuser) read(wanted func(http2.Frame) bool) {
	a.t.Helper()
	for {
		f, err := a.ReadFrame()
		if err != nil {
			a.t.Fatalf("the server ended the connection: %v", err)
		}
		if wanted(f) {
			return
		}
	}
}

// begin opens a stream for a method and returns its number; the request's message is yet
// to come.
func (a *abuser) begin(method string) uint32 {
	a.t.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "gateway"},
		{"content-type", "application/grpc"}, {"te", "trailers"}} {
		a.must(enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	id := a.next
	a.next += 2
	a.must(a.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}))
	return id
}

// end sends an empty message and ends the client's side of the stream.
func (a *abuser) end(stream uint32) {
	a.t.Helper()
	a.must(a.WriteData(stream, true, make([]byte, 5)))
}

// ping sends a ping and waits for its answer, or returns the GOAWAY that came instead.
func (a *abuser) ping(n byte) (refused *http2.GoAwayFrame) {
	a.t.Helper()
	data := [8]byte{n}
	a.must(a.WritePing(false, data))
	a.read(func(f http2.Frame) bool {
		if g, ok := f.(*http2.GoAwayFrame); ok {
			refused = g
			return true
		}
		p, ok := f.(*http2.PingFrame)
		return ok && p.IsAck() && p.Data == data
	})
	return refused
}

// One client that pings without end must not cost the others anything.
func TestPingsTooOftenLoseTheConnection(t *testing.T) {
	h := open(t, Options{KeepaliveMinTime: time.Hour})
	a := h.abuser()
	for n := range byte(10) {
		refused := a.ping(n)
		if refused == nil {
			continue
		}
		if refused.ErrCode != http2.ErrCodeEnhanceYourCalm || n < 1 {
			t.Errorf("%s at ping %d, want ENHANCE_YOUR_CALM for a habit", refused.ErrCode, n)
		}
		a.expectClosed()
		return
	}
	t.Error("ten pings in a row, and the client is still served")
}

// expectClosed sees the server hang up.
func (a *abuser) expectClosed() {
	a.t.Helper()
	for {
		if _, err := a.ReadFrame(); errors.Is(err, os.ErrDeadlineExceeded) {
			a.t.Error("the connection stays open")
			return
		} else if err != nil {
			return
		}
	}
}

// Pings within the allowance are answered, with or without requests under way.
func TestPingsWithinTheAllowanceAreAnswered(t *testing.T) {
	h := open(t, Options{KeepaliveMinTime: time.Nanosecond})
	a := h.abuser()
	for n := range byte(20) {
		if refused := a.ping(n); refused != nil {
			t.Fatalf("%s at ping %d", refused.ErrCode, n)
		}
	}
}

// A connection is told its number of streams; one who opens more is refused those alone,
// and a stream that ends makes room for another.
func TestStreamsOverTheMaximumAreRefused(t *testing.T) {
	const most = 3
	h := open(t, Options{MaxConcurrentStreams: most})
	h.serve(h.route(rollout.ModeShadow))
	a := h.abuser()
	if got := a.settings[http2.SettingMaxConcurrentStreams]; got != most {
		t.Fatalf("the server allows %d streams, want %d", got, most)
	}
	var open []uint32
	for range most {
		open = append(open, a.begin(inference.GRPCInferenceService_ModelInfer_FullMethodName))
	}
	over := a.begin(inference.GRPCInferenceService_ServerLive_FullMethodName)
	a.read(func(f http2.Frame) bool {
		r, ok := f.(*http2.RSTStreamFrame)
		if ok && (r.StreamID != over || r.ErrCode != http2.ErrCodeRefusedStream) {
			t.Fatalf("stream %d ended with %s, want %d refused", r.StreamID, r.ErrCode, over)
		}
		if m, ok := f.(*http2.MetaHeadersFrame); ok {
			t.Fatalf("stream %d was answered", m.StreamID)
		}
		return ok
	})
	for _, id := range open {
		a.must(a.WriteRSTStream(id, http2.ErrCodeCancel))
	}
	live := a.begin(inference.GRPCInferenceService_ServerLive_FullMethodName)
	a.end(live)
	a.read(func(f http2.Frame) bool {
		m, ok := f.(*http2.MetaHeadersFrame)
		if !ok {
			return false
		}
		for _, field := range m.Fields {
			if field.Name == "grpc-status" {
				return m.StreamID == live && field.Value == "0"
			}
		}
		return false
	})
	if _, err := h.client.ServerLive(within(t, 10*time.Second), &inference.ServerLiveRequest{}); err != nil {
		t.Errorf("another connection is served: %v", err)
	}
}
