package demo

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/rollout"
)

func splitPort(t *testing.T, addr string) (string, int) {
	t.Helper()
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// The file that the demo prints the path of is one that a user can start from.
func TestTheConfigIsAUsersConfig(t *testing.T) {
	dir := t.TempDir()
	text, err := settings{
		GRPCPort: 8081, AdminPort: 8082, Broker: "127.0.0.1:9092", Dir: dir, Step: 1500 * time.Millisecond,
		Act1: targets{act1Model, "127.0.0.1:1", "127.0.0.1:2"}, Act2: targets{act2Model, "127.0.0.1:3", "127.0.0.1:4"},
		Act3a: targets{act3aModel, "127.0.0.1:5", "127.0.0.1:6"}, Act3b: targets{act3bModel, "127.0.0.1:7", "127.0.0.1:8"},
	}.yaml()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("demo", text)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings()) > 0 {
		t.Errorf("warnings: %v", cfg.Warnings())
	}
	if len(cfg.Models) != 4 || cfg.Models[0].Plan[0].Bake != 1500*time.Millisecond || cfg.Models[1].Challenger.Timeout != hangTimeout ||
		cfg.Models[1].Breaker.ConsecutiveFailures != consecutiveFailures {
		t.Errorf("models %+v", cfg.Models)
	}
	timed := slices.DeleteFunc(slices.Clone(cfg.Models[0].Plan), func(s rollout.Step) bool { return s.Kind == rollout.StepSetWeight })
	if len(timed) != act1Steps {
		t.Errorf("act 1 has %d steps, want %d", len(timed), act1Steps)
	}
	if got := cfg.Models[3].Rules.Segments; len(got) != 1 || got[0] != "parameter:"+clinicKey {
		t.Errorf("segments %q", got)
	}
	golden(t, "understudy.yaml", strings.ReplaceAll(string(text), dir, "/tmp/understudy-demo"))
}

func TestChoosePort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, busy := splitPort(t, taken.Addr().String())
	free := freePort(0)
	if got := choosePort(1234, free, false); got != 1234 {
		t.Errorf("asked for 1234, got %d", got)
	}
	if got := choosePort(0, free, true); got != 0 {
		t.Errorf("once: %d, want 0", got)
	}
	if got := choosePort(0, free, false); got != free {
		t.Errorf("the usual port %d is free, got %d", free, got)
	}
	if got := choosePort(0, busy, false); got == busy || got == 0 {
		t.Errorf("the usual port is taken, got %d", got)
	}
}

func TestAFolderInUseIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openHouse(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("%v, want that the folder is not empty", err)
	}
	h := &house{}
	fresh := filepath.Join(dir, "fresh")
	if err := h.openDir(fresh); err != nil || h.dir != fresh {
		t.Errorf("new folder: %v", err)
	}
	h.close()
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("a folder that was asked for is gone: %v", err)
	}
	temporary := &house{}
	if err := temporary.openDir(""); err != nil {
		t.Fatal(err)
	}
	temporary.close()
	if _, err := os.Stat(temporary.dir); !os.IsNotExist(err) {
		t.Errorf("the temporary folder is still there: %v", err)
	}
}
