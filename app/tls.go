package app

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/understudy-serving/understudy/config"
)

// clientTLS reads the PEM files of a connection that the gateway opens; nil for plaintext.
// The gateway's own certificate is read anew when its file changes.
func clientTLS(c *config.ClientTLS) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	var err error
	if c.CA != "" {
		if out.RootCAs, err = certPool(c.CA); err != nil {
			return nil, err
		}
	}
	if c.Cert != "" {
		keys := &renewing{cert: c.Cert, key: c.Key}
		if err := keys.load(); err != nil {
			return nil, err
		}
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return keys.get() }
	}
	return out, nil
}

// serverTLS reads the PEM files of a listener; nil for plaintext. The key pair is read
// anew when its file changes, so that certificates are renewed without a restart.
func serverTLS(c *config.ServerTLS) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	keys := &renewing{cert: c.Cert, key: c.Key}
	if err := keys.load(); err != nil {
		return nil, err
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return keys.get() }}
	if c.ClientCA != "" {
		pool, err := certPool(c.ClientCA)
		if err != nil {
			return nil, err
		}
		out.ClientCAs, out.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return out, nil
}

func certPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read CA certificates: %s holds no PEM certificate", path)
	}
	return pool, nil
}
