package admin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
	"github.com/understudy-serving/understudy/rollout"
)

// caller is who sent a request, and what the handler needs of its connection.
type caller struct {
	name   string
	role   Role
	remote string
	conn   *http.ResponseController
}

type callerKey struct{}

// callerOf returns the caller that the guard let in.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// localActor is the actor's name where there are no tokens.
const localActor = "local"

// allowed tells whether a role may call a path, or what it takes.
func allowed(r Role, path string) error {
	reporting := path == adminv1connect.OutcomeServiceReportOutcomeProcedure
	switch {
	case r == RoleOperator, r == RoleViewer && reading(path), r == RoleReporter && reporting:
		return nil
	case reporting:
		return errReporting
	case reading(path):
		return errReading
	}
	return errRole
}

// reading lists what a viewer may call. All else needs an operator, so that a new RPC is
// closed until someone thinks about it.
func reading(path string) bool {
	switch path {
	case adminv1connect.RolloutServiceListRolloutsProcedure,
		adminv1connect.RolloutServiceGetRolloutProcedure,
		adminv1connect.RolloutServiceWatchRolloutsProcedure,
		adminv1connect.RolloutServiceExplainProcedure, "/":
		return true
	}
	return strings.HasPrefix(path, "/"+grpcreflect.ReflectV1ServiceName+"/") ||
		strings.HasPrefix(path, "/"+grpcreflect.ReflectV1AlphaServiceName+"/")
}

// guard lets a request through to next if its caller may make it.
func (s *Server) guard(next http.Handler) http.Handler {
	refusals := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.identify(r)
		if err == nil {
			if needed := allowed(c.role, r.URL.Path); needed != nil {
				err = &accessError{kind: needed, detail: "token " + c.name + " is a " + c.role.String()}
			}
		}
		if err != nil {
			s.refused(c, change{event: eventOf(r.URL.Path)}, err)
			if rpcError(err).Code() == connect.CodeUnauthenticated {
				w.Header().Set("WWW-Authenticate", `Bearer realm="understudy"`)
			}
			// The only error is a gone client's.
			_ = refusals.Write(w, r, rpcError(err))
			return
		}
		c.conn = http.NewResponseController(w)
		limitReading(c.conn, r)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

// identify tells who sent r. The caller has name and address also where err says why it
// is refused.
func (s *Server) identify(r *http.Request) (caller, error) {
	c := caller{name: "unknown", remote: r.RemoteAddr}
	if s.tokens.open() {
		if err := localOnly(r); err != nil {
			return c, err
		}
		c.name, c.role = localActor, RoleOperator
		return c, nil
	}
	header := r.Header.Get("Authorization")
	scheme, secret, _ := strings.Cut(header, " ")
	switch {
	case header == "":
		return c, &accessError{kind: errNoToken}
	case !strings.EqualFold(scheme, "Bearer"):
		return c, &accessError{kind: errNoToken, detail: "the Authorization header has another scheme"}
	}
	token, ok := s.tokens.find(strings.TrimSpace(secret))
	if !ok {
		return c, &accessError{kind: errWrongToken}
	}
	c.name, c.role = token.Name, token.Role
	return c, nil
}

// localOnly refuses what does not come from this machine. The address is the
// connection's: a forwarding header can say anything. Host and origin are checked too,
// for a web page that the operator has open must not reach this port, be it under a
// name that its owner points at 127.0.0.1.
func localOnly(r *http.Request) error {
	if !loopback(hostOf(r.RemoteAddr)) {
		return &accessError{kind: errNotLocal, detail: "the caller is " + r.RemoteAddr}
	}
	if !loopback(hostOf(r.Host)) {
		return &accessError{kind: errNotLocal, detail: "the request is for host " + quoted(r.Host)}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return &accessError{kind: errNotLocal, detail: "a web page of " + quoted(origin) + " sent it"}
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return nil
	}
	return &accessError{kind: errNotLocal, detail: "a web page of another site sent it"}
}

// hostOf returns the host of host:port, or all of it where there is no port.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
}

func loopback(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// limitReading gives the client requestTimeout to send its whole request, and lifts the
// limit once it has: a watch lasts longer.
func limitReading(conn *http.ResponseController, r *http.Request) {
	if conn.SetReadDeadline(time.Now().Add(requestTimeout)) != nil {
		return // a recorder in a test has no connection
	}
	r.Body = &timedBody{ReadCloser: r.Body, done: func() { _ = conn.SetReadDeadline(time.Time{}) }}
}

type timedBody struct {
	io.ReadCloser
	done func()
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.done()
	}
	return n, err
}

// eventOf names the event that a path asks for, or the RPC where it asks for none.
func eventOf(path string) rollout.Event {
	switch path {
	case adminv1connect.RolloutServiceSetModeProcedure:
		return rollout.Event{Kind: rollout.EventSetMode}
	case adminv1connect.RolloutServicePromoteProcedure:
		return rollout.Event{Kind: rollout.EventPromote}
	case adminv1connect.RolloutServiceRollbackProcedure:
		return rollout.Event{Kind: rollout.EventRollback}
	case adminv1connect.RolloutServicePauseProcedure:
		return rollout.Event{Kind: rollout.EventPause}
	case adminv1connect.RolloutServiceResumeProcedure:
		return rollout.Event{Kind: rollout.EventResume}
	case adminv1connect.RolloutServiceRetryProcedure:
		return rollout.Event{Kind: rollout.EventRetry}
	case adminv1connect.OutcomeServiceReportOutcomeProcedure:
		return rollout.Event{Kind: "report"}
	}
	return rollout.Event{Kind: "read"}
}
