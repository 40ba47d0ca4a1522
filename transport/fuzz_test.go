package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

// However a stream of bytes is cut, its messages come out whole, or are refused.
func FuzzInbox(f *testing.F) {
	f.Add(framed([]byte("hello")), uint16(3))
	f.Add(append(framed(nil), framed(make([]byte, 300))...), uint16(7))
	f.Add([]byte{1, 0, 0, 0, 1, 0}, uint16(1))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff}, uint16(5))
	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		const limit = 1 << 20
		in := inbox{limit: limit, encoding: zipped}
		var want []byte
		for rest := b; len(rest) > 0; {
			piece := rest[:min(len(rest), int(step)+1)]
			rest = rest[len(piece):]
			r := bytes.NewReader(piece)
			for n := len(piece); n > 0; {
				left, err := in.take(r, n)
				if err != nil {
					if left != r.Len() {
						t.Fatalf("%d bytes are left, and not %d", r.Len(), left)
					}
					return
				}
				if n = left; !in.complete() {
					continue
				}
				size := int(binary.BigEndian.Uint32(b[len(want)+1:]))
				p, _ := in.payload()
				if got := p.Bytes(); size > limit || !bytes.Equal(got, b[len(want)+prefixLen:len(want)+prefixLen+size]) {
					t.Fatalf("a message of %d bytes came out as %d", size, len(got))
				}
				want = b[:len(want)+prefixLen+size]
				p.Free()
			}
		}
	})
}

// frames are seeds: what a client or a server says.
func frames(say func(f *http2.Framer, p *peer)) []byte {
	var b bytes.Buffer
	p := newPeer(&testing.B{}, discarded{})
	say(http2.NewFramer(&b, nil), p)
	return b.Bytes()
}

type discarded struct{ net.Conn }

func (discarded) SetDeadline(time.Time) error { return nil }

// FuzzServer lets a client say anything: no panic, no hang, no message lost.
func FuzzServer(f *testing.F) {
	f.Add(frames(func(f *http2.Framer, p *peer) {
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3})
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(ask(echoes)...), EndHeaders: true})
		_ = f.WriteData(1, true, framed([]byte("hello")))
		_ = f.WriteWindowUpdate(1, 100)
		_ = f.WritePing(false, [8]byte{})
	}))
	f.Add(frames(func(f *http2.Framer, p *peer) {
		block := p.encode(ask(fails, "a-bin", "aGk", "grpc-timeout", "1S")...)
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:9]})
		_ = f.WriteContinuation(1, true, block[9:])
		_ = f.WriteDataPadded(1, false, framed(nil)[:3], make([]byte, 4))
		_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
		_ = f.WriteGoAway(0, http2.ErrCodeNo, []byte("bye"))
	}))
	o := limits()
	delete(o.Methods, hangs)
	s := NewServer(o)
	f.Cleanup(s.Stop)
	f.Fuzz(func(t *testing.T, b []byte) {
		mine, theirs := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			s.serve(theirs)
		}()
		go func() { _, _ = io.Copy(io.Discard, mine) }()
		_, _ = mine.Write(append([]byte(http2.ClientPreface), b...))
		_ = mine.Close()
		select {
		case <-served:
		case <-time.After(20 * time.Second):
			t.Fatal("the server did not end")
		}
	})
}

// FuzzClient lets a server answer with anything.
func FuzzClient(f *testing.F) {
	f.Add(frames(func(f *http2.Framer, p *peer) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(":status", "200", "content-type", "application/grpc"), EndHeaders: true})
		_ = f.WriteData(1, false, framed([]byte("hello")))
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode("grpc-status", "0"), EndHeaders: true, EndStream: true})
	}))
	f.Add(frames(func(f *http2.Framer, _ *peer) {
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
		_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		mine, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		asked := make(chan struct{})
		go func() {
			_ = http2.NewFramer(theirs, nil).WriteSettings()
			<-asked
			_, _ = theirs.Write(b)
			_ = theirs.Close()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		c, err := NewClientConn(ctx, mine, clientOptions())
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(100*time.Microsecond, func() { close(asked) })
		reply, _ := call(ctx, c, echoes, payload(1, 10), nil)
		if reply.Status.Code == rollout.DeadlineExceeded {
			t.Error("the call did not end with its connection")
		}
		_ = c.Close()
	})
}
