package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/understudy-serving/understudy/rollout"
)

// httpServer runs an HTTP/2 server that writes gRPC by hand, with or without TLS.
func httpServer(t *testing.T, secure bool, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = secure
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are part of the test
	if secure {
		s.StartTLS()
	} else {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// framed is a gRPC message: flag, length, bytes.
func framed(flag byte, length int, b string) string {
	head := binary.BigEndian.AppendUint32([]byte{flag}, uint32(length))
	return string(head) + b
}

// TestServersThatBehaveBadly lists what a call makes of answers outside the protocol.
func TestServersThatBehaveBadly(t *testing.T) {
	details := func(code codes.Code) string {
		b, _ := proto.Marshal(&spb.Status{Code: int32(code), Message: "in full", Details: []*anypb.Any{{TypeUrl: "x/y", Value: []byte("z")}}})
		return string(b) + "\xfa\x7f\x01x" // and a field of the future
	}
	for _, tc := range []struct {
		name     string
		header   map[string]string
		body     string
		trailer  map[string]string
		httpCode int
		want     rollout.Code
		message  string
		details  string
	}{
		{name: "good", body: framed(0, 2, "ok"), trailer: map[string]string{"grpc-status": "0"}, want: rollout.OK},
		{name: "trailers only", header: map[string]string{"grpc-status": "14", "grpc-message": "warming%20up"}, want: rollout.Unavailable, message: "warming up"},
		{name: "OK without a message", header: map[string]string{"grpc-status": "0"}, want: rollout.Internal},
		{name: "no status at all", body: framed(0, 2, "ok"), want: rollout.Internal},
		{name: "a truncated message", body: framed(0, 200, "ok"), trailer: map[string]string{"grpc-status": "0"}, want: rollout.Internal},
		{name: "two messages", body: framed(0, 1, "a") + framed(0, 1, "b"), trailer: map[string]string{"grpc-status": "0"}, want: rollout.Internal},
		{name: "a message, then an error", body: framed(0, 2, "ok"), trailer: map[string]string{"grpc-status": "8", "grpc-message": "no"}, want: rollout.ResourceExhausted, message: "no"},
		{name: "compressed without saying how", body: framed(1, 2, "ok"), trailer: map[string]string{"grpc-status": "0"}, want: rollout.Internal},
		{name: "longer than the limit", body: framed(0, 1<<30, "ok"), trailer: map[string]string{"grpc-status": "0"}, want: rollout.ResourceExhausted},
		{name: "a web page", header: map[string]string{"content-type": "text/html"}, body: "<html>", want: rollout.Unknown},
		{name: "a proxy's 503", httpCode: 503, header: map[string]string{"content-type": "text/plain"}, body: "no healthy upstream", want: rollout.Unavailable},
		{name: "a code that gRPC does not know", header: map[string]string{"grpc-status": "99", "grpc-message": "odd"}, want: 99, message: "odd"},
		{name: "details", header: map[string]string{"grpc-status": "9", "grpc-message": "short", "grpc-status-details-bin": details(9)},
			want: rollout.FailedPrecondition, message: "in full", details: details(9)},
		{name: "details that are no google.rpc.Status", header: map[string]string{"grpc-status": "9", "grpc-message": "short", "grpc-status-details-bin": "\xff"},
			want: rollout.FailedPrecondition, message: "short", details: "\xff"},
		{name: "details of another code", header: map[string]string{"grpc-status": "9", "grpc-status-details-bin": details(3)},
			want: rollout.Internal, details: ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := httpServer(t, false, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("content-type", "application/grpc")
				put(w.Header(), "", tc.header)
				if tc.httpCode != 0 {
					w.WriteHeader(tc.httpCode)
				}
				if tc.body != "" {
					_, _ = w.Write([]byte(tc.body))
					w.(http.Flusher).Flush()
				}
				put(w.Header(), http.TrailerPrefix, tc.trailer)
			})
			c := dial(t, Options{Spec: rollout.Spec{Target: s.Listener.Addr().String()}})
			reply, out := call(t, within(t, 10*time.Second), c, []byte("x"), nil)
			if reply.Status.Code != tc.want || tc.message != "" && reply.Status.Message != tc.message {
				t.Errorf("status %+v, want %s %q", reply.Status, tc.want, tc.message)
			}
			if string(reply.Status.Details) != tc.details {
				t.Errorf("details %q, want %q", reply.Status.Details, tc.details)
			}
			if tc.want == rollout.OK && string(out) != "ok" {
				t.Errorf("answer %q", out)
			}
			for key := range reply.Trailer {
				if rollout.Reserved(key) {
					t.Errorf("trailer %v", reply.Trailer)
				}
			}
		})
	}
}

func put(h http.Header, prefix string, values map[string]string) {
	for k, v := range values {
		if strings.HasSuffix(k, "-bin") {
			v = base64.RawStdEncoding.EncodeToString([]byte(v))
		}
		h.Set(prefix+k, v)
	}
}

func TestTLS(t *testing.T) {
	s := httpServer(t, true, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "application/grpc")
		_, _ = w.Write([]byte(framed(0, 2, "ok")))
		w.Header().Set(http.TrailerPrefix+"grpc-status", "0")
	})
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	spec := rollout.Spec{Target: s.Listener.Addr().String()}
	c := dial(t, Options{Spec: spec, TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"}})
	if reply, _ := call(t, within(t, 10*time.Second), c, []byte("x"), nil); reply.Status.Code != rollout.OK {
		t.Errorf("status %+v", reply.Status)
	}
	stranger := dial(t, Options{Spec: spec, TLS: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}})
	if reply, _ := call(t, within(t, 10*time.Second), stranger, []byte("x"), nil); reply.Status.Code != rollout.Unavailable || !strings.Contains(reply.Status.Message, "certificate") {
		t.Errorf("an unknown authority: %+v", reply.Status)
	}
}
