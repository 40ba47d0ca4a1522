//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/app"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/demo/modelserver"
	"github.com/understudy-serving/understudy/kafkatest"
)

// envPython is the interpreter that has requirements.txt installed.
const envPython = "INTEROP_PYTHON"

// gateway is what the clients are pointed at.
type gateway struct {
	grpc, admin   string
	broker, topic string
	champion      *models.Logistic
}

const settings = `
listen: {grpc: "127.0.0.1:0", admin: "127.0.0.1:0"}
reflection: true
models:
  - name: risk
    champion:   {target: %q, model: risk-v1, version: "1"}
    challenger: {target: %q, model: risk-v2, version: "2"}
    routingKey: [parameter:user_id, header:x-user-id]
    compare:
      - {output: probability, as: score, atol: 0.1}
      - {output: label, as: class}
sink: {kafka: {brokers: [%q], topic: %q}}
store: {path: %q}
admin: {audit: %q}
`

func open(t *testing.T) *gateway {
	g := &gateway{broker: kafkatest.Start(t)[0]}
	g.topic = kafkatest.Topic(t, []string{g.broker}, 3, nil)
	var err error
	if g.champion, err = models.NewLogistic(); err != nil {
		t.Fatal(err)
	}
	challenger, err := models.NewTrees()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg, err := config.Parse("interop.yaml", fmt.Appendf(nil, settings,
		serve(t, "risk-v1", "1", g.champion), serve(t, "risk-v2", "2", challenger),
		g.broker, g.topic, filepath.Join(dir, "state.db"), filepath.Join(dir, "audit.jsonl")))
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(cfg, app.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Version: "interop"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-a.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with: %v", err)
		}
	})
	g.grpc, g.admin = a.GRPCAddr().String(), a.AdminAddr().String()
	return g
}

// serve starts a model server and returns its address.
func serve(t *testing.T, name, version string, m modelserver.Model) string {
	s, err := modelserver.New(modelserver.Options{Name: name, Version: version, Model: m})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Addr()
}

// run runs a client and returns its standard output; stderr goes to the test's log.
func run(t *testing.T, stdin string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", filepath.Base(name), err, out.String(), errs.String())
	}
	return out.String(), err
}

func mustRun(t *testing.T, stdin string, name string, args ...string) string {
	t.Helper()
	out, err := run(t, stdin, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The order is the story's: clients infer, then an analyst reads, then an operator acts.
func TestRealClients(t *testing.T) {
	g := open(t)
	var ids []string
	if !t.Run("tritonclient infers", func(t *testing.T) { ids = tritonclient(t, g) }) {
		t.FailNow() // nothing to read
	}
	t.Run("kcat reads the records", func(t *testing.T) { kcat(t, g, ids) })
	t.Run("grpcurl reads health and metadata", func(t *testing.T) { grpcurlInfers(t, g) })
	t.Run("grpcurl operates", func(t *testing.T) { grpcurlOperates(t, g) })
	t.Run("curl operates", func(t *testing.T) { curlOperates(t, g) })
}

func tritonclient(t *testing.T, g *gateway) []string {
	python := os.Getenv(envPython)
	if python == "" {
		t.Fatalf("%s is not set; run `make interop`", envPython)
	}
	rows, err := models.HeldOut()
	if err != nil {
		t.Fatal(err)
	}
	job := struct {
		Address       string      `json:"address"`
		Model         string      `json:"model"`
		Features      [][]float32 `json:"features"`
		Probabilities []float32   `json:"probabilities"`
		Labels        []string    `json:"labels"`
	}{Address: g.grpc, Model: "risk"}
	for _, r := range rows[:20] {
		p := g.champion.Score(r.Features)
		job.Features = append(job.Features, r.Features)
		job.Probabilities, job.Labels = append(job.Probabilities, p), append(job.Labels, models.Label(p))
	}
	stdin, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	var result struct{ Passed, IDs []string }
	if err := json.Unmarshal([]byte(mustRun(t, string(stdin), python, "tritonclient_check.py")), &result); err != nil {
		t.Fatal(err)
	}
	t.Logf("tritonclient passed: %s", strings.Join(result.Passed, ", "))
	if want := 7 + 32; len(result.IDs) != want {
		t.Errorf("%d requests were answered, want %d", len(result.IDs), want)
	}
	return result.IDs
}

// kcat reads every record, with key and headers, until all are there.
func kcat(t *testing.T, g *gateway, ids []string) {
	read := func() []string {
		out := mustRun(t, "", "kcat", "-C", "-b", g.broker, "-t", g.topic, "-o", "beginning", "-e", "-q", "-f", `%k\t%h\n`)
		return strings.Split(strings.TrimSpace(out), "\n")
	}
	// The topic holds these requests, the bad tensor, and the request whose caller had no
	// time where it came as far as the gateway.
	least, most := len(ids)+1, len(ids)+2
	lines := read()
	for deadline := time.Now().Add(30 * time.Second); len(lines) < least && time.Now().Before(deadline); {
		lines = read()
	}
	if len(lines) < least || len(lines) > most {
		t.Fatalf("%d records, want %d or %d", len(lines), least, most)
	}
	keys := map[string]bool{}
	for _, line := range lines {
		key, text, _ := strings.Cut(line, "\t")
		headers := map[string]string{}
		for h := range strings.SplitSeq(text, ",") {
			name, value, _ := strings.Cut(h, "=")
			headers[name] = value
		}
		if keys[key] || len(key) != 36 || headers["ce_id"] != key {
			t.Errorf("key %q with ce_id %q: want unique and equal", key, headers["ce_id"])
		}
		keys[key] = true
		if headers["ce_specversion"] != "1.0" || headers["content-type"] != "application/protobuf" {
			t.Errorf("headers %q", text)
		}
		for _, name := range []string{"ce_source", "ce_type", "ce_time"} {
			if headers[name] == "" {
				t.Errorf("no header %s in %q", name, text)
			}
		}
		if _, err := time.Parse(time.RFC3339Nano, headers["ce_time"]); err != nil {
			t.Error(err)
		}
	}
	t.Logf("kcat read %d records; the first: %s", len(lines), lines[0])
}

// grpcurl runs the pinned grpcurl.
func grpcurl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return run(t, "", "go", append([]string{"tool", "-modfile=../tools/go.mod", "grpcurl", "-plaintext"}, args...)...)
}

func grpcurlInfers(t *testing.T, g *gateway) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{g.grpc, "list"}, "inference.GRPCInferenceService"},
		{[]string{"-d", `{"name": "risk"}`, g.grpc, "inference.GRPCInferenceService/ModelReady"}, `"ready": true`},
		{[]string{"-d", `{"name": "risk"}`, g.grpc, "inference.GRPCInferenceService/ModelMetadata"}, `"name": "features"`},
		{[]string{g.grpc, "grpc.health.v1.Health/Check"}, "SERVING"},
	} {
		if out, err := grpcurl(t, c.args...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%v: %s %v, want %s", c.args, out, err, c.want)
		}
	}
}

// rollout is what the test reads of an answer; protobuf's JSON writes uint64 as text.
type rollout struct {
	Rollout struct {
		Revision, Mode string
		Paused         bool
		WeightPercent  float64
	}
}

func grpcurlOperates(t *testing.T, g *gateway) {
	const service = "understudy.admin.v1.RolloutService"
	if out, err := grpcurl(t, g.admin, "list"); err != nil || !strings.Contains(out, service) {
		t.Fatalf("list: %s %v", out, err)
	}
	call := func(method, body string) (r rollout, err error) {
		t.Helper()
		out, err := grpcurl(t, "-d", body, g.admin, service+"/"+method)
		if err == nil {
			err = json.Unmarshal([]byte(out), &r)
		}
		return r, err
	}
	before, err := call("GetRollout", `{"model": "risk"}`)
	if err != nil || before.Rollout.Mode != "MODE_SHADOW" {
		t.Fatalf("%+v, %v", before, err)
	}
	body := fmt.Sprintf(`{"model": "risk", "mode": "MODE_CANARY", "weight_percent": 12.5, "expected_revision": %s, "reason": "interop"}`, before.Rollout.Revision)
	canary, err := call("SetMode", body)
	if r := canary.Rollout; err != nil || r.Mode != "MODE_CANARY" || r.WeightPercent != 12.5 || !r.Paused {
		t.Errorf("%+v, %v", canary, err)
	}
	if _, err := call("SetMode", body); err == nil || !strings.Contains(err.Error(), "Aborted") {
		t.Errorf("the same revision again: %v, want Aborted", err)
	}
	back, err := call("Rollback", `{"model": "risk", "reason": "interop is done"}`)
	if err != nil || back.Rollout.Mode != "MODE_ROLLED_BACK" {
		t.Errorf("%+v, %v", back, err)
	}
}

func curlOperates(t *testing.T, g *gateway) {
	out := mustRun(t, "", "curl", "-sS", "-H", "Content-Type: application/json", "-d", `{"model": "risk"}`,
		"http://"+g.admin+"/understudy.admin.v1.RolloutService/GetRollout")
	var r rollout
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Rollout.Mode != "MODE_ROLLED_BACK" {
		t.Errorf("%s %v", out, err)
	}
	metrics := mustRun(t, "", "curl", "-sSf", "http://"+g.admin+"/metrics")
	if !strings.Contains(metrics, "understudy_") {
		t.Errorf("metrics without ours:\n%.500s", metrics)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		mustRun(t, "", "curl", "-sSf", "http://"+g.admin+path)
	}
}
