package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

const (
	// mostGarbage and leastGarbage bound how far the heap may grow between collections, in
	// percent of what lives. A gateway's heap is small and soon dead: four times Go's
	// default takes a tenth off the CPU of a request. A large one is large messages, in which
	// there is nothing to look for: an eighth of the default costs next to nothing.
	mostGarbage, leastGarbage = 400, 12
	// garbageBytes is what that comes to, as long as no more than as much lives. Where more
	// does, it is less: half as much beside twice as much.
	garbageBytes = 24 << 20
)

// tuneMemory lets the garbage collector rest while the heap is small, and keeps the
// process within its container. GOGC and GOMEMLIMIT in the environment have the last word.
//
// GOGC=400 with a memory limit would do while all is well; but once more lives than the
// limit, Go collects all the time, and that just when the gateway has the most to do.
func tuneMemory(env func(string) string) {
	if env("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(roomIn("/sys/fs/cgroup"))
	}
	if env("GOGC") == "" {
		debug.SetGCPercent(mostGarbage)
		afterEachCollection(mostGarbage)
	}
}

// afterEachCollection sets the pace of the next one, which is percent so far: an object
// that nobody holds is cleaned up by each collection.
func afterEachCollection(percent int) {
	type nobodys struct{ _ *int }
	runtime.AddCleanup(&nobodys{}, func(old int) {
		fresh := pace(liveHeap())
		// Setting it stops the world for a moment: not for a trifle.
		if old > fresh+fresh/8 || fresh > old+old/8 {
			debug.SetGCPercent(fresh)
			old = fresh
		}
		afterEachCollection(old)
	}, percent)
}

// pace is the GOGC for a heap of which live bytes are in use.
func pace(live uint64) int {
	percent := 100 * garbageBytes / float64(max(live, 1))
	if percent < 100 {
		percent *= percent / 100
	}
	return int(min(max(percent, leastGarbage), mostGarbage))
}

// liveHeap is what the last collection found in use.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// roomIn is nine tenths of what the container may have, by its cgroup (version 2): the
// rest is for what Go does not count. Outside of one there is no bound.
func roomIn(cgroup string) int64 {
	text, err := os.ReadFile(filepath.Join(cgroup, "memory.max"))
	if err != nil {
		return math.MaxInt64
	}
	most, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil { // "max"
		return math.MaxInt64
	}
	return most / 10 * 9
}
