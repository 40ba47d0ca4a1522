//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/report"
	"github.com/understudy-serving/understudy/report/reporttest"
	"github.com/understudy-serving/understudy/sink"
)

const (
	// envKit is an interpreter that has the consumer kit's requirements, with its stubs made.
	envKit        = "KIT_PYTHON"
	reportRecords = 240_000
	tolerance     = 0.05
)

const reportSettings = `
models:
  - name: risk
    champion:   {target: "dns:///risk-v1:8081", version: "1"}
    challenger: {target: "dns:///risk-v2:8081", version: "2"}
    segments: [parameter:region]
    compare:
      - {output: probability, as: score, atol: %v, rtol: 0}
      - {output: label, as: class}
    gates: [{metric: disagreement, max: 2%%}, {metric: error-rate, allowedIncrease: 2pp}]
sink: {kafka: {brokers: [%q], topic: %q}}
store: {path: %q}
admin: {audit: %q}
`

// What the report says of a topic is what Python says of it: the gateway's own sink filled
// it, with records cut and doubled.
func TestReportAgainstPython(t *testing.T) {
	python := os.Getenv(envKit)
	if python == "" {
		t.Skipf("%s is not set; run `make report-check`", envKit)
	}
	broker := kafkatest.Start(t)[0]
	topic := kafkatest.Topic(t, []string{broker}, 6, nil)
	fill(t, broker, topic)
	dir := t.TempDir()
	file := filepath.Join(dir, "understudy.yaml")
	text := fmt.Sprintf(reportSettings, tolerance, broker, topic, filepath.Join(dir, "state.db"), filepath.Join(dir, "audit.jsonl"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := reported(t, file)
	began := time.Now()
	var want expected
	if err := json.Unmarshal([]byte(mustRun(t, "", python, "report_check.py", "../examples/consumer-python", broker, topic,
		"--score", "probability", "--label", "label", "--atol", fmt.Sprint(tolerance))), &want); err != nil {
		t.Fatal(err)
	}
	t.Logf("Python took %s", time.Since(began).Round(time.Second/10))
	want.check(t, got)
	out := mustRun(t, "", python, "../examples/consumer-python/load.py", "--brokers", broker, "--topic", topic)
	t.Logf("the consumer kit says: %.80s", out)
}

// fill writes records through a sink.
func fill(t *testing.T, broker, topic string) {
	t.Helper()
	s, err := sink.New(sink.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), MaxQueueBytes: 1 << 32,
		Kafka: sink.KafkaOptions{Brokers: []string{broker}, Topic: topic, Compression: "zstd"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range reporttest.Stream(reportRecords) {
		offer(t, s, p, i)
		for s.Snapshot().InFlight > 1000 {
			time.Sleep(time.Millisecond)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// offer records p; some without payloads, some twice.
func offer(t *testing.T, s *sink.Sink, p *recordv1.Prediction, i int) {
	for range 1 + i%1000/999 {
		x := reporttest.Exchange(t, p)
		if i%500 == 3 && x.Comparison != nil {
			x.Champion.Response, x.Challenger.Response = nil, nil
		}
		s.Accept()
		s.Record(x)
	}
}

// reported runs the report, as users do, and says what it took.
func reported(t *testing.T, file string) report.Rollout {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "understudy")
	mustRun(t, "", "go", "build", "-o", bin, "../cmd/understudy")
	var out bytes.Buffer
	cmd := exec.Command(bin, "report", "--config", file, "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, t.Output()
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	var r report.Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	t.Logf("understudy report: %d messages of %.0f bytes in %s, %.0f a second, %s of CPU, at most %d MiB of memory", r.Messages.Read,
		float64(r.Messages.Bytes)/float64(r.Messages.Read), took.Round(time.Second/100), float64(r.Messages.Read)/took.Seconds(),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Second/100), use.Maxrss>>10)
	t.Logf("%s", r.Summary)
	if len(r.Rollouts) != 1 || !r.Complete {
		t.Fatalf("%d rollouts, complete %v", len(r.Rollouts), r.Complete)
	}
	return r.Rollouts[0]
}

// expected is what report_check.py prints.
type expected struct {
	Records, Messages, Duplicates, Recomputed, Recorded, Disagree int64
	NotCompared                                                   int64 `json:"not compared"`
	Confusion                                                     map[string]int64
	Mean                                                          float64
	Latency                                                       map[string]report.Quantiles
}

func (want *expected) check(t *testing.T, got report.Rollout) {
	t.Helper()
	a := got.Agree
	for _, c := range []struct {
		name      string
		got, want int64
	}{{"records", got.Records, want.Records}, {"recomputed", a.Recomputed, want.Recomputed}, {"recorded", a.Recorded, want.Recorded},
		{"disagree", a.Disagree, want.Disagree}, {"not compared", got.Records - a.Compared, want.NotCompared}} {
		if c.got != c.want {
			t.Errorf("%s: %d, Python says %d", c.name, c.got, c.want)
		}
	}
	if want.Records != reportRecords || want.Disagree == 0 {
		t.Errorf("Python found %d records, %d of which disagree", want.Records, want.Disagree)
	}
	label, scores := got.Outputs[0], got.Outputs[1]
	for i, champion := range label.Confusion.Labels {
		for j, challenger := range label.Confusion.Labels {
			if n := want.Confusion[champion+" "+challenger]; label.Confusion.Counts[i][j] != n {
				t.Errorf("%s, %s: %d times, Python says %d", champion, challenger, label.Confusion.Counts[i][j], n)
			}
		}
	}
	if d := math.Abs(scores.Differences.Mean - want.Mean); d > 1e-9 {
		t.Errorf("mean difference %v, Python says %v", scores.Differences.Mean, want.Mean)
	}
	t.Logf("Python: %d records, %d of %d disagree, confusion %v, mean difference %.6g", want.Records, want.Disagree, a.Compared, want.Confusion, want.Mean)
	checkLatency(t, "champion", got.Arms.Champion.Latency, want.Latency)
	checkLatency(t, "challenger", got.Arms.Challenger.Latency, want.Latency)
}

func checkLatency(t *testing.T, arm string, got *report.Quantiles, want map[string]report.Quantiles) {
	t.Helper()
	q := want[arm]
	for _, c := range []struct {
		name      string
		got, want float64
	}{{"p50", got.P50, q.P50}, {"p90", got.P90, q.P90}, {"p95", got.P95, q.P95}, {"p99", got.P99, q.P99}} {
		off := math.Abs(c.got-c.want) / c.want
		if off > 0.01 {
			t.Errorf("%s's %s is %v, Python says %v", arm, c.name, c.got, c.want)
		}
		t.Logf("%s %s: %.6f s, exactly %.6f s, %.2f%% off", arm, c.name, c.got, c.want, 100*off)
	}
}
