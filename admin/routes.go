package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
)

// routes mounts the open endpoints beside the guarded ones.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.opts.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{
			ErrorLog: promErrors{s}, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 8}))
	}
	options := []connect.HandlerOption{connect.WithReadMaxBytes(maxRequestBytes),
		connect.WithRecover(s.recovered), connect.WithInterceptors(s.metrics.interceptor())}
	reflector := grpcreflect.NewStaticReflector(adminv1connect.RolloutServiceName, adminv1connect.OutcomeServiceName)
	guarded := func(path string, h http.Handler) { mux.Handle(path, s.guard(h)) }
	guarded(adminv1connect.NewRolloutServiceHandler(service{s}, options...))
	guarded(adminv1connect.NewOutcomeServiceHandler(outcomes{s}, options...))
	guarded(grpcreflect.NewHandlerV1(reflector, options...))
	guarded(grpcreflect.NewHandlerV1Alpha(reflector, options...))
	guarded("GET /{$}", http.HandlerFunc(s.index))
	return mux
}

// recovered answers for a handler that panicked.
func (s *Server) recovered(_ context.Context, spec connect.Spec, _ http.Header, value any) error {
	s.opts.Logger.Error("an admin call panicked; this is a bug, please report it with the stack",
		"procedure", spec.Procedure, "panic", value, "stack", string(debug.Stack()))
	return rpcError(fmt.Errorf("panic: %v", value))
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.opts.Ready(); err != nil {
		plain(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
		return
	}
	plain(w, http.StatusOK, "ready")
}

// index tells a person who opens the port in a browser what is here.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	plain(w, http.StatusOK, fmt.Sprintf(`understudy %s, admin

understudy status --admin http://%s
grpcurl -plaintext %s list
curl -H 'content-type: application/json' -d '{}' http://%s%s

/healthz  /readyz  /metrics`, s.opts.Version, r.Host, r.Host, r.Host, adminv1connect.RolloutServiceListRolloutsProcedure))
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}

// promErrors writes what promhttp could not gather to the log.
type promErrors struct{ s *Server }

func (p promErrors) Println(v ...any) {
	p.s.opts.Logger.Error("metrics could not all be gathered; a collector is broken", "error", fmt.Sprint(v...))
}
