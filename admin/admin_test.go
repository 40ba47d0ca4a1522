package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/understudy-serving/understudy/admin"
	"github.com/understudy-serving/understudy/admin/admintest"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
	"github.com/understudy-serving/understudy/rollout"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	plan  = rollout.Plan{
		{Kind: rollout.StepShadow, Bake: time.Hour, MinRequests: 100},
		{Kind: rollout.StepSetWeight, Weight: 500},
		{Kind: rollout.StepPause, Manual: true},
	}
)

// fraud is a rollout in shadow at revision 3.
func fraud() rollout.View {
	return rollout.View{
		State: rollout.State{Model: "fraud", Revision: 3, Rollout: 3, Entered: 3, Mode: rollout.ModeShadow, Plan: plan,
			Champion:   rollout.Spec{Target: "dns:///one:8081", Model: "fraud", Version: "1"},
			Challenger: rollout.Spec{Target: "dns:///two:8081", Model: "fraud", Version: "2"}},
		Figures: rollout.Figures{Champion: rollout.ArmFigures{Requests: 42}, Judgement: rollout.Judgement{Alpha: 0.01,
			Gates: []rollout.GateReport{{Gate: rollout.Gate{Metric: rollout.ErrorRate}, Applies: true, Verdict: rollout.Inconclusive}}}},
		Breaker: "closed",
	}
}

// spam has a champion alone.
func spam() rollout.View {
	return rollout.View{State: rollout.State{Model: "spam", Revision: 1, Mode: rollout.ModeChampion,
		Champion: rollout.Spec{Target: "dns:///spam:8081", Model: "spam"}}}
}

// world is a server over rollouts that stand still, with its audit log.
type world struct {
	*admin.Server
	rollouts *admintest.Rollouts
	log      *syncBuffer
	registry *prometheus.Registry
	path     string
	address  string
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// newWorld does not listen; use Handler.
func newWorld(t *testing.T, opts admin.Options) *world {
	t.Helper()
	w := &world{log: &syncBuffer{}, registry: prometheus.NewRegistry(), path: filepath.Join(t.TempDir(), "audit.jsonl")}
	now := func() time.Time { return start }
	if opts.Now == nil {
		opts.Now = now
	}
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	audit, err := admin.OpenAudit(admin.AuditOptions{Path: w.path, Logger: logger, Now: now, Registerer: w.registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { audit.Close() })
	w.rollouts = admintest.New(now, fraud(), spam())
	w.rollouts.Audit = audit.Change
	opts.Audit, opts.Logger, opts.Registerer, opts.Gatherer = audit, logger, w.registry, w.registry
	if opts.Rollouts == nil {
		opts.Rollouts = w.rollouts
	}
	if w.Server, err = admin.New(opts); err != nil {
		t.Fatal(err)
	}
	return w
}

// serve listens on a free loopback port until the test ends.
func serve(t *testing.T, opts admin.Options) *world {
	t.Helper()
	w := newWorld(t, opts)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = lis.Addr().String()
	served := make(chan error, 1)
	go func() { served <- w.Serve(lis) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return w
}

// client returns an RPC client whose connections end with the test.
func (w *world) client(t *testing.T, opts ...connect.ClientOption) adminv1connect.RolloutServiceClient {
	t.Helper()
	return adminv1connect.NewRolloutServiceClient(httpClient(t), "http://"+w.address, opts...)
}

// httpClient speaks unencrypted HTTP/2 alone, as gRPC must.
func httpClient(t *testing.T) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// entries reads the audit log.
func (w *world) entries(t *testing.T) []admin.Entry {
	t.Helper()
	b, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	return parseEntries(t, b)
}

func parseEntries(t *testing.T, b []byte) []admin.Entry {
	t.Helper()
	var out []admin.Entry
	for line := range bytes.Lines(b) {
		var e admin.Entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

// direct calls the handler as if from this machine, without a network.
func (w *world) direct() adminv1connect.RolloutServiceClient {
	return adminv1connect.NewRolloutServiceClient(from{"127.0.0.1:1234", w.Handler()}, "http://127.0.0.1:8082")
}

func pauseRequest(revision uint64) *adminv1.PauseRequest {
	return &adminv1.PauseRequest{Model: "fraud", ExpectedRevision: revision, Reason: "lunch"}
}
