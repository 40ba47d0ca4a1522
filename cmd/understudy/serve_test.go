package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const serveConfig = `listen: {grpc: "127.0.0.1:0", admin: "%s"}
models:
  - name: spam
    champion: {target: "dns:///127.0.0.1:1", model: %s}
store: {path: %s}
admin: {audit: %s}
shutdown: 2s
`

// process is `understudy serve` as a process of its own.
type process struct {
	cmd         *exec.Cmd
	log         *awaited
	admin, file string
	dir         string
}

func startServe(t *testing.T) *process {
	t.Helper()
	dir := t.TempDir()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{log: newAwaited(), admin: lis.Addr().String(), file: filepath.Join(dir, "understudy.yaml"), dir: dir}
	lis.Close()
	p.write(t, "spam")
	path, err := exec.LookPath("understudy") // testscript.Main has put it there
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(path, "serve", "--config", p.file)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	p.log.await(t, "msg=serving")
	return p
}

func (p *process) write(t *testing.T, model string) {
	t.Helper()
	text := fmt.Sprintf(serveConfig, p.admin, model, filepath.Join(p.dir, "state.db"), filepath.Join(p.dir, "audit.jsonl"))
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestServe(t *testing.T) {
	p := startServe(t)
	if code, said := status("--admin", p.admin); code != exitOK || !strings.Contains(said, "spam   champion") {
		t.Errorf("status: %d %s", code, said)
	}
	res, err := http.Get("http://" + p.admin + "/healthz")
	if err != nil || res.StatusCode != 200 {
		t.Errorf("%v, %v", res, err)
	} else {
		res.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()

	p.write(t, "spam-of-today")
	p.signal(t, syscall.SIGHUP)
	p.log.await(t, "config reloaded")
	if _, said := status("--admin", p.admin, "spam"); !strings.Contains(said, "spam-of-today at dns:///127.0.0.1:1") {
		t.Errorf("after a reload: %s", said)
	}
	if err := os.WriteFile(p.file, []byte("models: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGHUP)
	p.log.await(t, "understudy.yaml:1")
	p.log.await(t, "the one before still serves")
	if _, said := status("--admin", p.admin, "spam"); !strings.Contains(said, "spam-of-today") {
		t.Errorf("after a reload that failed: %s", said)
	}

	p.signal(t, syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, p.log)
	}
	if !strings.Contains(p.log.String(), "a second signal exits at once") {
		t.Errorf("log: %s", p.log)
	}
}

func TestServeOfABrokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "understudy.yaml")
	if err := os.WriteFile(file, []byte("models: []\nstoer: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if code := run(context.Background(), []string{"serve", "--config", file}, &said, &said); code != exitInvalid || !strings.Contains(said.String(), "understudy.yaml:2: stoer") {
		t.Errorf("exit code %d, said %s", code, &said)
	}
	for want, args := range map[string][]string{
		"--config is missing": {"serve"},
		"want debug, info":    {"serve", "--config", file, "--log-level", "loud"},
		"want text or json":   {"serve", "--config", file, "--log-format", "xml"},
	} {
		said.Reset()
		if code := run(context.Background(), args, &said, &said); code != exitFailed || !strings.Contains(said.String(), want) {
			t.Errorf("%v: exit code %d, said %s", args, code, &said)
		}
	}
}

func TestSignals(t *testing.T) {
	received := make(chan os.Signal)
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	reloads, drains := 0, 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		handleSignals(ctx, received, slog.New(slog.NewTextHandler(&log, nil)), func() { drains++; cancel() }, func() error {
			reloads++
			if reloads == 2 {
				return errors.New("line 3 is wrong")
			}
			return nil
		})
	}()
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGHUP} {
		select {
		case received <- s:
		case <-time.After(10 * time.Second):
			t.Fatal("signals are not taken")
		}
	}
	close(received)
	<-done
	if reloads != 2 || drains != 1 || !strings.Contains(log.String(), "line 3 is wrong") {
		t.Errorf("%d reloads, %d drains: %s", reloads, drains, &log)
	}
}
