package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
)

const (
	defaultAdmin = "http://127.0.0.1:8082"
	callTimeout  = 15 * time.Second
	dialTimeout  = 5 * time.Second
)

// connection says how to reach a gateway's admin port.
type connection struct {
	admin, tokenFile, ca, cert, key string
}

func (c *connection) bind(flags *pflag.FlagSet) {
	flags.StringVar(&c.admin, "admin", "", "`URL` of the gateway's admin port (env UNDERSTUDY_ADMIN; default "+defaultAdmin+")")
	flags.StringVar(&c.tokenFile, "token-file", "", "`file` with the token for the admin port (env UNDERSTUDY_TOKEN_FILE, or the token itself in UNDERSTUDY_TOKEN)")
	flags.StringVar(&c.ca, "ca", "", "PEM `file` with the authorities that vouch for an https admin port, instead of the system's")
	flags.StringVar(&c.cert, "cert", "", "PEM `file` with a client certificate, where the admin port asks for one")
	flags.StringVar(&c.key, "key", "", "PEM `file` with the key of --cert")
}

// gateway is a client of one admin port.
type gateway struct {
	adminv1connect.RolloutServiceClient
	adminv1connect.OutcomeServiceClient
	url  string
	http *http.Client
}

// open prepares the client; it does not connect.
func (c *connection) open() (*gateway, error) {
	address, err := adminURL(cmp.Or(c.admin, os.Getenv("UNDERSTUDY_ADMIN"), defaultAdmin))
	if err != nil {
		return nil, err
	}
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	config, err := c.tls()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     config,
		ForceAttemptHTTP2:   true,
	}
	client := &http.Client{
		Transport: bearer{token, transport},
		// A redirect would carry the token to who knows where.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &gateway{adminv1connect.NewRolloutServiceClient(client, address), adminv1connect.NewOutcomeServiceClient(client, address), address, client}, nil
}

// close gives the connections back.
func (g *gateway) close() { g.http.CloseIdleConnections() }

// adminURL completes what people type: "host:8082" and ":8082" do as well.
func adminURL(s string) (string, error) {
	full := s
	if !strings.Contains(s, "://") {
		full = "http://" + s
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		return "", fmt.Errorf("--admin %q: %w; want a URL such as %s", s, err, defaultAdmin)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.RawQuery != "", u.Fragment != "", u.User != nil:
		return "", fmt.Errorf("--admin %q: want a URL such as %s or https://gateway.example:8082", s, defaultAdmin)
	}
	if u.Hostname() == "" {
		u.Host = "127.0.0.1" + u.Host
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// token returns the credential, or "" where none is given. A flag goes before the
// environment.
func (c *connection) token() (string, error) {
	file := c.tokenFile
	if file == "" {
		if t := strings.TrimSpace(os.Getenv("UNDERSTUDY_TOKEN")); t != "" {
			return t, nil
		}
		if file = os.Getenv("UNDERSTUDY_TOKEN_FILE"); file == "" {
			return "", nil
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("token file: %w", err)
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 || bytes.ContainsAny(b, "\r\n") {
		return "", fmt.Errorf("token file %s: want one token on one line", file)
	}
	return string(b), nil
}

func (c *connection) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca %s: holds no PEM certificate", c.ca)
		}
	}
	if (c.cert == "") != (c.key == "") {
		return nil, errors.New("--cert and --key: want both or neither")
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("--cert %s: %w", c.cert, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// bearer sends the token along.
type bearer struct {
	token string
	next  *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client reach the transport's.
func (b bearer) CloseIdleConnections() { b.next.CloseIdleConnections() }

// call runs f with a client and a time limit, and makes its error one for people.
func (c *connection) call(ctx context.Context, f func(context.Context, *gateway) error) error {
	g, err := c.open()
	if err != nil {
		return err
	}
	defer g.close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return g.wording(f(ctx, g))
}

// models completes a model's name from the gateway's list.
func (c *connection) models(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	err := c.call(cmd.Context(), func(ctx context.Context, g *gateway) error {
		list, err := g.ListRollouts(ctx, &adminv1.ListRolloutsRequest{})
		for _, r := range list.GetRollouts() {
			names = append(names, r.Model)
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// wording says what an RPC's error means and what to do about it.
func (g *gateway) wording(err error) error {
	var rpc *connect.Error
	if err == nil || !errors.As(err, &rpc) {
		return err
	}
	if connect.IsWireError(err) {
		return g.wordAnswer(rpc)
	}
	var unknown x509.UnknownAuthorityError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, context.DeadlineExceeded), rpc.Code() == connect.CodeDeadlineExceeded:
		return fmt.Errorf("the gateway at %s does not answer in time: %w", g.url, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of %s is not trusted: %w; name its authority with --ca", g.url, unknown)
	case errors.As(err, &dns):
		return fmt.Errorf("no such host: %s; set --admin or UNDERSTUDY_ADMIN to the gateway's admin port", g.url)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%s answers in plain HTTP; set --admin to the same address with http, or admin.tls in its config", g.url)
	case rpc.Code() == connect.CodeUnavailable:
		return fmt.Errorf("no gateway answers at %s: %w; is it running? If its admin port is elsewhere, set --admin or UNDERSTUDY_ADMIN", g.url, innermost(rpc))
	case rpc.Code() == connect.CodeUnimplemented, rpc.Code() == connect.CodeUnknown, rpc.Code() == connect.CodeInternal:
		return fmt.Errorf("%s answers, but not as an admin port of Understudy: %w; check --admin (http or https? the admin port is 8082 by default)", g.url, innermost(rpc))
	}
	return fmt.Errorf("%s: %w", g.url, err)
}

// wordAnswer words a refusal that the gateway itself sent.
func (g *gateway) wordAnswer(e *connect.Error) error {
	return fmt.Errorf("%s (%s)", e.Message(), strings.ToUpper(e.Code().String()))
}

// innermost drops what the layers between have put before the cause.
func innermost(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	var e *connect.Error
	if errors.As(err, &e) {
		return e.Unwrap()
	}
	return err
}
