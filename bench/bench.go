package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"google.golang.org/grpc"

	"github.com/understudy-serving/understudy/kafkatest"
)

// bench is what arms stand on: binaries, backends, a folder.
type bench struct {
	flags
	t   *table
	dir string

	self    string
	peers   []peer
	missing []string

	// Where the backends listen. Nobody does on dead.
	champion, challenger, slow, hung, dead string
	// limited are two models that answer at most as overload.go says.
	limited  [2]string
	backends *kafkatest.Process

	stands   []*standing
	messages map[int]*messages
}

// newBench builds and starts everything. Close it, whatever it returns.
func newBench(ctx context.Context, f flags, t *table) (*bench, error) {
	b := &bench{flags: f, t: t, messages: map[int]*messages{}}
	if _, err := os.Stat("go.mod"); err != nil {
		return b, errors.New("no go.mod here: run it from the module's root, as `make bench` does")
	}
	var err error
	if b.dir, err = os.MkdirTemp("", "understudy-bench-"); err != nil {
		return b, err
	}
	if b.self, err = os.Executable(); err != nil {
		return b, err
	}
	if err := b.findGateways(ctx); err != nil {
		return b, err
	}
	if err := b.startBackends(); err != nil {
		return b, err
	}
	b.peers, b.missing = findPeers(ctx, t.say)
	for _, m := range b.missing {
		t.say("%s", m)
	}
	return b, b.startArms(ctx)
}

// findGateways builds the gateway, unless one is named that is built.
func (b *bench) findGateways(ctx context.Context) (err error) {
	for _, file := range []*string{&b.gateway, &b.against} {
		if *file != "" {
			if *file, err = filepath.Abs(*file); err != nil {
				return err
			}
		}
	}
	if b.gateway != "" {
		return nil
	}
	b.gateway = filepath.Join(b.dir, "understudy")
	b.t.say("building the gateway")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.gateway, "./cmd/understudy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the gateway: %w\n%s", err, out)
	}
	return nil
}

func (b *bench) startBackends() (err error) {
	for _, addr := range []*string{&b.champion, &b.challenger, &b.slow, &b.hung, &b.dead, &b.limited[0], &b.limited[1]} {
		if *addr, err = freeAddr(); err != nil {
			return err
		}
	}
	b.backends, err = b.run(play{Dir: b.dir}, []string{b.self, "backend",
		b.champion + "=0s", b.challenger + "=0s", b.slow + "=200ms", b.hung + "=never",
		b.limited[0] + "=" + modelLimit, b.limited[1] + "=" + modelLimit})
	return err
}

func (b *bench) startArms(ctx context.Context) error {
	for _, a := range b.arms() {
		if !b.only.MatchString(a.name) && a.name != champion {
			continue
		}
		b.t.say("starting %s", a.name)
		s, err := b.start(ctx, a)
		b.stands = append(b.stands, s)
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) close() {
	for _, s := range b.stands {
		s.stop()
	}
	if b.backends != nil {
		b.backends.Signal(syscall.SIGKILL)
		<-b.backends.Done()
	}
	_ = os.RemoveAll(b.dir)
}

// ofSize makes messages once for each size.
func (b *bench) ofSize(size int) *messages {
	if b.messages[size] == nil {
		b.messages[size] = newMessages(size)
	}
	return b.messages[size]
}

// standing finds an arm by name; nil where it is left out.
func (b *bench) standing(name string) *standing {
	for _, s := range b.stands {
		if s.name == name {
			return s
		}
	}
	return nil
}

// machine is what was measured on.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// versions of all that was measured.
func (b *bench) versions() map[string]string {
	out := map[string]string{"grpc-go": grpc.Version}
	for _, p := range b.peers {
		out[p.name] = p.version
	}
	return out
}

func thisMachine() machine {
	m := describeMachine()
	m.Cores, m.Go = runtime.NumCPU(), strings.TrimPrefix(runtime.Version(), "go")
	return m
}

func freeAddr() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 15_000+rand.IntN(15_000)))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("no free port between 15000 and 30000")
}
