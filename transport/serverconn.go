package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

// mostUnsent is how many bytes of answers may wait for a client to read them before no
// more of its requests are read.
const mostUnsent = 4 << 20

// The pings of ours.
var (
	alivePing = [8]byte{'a', 'l', 'i', 'v', 'e', '?'}
	drainPing = [8]byte{'d', 'r', 'a', 'i', 'n'}
)

// serverConn is one client's connection.
type serverConn struct {
	*conn
	server *Server
	done   chan struct{} // closed at the end

	// The reader's: pings that came too soon, and when the last one came.
	strikes  int
	lastPing time.Time

	// Under mu. leaving: drain was begun; left: and the client has heard of it.
	leaving, left bool
	// head and ok are what all answers begin and most end with.
	head, ok *common
	// calls counts what was opened, so that idleness shows.
	calls atomic.Int64
}

func newServerConn(s *Server, nc net.Conn) *serverConn {
	sc := &serverConn{conn: newConn(nc, s.options.MaxHeaderBytes, mostUnsent), server: s, done: make(chan struct{}),
		head: commonOf(":status", "200", "content-type", grpcType), ok: commonOf("grpc-status", "0")}
	sc.side = sc
	sc.greet(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(s.options.MaxConcurrentStreams)})
	return sc
}

// readPreface reads what every HTTP/2 client says first.
func readPreface(r io.Reader) error {
	b := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if string(b) != http2.ClientPreface {
		return errors.New("not HTTP/2 with prior knowledge")
	}
	return nil
}

func (sc *serverConn) serve() {
	sc.flush()
	tending := make(chan struct{})
	go func() {
		defer close(tending)
		sc.tend()
	}()
	sc.run()
	close(sc.done)
	<-tending
}

// tend pings a client that is silent, gives up one that does not answer, and sends one away
// that is idle or old.
func (sc *serverConn) tend() {
	o := sc.server.options
	alive := time.NewTimer(o.KeepaliveTime)
	defer alive.Stop()
	age, idle := after(o.MaxAge), after(o.MaxIdle)
	waiting, before := false, int64(-1)
	for {
		select {
		case <-sc.done:
			return
		case <-age:
			sc.drain()
		case <-idle:
			if now := sc.calls.Load(); now == before && sc.quiet() {
				sc.drain()
			} else {
				before, idle = now, after(o.MaxIdle)
			}
		case <-alive.C:
			switch {
			case sc.heard.Swap(false):
				waiting = false
				alive.Reset(o.KeepaliveTime)
			case waiting:
				sc.end(errors.New("the client does not answer pings"))
				return
			default:
				waiting = true
				sc.queue(func(b []byte) []byte { return appendPing(b, 0, alivePing) })
				sc.flush()
				alive.Reset(o.KeepaliveTimeout)
			}
		}
	}
}

// after is a timer's channel; of 0 it never comes.
func after(d time.Duration) <-chan time.Time {
	if d <= 0 {
		return nil
	}
	return time.After(d)
}

func (sc *serverConn) quiet() bool {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return len(sc.streams) == 0
}

// drain asks the client to open no more streams, and closes the connection when those it has are
// done. What it opens before it hears of that is served.
func (sc *serverConn) drain() {
	sc.mu.Lock()
	if !sc.leaving {
		sc.leaving = true
		sc.queueLocked(func(b []byte) []byte {
			return appendPing(appendGoAway(b, maxWindow, http2.ErrCodeNo, "draining"), 0, drainPing)
		})
		time.AfterFunc(drainPatience, sc.leave)
	}
	sc.mu.Unlock()
	sc.flush()
}

// drainPatience is how long a client has to answer drain's ping.
const drainPatience = 5 * time.Second

// leave says which streams will be served, and closes the connection when they are.
func (sc *serverConn) leave() {
	sc.mu.Lock()
	if !sc.left {
		sc.left = true
		sc.queueLocked(func(b []byte) []byte { return appendGoAway(b, sc.newest, http2.ErrCodeNo, "draining") })
		sc.closeIfDone()
	}
	sc.mu.Unlock()
	sc.flush()
}

// closeIfDone closes a connection that is leaving behind its last answer; mu is held.
func (sc *serverConn) closeIfDone() {
	if sc.left && len(sc.streams) == 0 {
		sc.closing = true
	}
}

func (sc *serverConn) settled() {}

func (sc *serverConn) goAway(uint32, http2.ErrCode, string) {}

// pinged counts pings that come too often, as grpc-go does: two are a mistake, three a
// habit. Those that follow an answer are free: clients measure their windows by them.
func (sc *serverConn) pinged() error {
	now := time.Now()
	sc.mu.Lock()
	free := sc.spoke
	sc.spoke = false
	sc.mu.Unlock()
	switch {
	case free:
		sc.strikes = 0
	case !sc.lastPing.IsZero() && now.Sub(sc.lastPing) < sc.server.options.KeepaliveMinTime:
		sc.strikes++
	}
	sc.lastPing = now
	if sc.strikes > 2 {
		return broken(http2.ErrCodeEnhanceYourCalm, "too_many_pings")
	}
	return nil
}

func (sc *serverConn) ponged(data [8]byte) {
	if data == drainPing {
		sc.leave()
	}
}

func (sc *serverConn) crowded() error { return nil }

// stale is true of the streams too that a client opened before it heard that none is taken any more.
func (sc *serverConn) stale(id uint32) bool {
	return id%2 == 1 && (sc.left || id <= sc.newest)
}

// lost ends the calls of a client that is gone.
func (sc *serverConn) lost(error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, s := range sc.streams {
		s.gone(http2.ErrCodeCancel)
	}
}

// opened begins a call.
func (sc *serverConn) opened(id uint32, h *head, last bool) error {
	if id%2 == 0 {
		return broken(http2.ErrCodeProtocol, "stream %d of a client", id)
	}
	sc.mu.Lock()
	if id <= sc.newest {
		sc.mu.Unlock()
		return broken(http2.ErrCodeStreamClosed, "HEADERS of stream %d, which was closed", id)
	}
	full, ignored := len(sc.streams) >= sc.server.options.MaxConcurrentStreams, sc.left
	if !ignored {
		sc.newest = id
	}
	sc.mu.Unlock()
	switch {
	case ignored:
		return nil // the client knows from the GOAWAY
	case h.malformed || !h.tooLarge && !h.request():
		return &streamError{id, http2.ErrCodeProtocol}
	case full:
		return &streamError{id, http2.ErrCodeRefusedStream}
	}
	sc.calls.Add(1)
	return sc.begin(id, h, last)
}

// begin serves a call, or says why not.
func (sc *serverConn) begin(id uint32, h *head, last bool) error {
	call := newCall(sc, id, h)
	if code := httpStatus(h); code != "" && !h.tooLarge { // what it says may be in what was left out
		call.web(code)
		return nil
	}
	if err := call.accept(h); err != nil {
		var no *refusal
		_ = errors.As(err, &no)
		call.answer(rollout.Reply{Status: no.Status})
		return nil
	}
	if last {
		return call.close()
	}
	return nil
}

// httpStatus is what one gets who does not speak gRPC; empty for gRPC.
func httpStatus(h *head) string {
	switch {
	case h.method != "POST":
		return "405"
	case !isGRPC(strings.ToLower(h.contentType)):
		return "415"
	}
	return ""
}

// context is a call's, which ends with its deadline, if it has one.
func (h *head) context() (context.Context, context.CancelFunc, error) {
	if h.timeout == "" {
		ctx, cancel := context.WithCancel(context.Background())
		return ctx, cancel, nil
	}
	left, err := parseTimeout(h.timeout)
	if err != nil {
		return nil, nil, refuse(rollout.Internal, "%v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), left)
	return ctx, cancel, nil
}
