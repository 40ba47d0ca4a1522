package app

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/understudy-serving/understudy/spool"
)

// Two processes on one spool is a misconfiguration: the second one does not start, and
// says which folder.
func TestSpoolOfAnotherProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	owner, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	cfg := parse(t, t.TempDir(), "127.0.0.1:1", fmt.Sprintf(`sink: {kafka: {brokers: ["127.0.0.1:1"]}, spool: {dir: %q}}`, dir))
	_, err = New(cfg, quiet())
	if !errors.Is(err, spool.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("New beside an owner: %v", err)
	}
	if _, err := DrainSpool(t.Context(), cfg, slog.New(slog.DiscardHandler), nil); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("DrainSpool beside an owner: %v", err)
	}
	if _, err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, cfg)
}

func TestDrainWithoutASpool(t *testing.T) {
	cfg := parse(t, t.TempDir(), "127.0.0.1:1", `sink: {kafka: {brokers: ["127.0.0.1:1"]}}`)
	if _, err := DrainSpool(t.Context(), cfg, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "sink.spool") {
		t.Errorf("got %v", err)
	}
}
