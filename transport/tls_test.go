package transport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// certified are a server's and a client's ends of TLS.
func certified(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, &tls.Config{RootCAs: roots, ServerName: "example.com", NextProtos: []string{protocol}}
}

func (r *rig) dialTLS(config *tls.Config) net.Conn {
	r.t.Helper()
	nc := tls.Client(r.dial(), config)
	if err := nc.HandshakeContext(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return nc
}

func TestBothClientsOverTLS(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	r := newRig(t, func(o *ServerOptions) { o.TLS = serverTLS })
	theirs, err := grpc.NewClient(r.addr, grpc.WithTransportCredentials(credentials.NewTLS(clientTLS)),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(testMessage)))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	ours := newClient(t, r.dialTLS(clientTLS), clientOptions())
	for _, size := range sizes {
		in, out := pattern(uint64(size), size), []byte(nil)
		if err := theirs.Invoke(t.Context(), echoMethod, &in, &out); err != nil || !bytes.Equal(in, out) {
			t.Errorf("theirs, %d bytes: %d came back, %v", size, len(out), err)
		}
		if out, reply := call(t.Context(), ours, echoMethod, in, nil); !bytes.Equal(in, out) {
			t.Errorf("ours, %d bytes: %d came back, %+v", size, len(out), reply.Status)
		}
	}
	stress(t, 10, func(r *rand.Rand, id uint64) bool { return echoes(t, ours, r, id) })
	var calls sync.WaitGroup
	calls.Go(func() {
		in := pattern(1, 1<<20)
		if out, reply := call(t.Context(), ours, holdMethod, in, nil); !bytes.Equal(in, out) {
			t.Errorf("during a drain: %d bytes, %+v", len(out), reply.Status)
		}
	})
	<-r.held
	calls.Go(r.server.Drain)
	<-ours.Leaving()
	close(r.release)
	calls.Wait()
	<-ours.Done()
}

func TestTLSWithoutHTTP2IsNotServed(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	r := newRig(t, func(o *ServerOptions) { o.TLS = serverTLS })
	clientTLS.NextProtos = nil
	nc := r.dialTLS(clientTLS)
	defer nc.Close()
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("a client that has not agreed on HTTP/2 is served")
	}
}
