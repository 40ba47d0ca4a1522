package transport

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-serving/understudy/rollout"
)

// FuzzInbox takes a stream's bytes in pieces, and expects the messages that a reader of the
// whole finds.
func FuzzInbox(f *testing.F) {
	f.Add(framed([]byte("hello")), []byte{1})
	f.Add(append(framed(nil), framed(make([]byte, 3000))...), []byte{5, 200, 7})
	f.Add([]byte{1, 0, 0, 0, 1, 'x', 3}, []byte{2})
	f.Fuzz(func(t *testing.T, stream, pieces []byte) {
		const limit = 100_000
		before := lent.Load()
		in := inbox{limit: limit, encoding: zipped}
		var got [][]byte
		refused := false
		for i, left := 0, stream; len(left) > 0 && !refused; i++ {
			n := len(left)
			if len(pieces) > 0 {
				n = min(n, int(pieces[i%len(pieces)])+1)
			}
			piece := bytes.NewReader(left[:n])
			left = left[n:]
			for n > 0 {
				rest, err := in.take(piece, n)
				if rest != piece.Len() {
					t.Fatalf("%d bytes are said to be left, %d are", rest, piece.Len())
				}
				n = rest
				if _, refused = err.(*refusal); refused {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if in.complete() {
					p, _ := in.payload()
					got = append(got, p.AppendTo(nil))
					p.Free()
				}
			}
		}
		want, bad := messages(stream, limit)
		if refused != bad || !equal(got, want) {
			t.Errorf("%d messages, refused %v; want %d, %v", len(got), refused, len(want), bad)
		}
		if n := lent.Load() - before; n != 0 {
			t.Errorf("%d messages were not freed", n)
		}
	})
}

// messages are what a stream holds, up to where it is bad.
func messages(stream []byte, limit int) (found [][]byte, bad bool) {
	for len(stream) >= prefixLen {
		size := int(stream[1])<<24 | int(stream[2])<<16 | int(stream[3])<<8 | int(stream[4])
		if stream[0] > 1 || size > limit {
			return found, true
		}
		if stream = stream[prefixLen:]; len(stream) < size {
			return found, false
		}
		found, stream = append(found, stream[:size]), stream[size:]
	}
	return found, false
}

func equal(a, b [][]byte) bool {
	return bytes.Equal(bytes.Join(a, []byte("|")), bytes.Join(b, []byte("|"))) && len(a) == len(b)
}

// script is a connection whose peer says so much, and takes what it is told.
type script struct {
	net.Conn
	says *bytes.Reader
	mu   sync.Mutex
	said bytes.Buffer
}

func (s *script) Read(b []byte) (int, error) { return s.says.Read(b) }
func (s *script) Close() error               { return nil }
func (s *script) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(b)
}

// wellFormed reads what was written, which has to be HTTP/2 whatever it answers.
func (s *script) wellFormed(t *testing.T, before string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := bytes.CutPrefix(s.said.Bytes(), []byte(before))
	if !ok {
		t.Fatalf("it begins with %q", s.said.Bytes()[:min(s.said.Len(), 30)])
	}
	fr := http2.NewFramer(io.Discard, bytes.NewReader(b))
	fr.ReadMetaHeaders = hpack.NewDecoder(initialTableSize, nil)
	for {
		if _, err := fr.ReadFrame(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err, fr.ErrorDetail())
		}
	}
}

// frames are seeds: each what one end may say.
func frames(script func(fr *http2.Framer, block func(pairs ...string) []byte)) []byte {
	var out, block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	script(http2.NewFramer(&out, nil), func(pairs ...string) []byte {
		block.Reset()
		for i := 0; i < len(pairs); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return bytes.Clone(block.Bytes())
	})
	return out.Bytes()
}

func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s hangs", what)
	}
}

// FuzzServerFrames has a client say anything behind the preface.
func FuzzServerFrames(f *testing.F) {
	for _, method := range []string{echoMethod, chatMethod, nobody} {
		f.Add(frames(func(fr *http2.Framer, block func(...string) []byte) {
			_ = fr.WriteSettings(window(3), http2.Setting{ID: http2.SettingHeaderTableSize, Val: 100})
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(asking(method, "x-bin", "AAAA")...), EndHeaders: true})
			_ = fr.WriteData(1, false, framed([]byte("hello")))
			_ = fr.WriteWindowUpdate(1, 100)
			_ = fr.WriteDataPadded(1, true, nil, make([]byte, 3))
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block(asking(method, "grpc-timeout", "1n")...), EndHeaders: true, EndStream: true})
			_ = fr.WritePing(false, [8]byte{})
			_ = fr.WriteRSTStream(1, 0)
		}))
	}
	r := &rig{}
	s := NewServer(ServerOptions{
		Methods: map[string]Method{echoMethod: {Handle: echo}}, Other: r.other,
		Panicked:        func(any) rollout.Status { return rollout.Status{Code: rollout.Internal} },
		MaxMessageBytes: 100_000, MaxHeaderBytes: 1000, MaxConcurrentStreams: 10,
		KeepaliveMinTime: time.Hour, KeepaliveTime: time.Hour, KeepaliveTimeout: time.Hour,
	})
	f.Cleanup(s.Stop)
	f.Fuzz(func(t *testing.T, says []byte) {
		nc := &script{says: bytes.NewReader(says)}
		sc := newServerConn(s, nc)
		done := make(chan struct{})
		go func() {
			defer close(done)
			sc.serve()
			s.handlers.Wait()
		}()
		within(t, "the server", done)
		eventually(t, "all messages freed", func() bool { return lent.Load() == 0 && sc.open() == 0 })
		nc.wellFormed(t, "")
	})
}

// FuzzClientFrames has a server say anything while calls are under way.
func FuzzClientFrames(f *testing.F) {
	f.Add(frames(func(fr *http2.Framer, block func(...string) []byte) {
		_ = fr.WriteSettings(window(3))
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":status", "200", "content-type", "application/grpc"), EndHeaders: true})
		_ = fr.WriteData(1, false, framed([]byte("hello")))
		_ = fr.WriteWindowUpdate(1, 100)
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("grpc-status", "0", "x-bin", "AAAA"), EndHeaders: true, EndStream: true})
		_ = fr.WriteRSTStream(3, http2.ErrCodeRefusedStream)
		_ = fr.WriteGoAway(3, http2.ErrCodeNo, nil)
	}))
	f.Add(frames(func(fr *http2.Framer, block func(...string) []byte) {
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":status", "200", "content-type", "application/grpc", "grpc-status", "5", "grpc-message", "%41"), EndHeaders: true, EndStream: true})
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block(":status", "503"), EndHeaders: true, EndStream: true})
	}))
	f.Fuzz(func(t *testing.T, says []byte) {
		// What comes first waits until the calls are there.
		asked := make(chan struct{})
		nc := &late{script: script{says: bytes.NewReader(append(appendSettings(nil), says...))}, asked: asked, first: frameHeaderLen}
		c, err := NewClientConn(t.Context(), nc, ClientOptions{Scheme: "http", MaxMessageBytes: 100_000, MaxHeaderBytes: 1000, KeepaliveTime: time.Hour, KeepaliveTimeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		var calls sync.WaitGroup
		for range 2 {
			calls.Go(func() { call(t.Context(), c, echoMethod, make([]byte, 100), nil) })
		}
		eventually(t, "both are open", func() bool { return c.open() == 2 })
		close(asked)
		within(t, "the client", c.Done())
		calls.Wait()
		if n := lent.Load(); n != 0 || c.open() != 0 {
			t.Errorf("%d messages were not freed, %d streams are left", n, c.open())
		}
		eventually(t, "the last word is written", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return !c.writing })
		nc.wellFormed(t, http2.ClientPreface)
	})
}

// late says the first bytes at once, and the rest when it was asked.
type late struct {
	script
	asked <-chan struct{}
	first int
}

func (l *late) Read(b []byte) (int, error) {
	if l.first > 0 {
		n, err := l.says.Read(b[:min(len(b), l.first)])
		l.first -= n
		return n, err
	}
	<-l.asked
	return l.says.Read(b)
}
