package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// ErrServerClosed is what Serve returns after Drain or Stop.
var ErrServerClosed = errors.New("transport: server closed")

// workers keep goroutines with grown stacks at hand; above that many calls at a time new
// ones are started.
const workers = 64

// Method is how a unary method is served.
type Method struct {
	// Handle answers a call. It does not keep req, may change md, and its reply's payload is
	// there exactly if the code is OK.
	Handle func(ctx context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply
	// Admit is asked for a place as soon as the call's header is here, before its message is
	// read; Leave gives the place back, once for each that Admit gave. A refusal's status is the
	// answer. nil takes every call.
	Admit func() (refusal rollout.Status)
	Leave func()
}

// ServerOptions set a server up. All limits must be set.
type ServerOptions struct {
	// TLS is nil for plaintext, by prior knowledge.
	TLS *tls.Config
	// Methods are the unary ones, by full name such as "/inference.GRPCInferenceService/ModelInfer".
	Methods map[string]Method
	// Other serves the calls of all others, as streams.
	Other func(*ServerStream) rollout.Status
	// Panicked makes a status of what a handler panicked with.
	Panicked func(any) rollout.Status

	// MaxMessageBytes bounds a request, decompressed, and MaxHeaderBytes its metadata as HTTP/2 counts it.
	MaxMessageBytes, MaxHeaderBytes int
	// MaxConcurrentStreams bounds the calls under way on one connection, those included whose
	// client has gone and whose handler has not returned.
	MaxConcurrentStreams int
	// MaxConnections bounds the connections; further ones are closed at once, and Refused is
	// called.
	MaxConnections int
	Refused        func()
	// ConnectionTimeout is the time for the handshakes of TLS and HTTP/2.
	ConnectionTimeout time.Duration
	// KeepaliveMinTime is how often a client may ping.
	KeepaliveMinTime time.Duration
	// KeepaliveTime is after how much silence a client is pinged, KeepaliveTimeout how long it
	// has to answer.
	KeepaliveTime, KeepaliveTimeout time.Duration
	// MaxIdle and MaxAge close a connection gracefully; 0 never.
	MaxIdle, MaxAge time.Duration
}

// Server serves gRPC calls. It is safe for concurrent use.
type Server struct {
	options ServerOptions
	methods map[string]*Method
	work    chan *serverCall
	stop    chan struct{} // workers and connections end
	started atomic.Int64  // workers

	handlers sync.WaitGroup // calls' and connections' goroutines

	mu        sync.Mutex
	listeners map[net.Listener]bool
	// conns are open, nil during the handshake.
	conns    map[net.Conn]*serverConn
	draining bool
	// empty is closed when draining and no connection is left.
	empty     chan struct{}
	emptyOnce sync.Once
	stopOnce  sync.Once
}

// NewServer returns a server that has no listener yet.
func NewServer(o ServerOptions) *Server {
	if o.TLS != nil {
		o.TLS = o.TLS.Clone()
		o.TLS.NextProtos = []string{protocol}
	}
	methods := make(map[string]*Method, len(o.Methods))
	for name, m := range o.Methods {
		methods[name] = &m
	}
	return &Server{
		options: o, methods: methods, work: make(chan *serverCall), stop: make(chan struct{}),
		listeners: make(map[net.Listener]bool), conns: make(map[net.Conn]*serverConn), empty: make(chan struct{}),
	}
}

// protocol is HTTP/2's name in TLS.
const protocol = "h2"

// Serve accepts connections until Drain or Stop, and closes the listener. It may be called
// for several.
func (s *Server) Serve(lis net.Listener) error {
	defer lis.Close()
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[lis] = true
	s.mu.Unlock()
	for pause := time.Duration(0); ; {
		nc, err := lis.Accept()
		if err == nil {
			pause = 0
			s.accept(nc)
			continue
		}
		s.mu.Lock()
		draining := s.draining
		s.mu.Unlock()
		if draining {
			return ErrServerClosed
		}
		if !temporary(err) {
			return err
		}
		// Such as too many open files: it may pass.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-s.stop:
		}
	}
}

func temporary(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && t.Temporary()
}

// accept takes a connection in, or closes it where there are too many.
func (s *Server) accept(nc net.Conn) {
	s.mu.Lock()
	if full := len(s.conns) >= s.options.MaxConnections; full || s.draining {
		s.mu.Unlock()
		_ = nc.Close()
		if full && s.options.Refused != nil {
			s.options.Refused()
		}
		return
	}
	s.conns[nc] = nil
	s.handlers.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.handlers.Done()
		defer s.forget(nc)
		s.serve(nc)
	}()
}

// serve carries one connection to its end.
func (s *Server) serve(nc net.Conn) {
	inner, err := s.handshake(nc)
	if err != nil {
		_ = nc.Close()
		return
	}
	c := newServerConn(s, inner)
	s.mu.Lock()
	s.conns[nc] = c
	draining := s.draining
	s.mu.Unlock()
	if draining {
		c.drain()
	}
	c.serve()
}

// handshake brings a connection to where frames begin.
func (s *Server) handshake(nc net.Conn) (net.Conn, error) {
	_ = nc.SetDeadline(time.Now().Add(s.options.ConnectionTimeout))
	if s.options.TLS != nil {
		secure := tls.Server(nc, s.options.TLS)
		if err := secure.Handshake(); err != nil {
			return nil, err
		}
		if got := secure.ConnectionState().NegotiatedProtocol; got != protocol {
			return nil, fmt.Errorf("the client wants protocol %q, want %q", got, protocol)
		}
		nc = secure
	}
	if err := readPreface(nc); err != nil {
		return nil, err
	}
	return nc, nc.SetDeadline(time.Time{})
}

func (s *Server) forget(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, nc)
	s.emptied()
}

// emptied tells Drain that there is nothing left; s.mu is held.
func (s *Server) emptied() {
	if s.draining && len(s.conns) == 0 {
		s.emptyOnce.Do(func() { close(s.empty) })
	}
}

// close ends the listeners, and tells the connections in what way.
func (s *Server) close(how func(*serverConn), handshaking func(net.Conn)) {
	s.mu.Lock()
	s.draining = true
	for lis := range s.listeners {
		_ = lis.Close()
	}
	clear(s.listeners)
	conns := make([]*serverConn, 0, len(s.conns))
	for nc, c := range s.conns {
		if c == nil {
			handshaking(nc)
		} else {
			conns = append(conns, c)
		}
	}
	s.emptied()
	s.mu.Unlock()
	for _, c := range conns {
		how(c)
	}
}

// Drain takes no new connections and calls, waits for those under way and their handlers,
// and returns.
func (s *Server) Drain() {
	s.close((*serverConn).drain, func(nc net.Conn) { _ = nc.Close() })
	<-s.empty
	s.end()
}

// Stop cuts all connections off, and waits until the handlers have returned.
func (s *Server) Stop() {
	s.close(func(c *serverConn) { c.end(ErrServerClosed) }, func(nc net.Conn) { _ = nc.Close() })
	s.end()
}

func (s *Server) end() {
	s.stopOnce.Do(func() { close(s.stop) })
	s.handlers.Wait()
}

// Connections returns how many are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// dispatch lets a worker serve a call, or a goroutine of its own.
func (s *Server) dispatch(call *serverCall) {
	s.handlers.Add(1)
	select {
	case s.work <- call:
		return
	default:
	}
	if s.started.Load() < workers { // a few more do no harm
		s.started.Add(1)
		go s.worker(call)
		return
	}
	go func() {
		defer s.handlers.Done()
		call.serve()
	}()
}

func (s *Server) worker(call *serverCall) {
	for {
		call.serve()
		s.handlers.Done()
		select {
		case call = <-s.work:
		case <-s.stop:
			return
		}
	}
}
