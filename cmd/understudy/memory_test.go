package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {4 << 20, 400}, {6 << 20, 400}, {12 << 20, 200}, {24 << 20, 100}, {48 << 20, 25}, {128 << 20, 12}, {1 << 40, 12}} {
		if got := pace(c.live); got != c.want {
			t.Errorf("%d MiB live: %d, want %d", c.live>>20, got, c.want)
		}
	}
}

func setGC(percent int) (before int) { return debug.SetGCPercent(percent) }

// What lives decides, at each collection anew; the environment has the last word.
func TestCollectionsFollowTheHeap(t *testing.T) {
	percent, limit := setGC(77), debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		setGC(percent)
		debug.SetMemoryLimit(limit)
	})
	tuneMemory(func(string) string { return "set" })
	if got := setGC(77); got != 77 || debug.SetMemoryLimit(-1) != limit {
		t.Errorf("GOGC %d, limit %d in spite of the environment", got, debug.SetMemoryLimit(-1))
	}
	tuneMemory(func(string) string { return "" })
	if got := setGC(mostGarbage); got != mostGarbage {
		t.Errorf("GOGC %d at the start", got)
	}
	held := make([]byte, 200<<20)
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		got := setGC(leastGarbage)
		if got == leastGarbage {
			break
		}
		setGC(got)
		if time.Since(began) > 10*time.Second {
			t.Fatalf("GOGC %d with %d MiB live", got, len(held)>>20)
		}
	}
	runtime.KeepAlive(held)
}

func TestRoomInAContainer(t *testing.T) {
	dir := t.TempDir()
	if got := roomIn(dir); got != math.MaxInt64 {
		t.Errorf("no cgroup: %d", got)
	}
	for text, want := range map[string]int64{"max\n": math.MaxInt64, "1000000000\n": 900_000_000, "": math.MaxInt64} {
		if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := roomIn(dir); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
