package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
)

// gateway is an understudy process on ports of its own, which it keeps over restarts.
type gateway struct {
	name, binary, dir string
	play              play
	proc              *kafkatest.Process
}

// play is what gateways differ in.
type play struct {
	GRPC, Admin          string
	Champion, Challenger string
	Broker, Topic        string
	// Dir holds state and audit log, Spool the spool.
	Dir, Spool string
	// SpoolBytes and Fsync are the spool's maxBytes and fsync.
	SpoolBytes, Fsync string
}

var script = template.Must(template.New("yaml").Parse(`listen: {grpc: "{{.GRPC}}", admin: "{{.Admin}}"}
models:
  - name: risk
    champion:   {target: "{{.Champion}}", model: risk-v1, version: "1"}
    challenger: {target: "{{.Challenger}}", model: risk-v2, version: "2"}
    compare:
      - {output: probability, as: score, atol: 0.1}
      - {output: label, as: class}
    shadow: {sample: 100%, maxInFlight: 1024}
    gates: []
    plan: [{shadow: {bake: 10h}}, {setWeight: 50}, {pause: {}}]
sink:
  kafka: {brokers: ["{{.Broker}}"], topic: {{.Topic}}}
{{template "spool" .}}
store: {path: "{{.Dir}}/state.db"}
admin: {audit: "{{.Dir}}/audit.jsonl"}
shutdown: 25s
`))

// The one place that knows how the spool is configured.
var _ = template.Must(script.New("spool").Parse(
	`  spool: {dir: "{{.Spool}}", maxBytes: {{.SpoolBytes}}, fsync: {{.Fsync}}}`))

// gateway makes a gateway that records to a topic of its own. by is the address that it
// knows the broker under. It does not run yet.
func (r *rig) gateway(ctx context.Context, name string, b *broker, by string, change func(*play)) (*gateway, error) {
	g := &gateway{name: r.name(name), binary: r.binary}
	var err error
	if g.dir, err = r.folder("gateway-" + name); err != nil {
		return nil, err
	}
	g.play = play{
		Champion: r.champion.Addr(), Challenger: r.challenger.Addr(), Broker: by, Topic: "predictions-" + g.name,
		Dir: g.dir, Spool: filepath.Join(g.dir, "spool"), SpoolBytes: "4GiB", Fsync: "interval",
	}
	for _, addr := range []*string{&g.play.GRPC, &g.play.Admin} {
		if *addr, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	if change != nil {
		change(&g.play)
	}
	var yaml bytes.Buffer
	if err := script.Execute(&yaml, g.play); err != nil {
		return nil, err
	}
	if err := os.WriteFile(g.file("understudy.yaml"), yaml.Bytes(), 0o644); err != nil {
		return nil, err
	}
	return g, b.createTopic(ctx, g.play.Topic)
}

// serving is gateway, started and ready, and ended with the row.
func (r *rig) serving(ctx context.Context, name string, b *broker, by string, change func(*play)) (*gateway, error) {
	g, err := r.gateway(ctx, name, b, by, change)
	if err != nil {
		return nil, err
	}
	if err := g.start(); err != nil {
		return nil, err
	}
	r.after(g.kill)
	return g, g.awaitReady(ctx)
}

func (g *gateway) file(name string) string { return filepath.Join(g.dir, name) }

// start starts the process and waits for nothing.
func (g *gateway) start() error {
	log, err := os.OpenFile(g.file("log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	g.proc, err = kafkatest.Spawn(log, g.binary, "serve", "--config", g.file("understudy.yaml"))
	return err
}

// awaitReady returns when /readyz says yes.
func (g *gateway) awaitReady(ctx context.Context) error {
	probe := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ended := false
	err := await(ctx, "the gateway "+g.name+" is ready", startPatience, func() (bool, string) {
		select {
		case <-g.proc.Done():
			ended = true
			return true, ""
		default:
		}
		resp, err := probe.Get("http://" + g.play.Admin + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
	if err != nil || ended {
		return fmt.Errorf("%w: gateway %s: %s", errorOr(err, "it ended at its start"), g.name, g.logTail())
	}
	return nil
}

func errorOr(err error, text string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s", text)
}

// kill ends the process at once.
func (g *gateway) kill() {
	if g.proc != nil {
		g.proc.Signal(syscall.SIGKILL)
		<-g.proc.Done()
	}
}

// terminate asks the process to end and returns how long it took. The error is there
// unless it ended with exit code 0.
func (g *gateway) terminate(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	g.proc.Signal(syscall.SIGTERM)
	select {
	case <-g.proc.Done():
	case <-time.After(stopPatience):
		return time.Since(began), fmt.Errorf("gateway %s still runs %s after SIGTERM: %s", g.name, stopPatience, g.logTail())
	case <-ctx.Done():
		return time.Since(began), context.Cause(ctx)
	}
	if g.proc.Err() != nil {
		return time.Since(began), fmt.Errorf("gateway %s ended with %w: %s", g.name, g.proc.Err(), g.logTail())
	}
	return time.Since(began), nil
}

// logTail returns the last lines of the gateway's log.
func (g *gateway) logTail() string {
	text, err := os.ReadFile(g.file("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " / ")
}

// rss returns the process's resident memory in bytes.
func (g *gateway) rss() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.proc.PID()))
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("statm of gateway %s: %w", g.name, err)
	}
	return resident * int64(os.Getpagesize()), nil
}
