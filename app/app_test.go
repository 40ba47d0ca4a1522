package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/proto/inference"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
	"github.com/understudy-serving/understudy/rollout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse returns a configuration on free ports; extra lines come last.
func parse(t *testing.T, dir, target, extra string) *config.Config {
	t.Helper()
	if !strings.Contains(extra, "listen:") {
		extra = `listen: {grpc: "127.0.0.1:0", admin: "127.0.0.1:0"}` + "\n" + extra
	}
	cfg, err := config.Parse("test.yaml", fmt.Appendf(nil, `
models:
  - name: risk
    champion: {target: %q}
store: {path: %q}
admin: {audit: %q}
%s`, target, filepath.Join(dir, "state.db"), filepath.Join(dir, "audit.jsonl"), extra))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func quiet() Options { return Options{Logger: slog.New(slog.DiscardHandler), Version: "test"} }

// run starts an app and returns what ends it.
func run(t *testing.T, cfg *config.Config) *App {
	t.Helper()
	a, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	<-a.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return a
}

// Only settings that can't work stop a start, and the error names them; nothing is left
// behind.
func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := map[string]struct{ extra, want string }{
		"port taken":          {fmt.Sprintf("listen: {grpc: %q, admin: \"127.0.0.1:0\"}", taken.Addr()), "listen.grpc"},
		"no such certificate": {`listen: {grpc: "127.0.0.1:0", admin: "127.0.0.1:0", tls: {cert: /nowhere.crt, key: /nowhere.key}}`, "listen.tls"},
		"no such password": {`sink: {kafka: {brokers: ["127.0.0.1:1"], sasl: {mechanism: PLAIN, username: u, passwordFile: /nowhere}}}`,
			"sink: kafka.sasl.passwordFile"},
		"no such password for outcomes": {`outcomes: {dir: "` + t.TempDir() + `", kafka: {brokers: ["127.0.0.1:1"], sasl: {mechanism: PLAIN, username: u, passwordFile: /nowhere}}}`,
			"outcomes: kafka.sasl.passwordFile"},
		"no such key of tickets": {`outcomes: {dir: "` + t.TempDir() + `", keyFile: /nowhere}`, "outcome: key of tickets"},
		"no such authorities":    {`sink: {kafka: {brokers: ["127.0.0.1:1"]}}`, "champion.tls"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := parse(t, dir, "127.0.0.1:1", tt.extra)
			if tt.want == "champion.tls" {
				cfg.Models[0].Champion.TLS = &config.ClientTLS{CA: "/nowhere.pem"}
			}
			_, err := New(cfg, quiet())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that names %s", err, tt.want)
			}
		})
	}
}

// A reload that would change what needs a restart is refused by name, and the old
// settings keep serving.
func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	dir := t.TempDir()
	a := run(t, parse(t, dir, "127.0.0.1:1", ""))
	for want, extra := range map[string]string{
		"listen":   `listen: {grpc: "127.0.0.1:1", admin: "127.0.0.1:0"}`,
		"limits":   "limits: {maxConnections: 7}",
		"shutdown": "shutdown: 1s",
		"sink":     `sink: {kafka: {brokers: ["127.0.0.1:1"]}}`,
		"outcomes": "outcomes: {window: 1h}",
	} {
		if err := a.Reload(parse(t, dir, "127.0.0.1:1", extra)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s changed: got %v, want a refusal that names it", want, err)
		}
	}
	if err := a.Reload(parse(t, dir, "127.0.0.1:2", "")); err != nil {
		t.Errorf("a new target: %v", err)
	}
	v, err := a.conductor.Get("risk")
	if err != nil || v.Champion.Target != "127.0.0.1:2" {
		t.Errorf("champion %v (%v), want the new target", v.Champion, err)
	}
}

// An App that is never run leaves nothing behind; goleak and the port would tell.
func TestCloseWithoutRun(t *testing.T) {
	dir := t.TempDir()
	a, err := New(parse(t, dir, "127.0.0.1:1", ""), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", a.GRPCAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

// withChallenger is a configuration whose challenger and Kafka are not there.
func withChallenger(t *testing.T, dir string) *config.Config {
	t.Helper()
	cfg := parse(t, dir, "127.0.0.1:1", `sink: {kafka: {brokers: ["127.0.0.1:1"]}}
shutdown: 1s`)
	cfg.Models[0].Challenger = &config.Arm{Spec: rollout.Spec{Target: "127.0.0.1:2", Model: "risk", Version: "2"}, Timeout: time.Second, MaxInFlight: 8}
	cfg.Models[0].Shadow = config.Shadow{Sample: rollout.FullWeight, MaxInFlight: 8, MaxBytes: 1 << 20, Timeout: time.Second}
	return cfg
}

// A rollback that is accepted while the process ends is in force after the restart; one
// that comes too late is refused.
func TestRollbackWhileDraining(t *testing.T) {
	dir := t.TempDir()
	a, err := New(withChallenger(t, dir), quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = a.Run(ctx) }() // it complains of the record that Kafka did not take
	<-a.Ready()
	conn, err := grpc.NewClient(a.GRPCAddr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = inference.NewGRPCInferenceServiceClient(conn).ModelInfer(ctx, &inference.ModelInferRequest{ModelName: "risk"})
	_ = conn.Close()
	cancel()
	time.Sleep(500 * time.Millisecond) // well into the flush of the record that no Kafka takes
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	_, err = adminv1connect.NewRolloutServiceClient(client, "http://"+a.AdminAddr().String()).Rollback(
		context.Background(), &adminv1.RollbackRequest{Model: "risk", Reason: "late"})
	accepted := err == nil
	<-ended
	again := run(t, withChallenger(t, dir))
	v, err := again.conductor.Get("risk")
	if err != nil || (v.Mode == rollout.ModeRolledBack) != accepted {
		t.Errorf("accepted %t, but mode %s after the restart (%v)", accepted, v.Mode, err)
	}
}

// A promoted arm keeps its TLS when the file moves on, and so does a champion until its
// successor's state is there.
func TestArmsKeepTheirTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	cfg := withChallenger(t, dir)
	cfg.Models[0].Challenger.TLS = &config.ClientTLS{CA: ca.file}
	a := run(t, cfg)
	promoted := cfg.Models[0].Challenger.Spec
	next := withChallenger(t, dir)
	next.Models[0].Challenger.Spec.Version = "3"
	if err := a.Reload(next); err != nil {
		t.Fatal(err)
	}
	a.routes.mu.Lock()
	defer a.routes.mu.Unlock()
	if got := a.routes.access(a.routes.models["risk"], promoted); !got.secure || got.tls.CA != ca.file {
		t.Errorf("the arm that left the file is reached with %+v, want its own TLS", got)
	}
}

// A challenger whose files are gone does not take its champion off.
func TestChallengerThatCannotBeReached(t *testing.T) {
	dir := t.TempDir()
	a := run(t, withChallenger(t, dir))
	a.routes.mu.Lock()
	m := a.routes.models["risk"]
	m.known[m.live.State.Challenger] = access{secure: true, tls: config.ClientTLS{CA: "/nowhere.pem"}}
	route, err := a.routes.route(m, map[connKey]bool{})
	a.routes.mu.Unlock()
	if err != nil || route.Mode != rollout.ModeChampion || route.Recorder != nil || route.Champion.Upstream == nil {
		t.Errorf("route %+v (%v), want the champion alone", route, err)
	}
}

// TLS on the listener and towards an arm, with client certificates on both: the gateway
// in front of a gateway.
func TestTLSAllTheWay(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	cert, key := ca.issue(t, dir, "gateway")
	files := fmt.Sprintf("cert: %q, key: %q", cert, key)
	listen := fmt.Sprintf(`listen: {grpc: "127.0.0.1:0", admin: "127.0.0.1:0", tls: {%s, clientCA: %q}}`, files, ca.file)
	behind := run(t, parse(t, t.TempDir(), "127.0.0.1:1", listen))
	cfg := parse(t, dir, behind.GRPCAddr().String(), listen)
	cfg.Models[0].Champion.TLS = &config.ClientTLS{CA: ca.file, Cert: cert, Key: key, ServerName: "gateway"}
	front := run(t, cfg)

	own, err := clientTLS(cfg.Models[0].Champion.TLS)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(front.GRPCAddr().String(), grpc.WithTransportCredentials(credentials.NewTLS(own)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = inference.NewGRPCInferenceServiceClient(conn).ModelInfer(context.Background(), &inference.ModelInferRequest{ModelName: "risk"})
	// The one behind has no model server: its refusal has come through both TLS hops.
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v, want the far champion's connection error", err)
	}
}

// A renewed certificate is taken up without a restart; a half-written one is not.
func TestCertificateRenewal(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir)
	cert, key := ca.issue(t, dir, "gateway")
	r := &renewing{cert: cert, key: key}
	if err := r.load(); err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		t.Helper()
		r.checked = time.Time{}
		pair, err := r.get()
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.String()
	}
	first := serial()
	later := time.Now().Add(time.Hour)
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(cert, later, later); err != nil {
		t.Fatal(err)
	}
	if serial() != first {
		t.Error("a half-written certificate replaced the good one")
	}
	ca.issue(t, dir, "gateway")
	if err := os.Chtimes(cert, later, later.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if serial() == first {
		t.Error("the renewed certificate was not taken up")
	}
}

func TestTLSFilesAreChecked(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*config.ClientTLS{{CA: junk}, {CA: "/nowhere.pem"}, {Cert: junk, Key: junk}} {
		if _, err := clientTLS(c); err == nil || !strings.Contains(err.Error(), c.CA+c.Cert) {
			t.Errorf("%+v: got %v, want an error that names the file", c, err)
		}
	}
	if c, err := clientTLS(nil); c != nil || err != nil {
		t.Errorf("plaintext gave %v, %v", c, err)
	}
}

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, dir string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{cert: cert, key: key, file: filepath.Join(dir, "ca.pem")}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue writes a new certificate for name, and its key.
func (a authority) issue(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", raw)
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What the file may say of a record's size the sink takes.
func TestRecordSizesOfTheFileFitTheSink(t *testing.T) {
	for _, size := range []string{"16KiB", "990KB", "256MiB"} {
		cfg := parse(t, t.TempDir(), "127.0.0.1:1", `sink: {maxQueueBytes: 1GiB, kafka: {brokers: ["127.0.0.1:1"], maxRecordBytes: `+size+`}}`)
		a, err := New(cfg, quiet())
		if err != nil {
			t.Errorf("%s: %v", size, err)
			continue
		}
		if err := a.Close(); err != nil {
			t.Errorf("%s: %v", size, err)
		}
	}
}
