package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

func TestTLS(t *testing.T) {
	cert, roots := certificate(t)
	h := open(t, Options{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}},
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "gateway"})))
	h.serve(h.route(rollout.ModeShadow))
	if _, err := h.client.ModelInfer(within(t, 10*time.Second), request()); err != nil {
		t.Error(err)
	}
	plain, err := grpc.NewClient(h.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := inference.NewGRPCInferenceServiceClient(plain).ServerLive(within(t, 10*time.Second), &inference.ServerLiveRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("plaintext: %v", err)
	}
	h.settle()
}

// certificate is one of its own authority, for the name "gateway".
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"gateway"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
