package main

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
)

func TestCPUAndMemoryOfATree(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p, err := kafkatest.Spawn(null, "sh", "-c", "sleep 60 & while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.Signal(9); <-p.Done() }()
	var of tree
	for began := time.Now(); len(of) < 2 && time.Since(began) < 10*time.Second; of = treeOf(p.PID()) {
		time.Sleep(5 * time.Millisecond)
	}
	if len(of) != 2 || !slices.Contains(of, p.PID()) {
		t.Fatalf("tree %v of %d, want it and its child", of, p.PID())
	}
	defer func() { child, _ := os.FindProcess(of[1]); _ = child.Kill() }()
	before, err := of.cpu()
	for began := time.Now(); err == nil && time.Since(began) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		var now time.Duration
		if now, err = of.cpu(); now-before > 20*time.Millisecond {
			break
		}
	}
	if now, _ := of.cpu(); err != nil || now-before <= 20*time.Millisecond {
		t.Errorf("a busy loop used %s: %v", now-before, err)
	}
	if of.forget(); of.peak() < 100<<10 {
		t.Errorf("a peak of %d bytes", of.peak())
	}
	if _, err := (tree{1<<22 - 1}).cpu(); err == nil {
		t.Error("a process that is not there has a clock")
	}
}
