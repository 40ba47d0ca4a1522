// Package admin is the operators' door: the admin RPC (gRPC, gRPC-Web and JSON on one
// port), who may use it, the audit of what they did, and the open endpoints for probes
// and Prometheus.
//
// A request passes three places in turn: the guard decides who calls and whether that
// role may (guard.go), the service checks arguments and hands a rollout.Event on
// (service.go), and errors.go gives every refusal its code.
package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/understudy-serving/understudy/rollout"
)

// Rollouts is what the server reads and changes: the conductor.
type Rollouts interface {
	// List returns every configured model's view, by model name.
	List() []rollout.View
	// Get returns one view; the error wraps rollout.ErrUnknownModel.
	Get(model string) (rollout.View, error)
	// Subscribe gives a tick whenever any state changes, coalesced, until cancel.
	Subscribe() (changed <-chan struct{}, cancel func())
	// Apply changes a rollout. expected is the revision that the caller saw, nil for
	// a rollback. Errors wrap rollout.ErrUnknownModel, ErrStale, ErrNotAllowed or
	// ErrUnavailable. For EventRetry the plan is filled in by the implementation.
	Apply(ctx context.Context, model string, e rollout.Event, expected *uint64) (rollout.View, error)
}

// Options are the server's dependencies and settings. Rollouts alone is required.
type Options struct {
	Rollouts Rollouts
	// Outcomes takes reports of outcomes; nil refuses them.
	Outcomes Outcomes
	// Tokens are the credentials that are let in, from any address. Without any, only
	// callers on this machine are answered, as operator "local".
	Tokens []Token
	// Audit takes refusals; accepted changes reach it through the conductor. Nil:
	// refusals go to Logger.
	Audit *Audit
	// Gatherer is what /metrics shows; nil closes /metrics.
	Gatherer prometheus.Gatherer
	// Ready returns nil, or what /readyz shall say is not ready.
	Ready func() error
	// Logger is slog.Default if nil.
	Logger *slog.Logger
	// Registerer takes the server's own metrics; nil keeps them to itself.
	Registerer prometheus.Registerer
	// TLS serves HTTPS; nil serves plain HTTP/1.1 and unencrypted HTTP/2.
	TLS *tls.Config
	// Version is shown on the index page.
	Version string
	// Now is time.Now if nil.
	Now func() time.Time
}

// Server answers operators, probes and Prometheus.
type Server struct {
	opts     Options
	tokens   *keyring
	handler  http.Handler
	http     *http.Server
	metrics  *metrics
	known    *limiter // of callers that are let in
	unknown  *limiter
	watchers chan struct{}
	closing  chan struct{}
	close    sync.Once
	// running are the requests that are being handled. http.Server.Shutdown forgets
	// those whose client left.
	running sync.WaitGroup

	// silent are the connections that have sent nothing yet. A client may open one more
	// than it needs, and http.Server.Shutdown would wait for its first request.
	silent sync.Map // of net.Conn
}

// Limits of one admin server. Requests are a few hundred bytes; watchers cost one
// goroutine and a message a second each.
const (
	maxRequestBytes = 64 << 10
	maxHeaderBytes  = 32 << 10
	maxWatchers     = 256
	requestTimeout  = 10 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = 2 * time.Minute
	streamsPerConn  = 64
)

// New reads the token files and returns a server. It fails on invalid tokens only.
func New(opts Options) (*Server, error) {
	if opts.Rollouts == nil {
		return nil, errors.New("admin: Options.Rollouts is missing")
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Registerer == nil {
		opts.Registerer = prometheus.NewRegistry()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Ready == nil {
		opts.Ready = func() error { return nil }
	}
	if opts.Audit == nil {
		audit, err := OpenAudit(AuditOptions{Logger: opts.Logger, Now: opts.Now})
		if err != nil {
			return nil, err
		}
		opts.Audit = audit
	}
	tokens, err := newKeyring(opts.Tokens, opts.Now, opts.Logger)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	s := &Server{opts: opts, tokens: tokens, known: newLimiter(opts.Now()), unknown: newLimiter(opts.Now()),
		watchers: make(chan struct{}, maxWatchers), closing: make(chan struct{})}
	if s.metrics, err = newMetrics(opts.Registerer); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	s.handler = s.routes()
	s.http = s.newHTTPServer()
	return s, nil
}

func (s *Server) newHTTPServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(s.opts.TLS == nil)
	return &http.Server{
		Handler:           s.counted(s.handler),
		TLSConfig:         s.opts.TLS,
		Protocols:         protocols,
		ReadHeaderTimeout: requestTimeout,
		WriteTimeout:      writeTimeout, // a watch lifts it
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Pings find watchers whose machine is gone.
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: streamsPerConn, SendPingTimeout: 30 * time.Second, PingTimeout: requestTimeout},
		ConnState: s.noteConn,
		ErrorLog:  slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
	}
}

// Handler returns everything the server answers, for tests and for mounting elsewhere.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers on lis until Shutdown, then returns nil. It closes lis.
func (s *Server) Serve(lis net.Listener) error {
	var err error
	if s.opts.TLS != nil {
		err = s.http.ServeTLS(lis, "", "")
	} else {
		err = s.http.Serve(lis)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("admin: serving on %s: %w", lis.Addr(), err)
}

func (s *Server) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.running.Add(1)
		defer s.running.Done()
		h.ServeHTTP(w, r)
	})
}

// noteConn keeps track of the connections that have sent nothing yet.
func (s *Server) noteConn(conn net.Conn, state http.ConnState) {
	if state != http.StateNew {
		s.silent.Delete(conn)
		return
	}
	s.silent.Store(conn, nil)
	select {
	case <-s.closing: // Shutdown may have looked already
		_ = conn.Close()
	default:
	}
}

// Shutdown ends the watches, lets other calls finish, and closes all connections; those
// still open when ctx ends are cut. When it returns nil, no handler runs any more.
func (s *Server) Shutdown(ctx context.Context) error {
	s.close.Do(func() { close(s.closing) })
	s.silent.Range(func(conn, _ any) bool {
		_ = conn.(net.Conn).Close()
		return true
	})
	err := s.http.Shutdown(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("admin: shutdown: %w", err), s.http.Close())
	}
	handled := make(chan struct{})
	go func() {
		s.running.Wait()
		close(handled)
	}()
	select {
	case <-handled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("admin: shutdown: requests whose client left are still handled: %w", ctx.Err())
	}
}
