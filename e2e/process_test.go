package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/demo/modelserver"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// program builds the binary that users run.
var program = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs("../build/e2e/understudy")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", path, "../cmd/understudy").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

var (
	healthy = modelserver.Healthy()
	slowly  = modelserver.Slow(500 * time.Millisecond)
)

// process is the gateway as a process of its own, on fixed ports so that it can be
// restarted under its clients.
type process struct {
	*theatre
	cmd  *exec.Cmd
	file string
	log  bytes.Buffer
}

// spawn opens a theatre whose gateway is a separate process.
func spawn(t *testing.T) *process {
	t.Helper()
	return spawnOn(t, stub(t), nil)
}

func spawnOn(t *testing.T, brokers []string, change func(*play)) *process {
	t.Helper()
	th := open(t, brokers, change) // in-process first: servers, topic and directory are its
	if err := th.stop(); err != nil {
		t.Fatal(err)
	}
	grpcAddr, adminAddr := freeAddr(t), freeAddr(t)
	yaml := strings.Replace(string(th.yaml()), `grpc: "127.0.0.1:0", admin: "127.0.0.1:0"`,
		`grpc: "`+grpcAddr+`", admin: "`+adminAddr+`"`, 1)
	p := &process{theatre: th, file: th.path("understudy.yaml")}
	if err := os.WriteFile(p.file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run()
	th.connect(grpcAddr, adminAddr)
	t.Cleanup(func() { _ = th.conn.Close() })
	return p
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (p *process) run() {
	p.t.Helper()
	path, err := program()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(path, "serve", "--config", p.file)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd := p.cmd
	p.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

func (p *process) awaitReady() {
	p.t.Helper()
	p.eventually("the process is ready", func() bool {
		_, err := p.admin.GetRollout(context.Background(), &adminv1.GetRolloutRequest{Model: "risk"})
		return err == nil && p.infer(context.Background(), 0).err == nil
	})
}

// A rollback outlives a process that is killed, and SIGTERM ends one that has delivered
// everything.
func TestProcessKilledWhileRolledBack(t *testing.T) {
	p := spawn(t)
	p.awaitReady()
	p.canary(50)
	p.mustServe(0, 100)
	faults["errors"](p.theatre)
	p.eventually("rollback", func() bool {
		p.mustServe(100, 20)
		return p.rollout().Mode == adminv1.Mode_MODE_ROLLED_BACK && p.metric("understudy_rollout_unstored") == 0
	})
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	p.challenger.SetFault(healthy)
	before := p.challenger.Counts().Total()
	start := time.Now()
	p.run()
	p.awaitReady()
	t.Logf("ready again after %s", time.Since(start))
	if got := p.rollout().Mode; got != adminv1.Mode_MODE_ROLLED_BACK {
		t.Errorf("mode %s after the restart, want rolled back", got)
	}
	p.mustServe(0, 200)
	if got := p.challenger.Counts().Total() - before; got != 0 {
		t.Errorf("%d calls reached the rolled-back challenger", got)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.log.String())
	}
}

// No client call fails while SIGTERM drains the process.
func TestTermUnderLoad(t *testing.T) {
	p := spawn(t)
	p.awaitReady()
	p.champion.SetFault(slowly)
	replies := make(chan []reply)
	go func() { replies <- p.send(0, 16) }()
	p.eventually("all calls are on their way", func() bool { return len(p.champion.Calls()) >= 17 })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, r := range <-replies {
		if r.err != nil {
			t.Errorf("a call that was accepted before SIGTERM failed: %v", r.err)
		}
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.log.String())
	}
}

// SIGHUP takes a new file over; a broken one changes nothing.
func TestReload(t *testing.T) {
	p := spawn(t)
	p.awaitReady()
	good, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	hangUp := func(yaml string) {
		if err := os.WriteFile(p.file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	seen := p.rollout().Revision
	hangUp("models: [")
	p.mustServe(0, 50)
	hangUp(strings.Replace(string(good), "model: risk-v2, version: \"2\"", "model: risk-v2, version: \"3\"", 1))
	p.eventually("the new challenger's rollout", func() bool { return p.rollout().Challenger.Version == "3" })
	if got := p.rollout(); got.Revision <= seen || got.Mode != adminv1.Mode_MODE_SHADOW {
		t.Errorf("revision %d (was %d), mode %s: want a new rollout in shadow", got.Revision, seen, got.Mode)
	}
	p.mustServe(0, 50)
}

// An invalid file ends a start with exit code 2 and says where it is wrong.
func TestInvalidConfigExits2(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte("models:\n  - name: risk\n    champoin: {target: a:1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"serve", "check"} {
		out, err := exec.Command(path, verb, "--config", file).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "bad.yaml:3") {
			t.Errorf("%s: %v, %s: want exit code 2 and the line", verb, err, out)
		}
	}
}
