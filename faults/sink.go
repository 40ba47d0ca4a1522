package main

import (
	"context"
	"time"
)

// sinkRows are what can happen to records between the gateway and a consumer.
func sinkRows() []row {
	const (
		kept  = "0 acknowledged records lost, duplicates the same to the byte; no call fails; champion p99 ≤ 1.15x; memory and goroutines flat; drained after"
		limit = 30 * time.Minute
		quick = 3 * time.Minute
	)
	return []row{
		{"broker killed under load, and back", kept, limit, quick, duel{
			by:    direct,
			begin: func(_ context.Context, b *broker) error { b.Kill(); return nil },
			end:   func(_ context.Context, b *broker) error { return b.Restart() },
			long:  time.Minute, quick: 12 * time.Second,
		}.run},
		{"broker accepts, then hangs (SIGSTOP)", kept, limit, quick, duel{
			by:    direct,
			begin: func(_ context.Context, b *broker) error { return b.Pause() },
			end:   func(_ context.Context, b *broker) error { return b.Resume() },
			long:  time.Minute, quick: 12 * time.Second,
		}.run},
		{"broker behind a slow line", kept, limit, quick, onLine(
			quality{delay: 200 * time.Millisecond, bytesPerSecond: 64 << 10}, nil)},
		{"broker behind a line that cuts connections", kept, limit, quick, onLine(
			quality{cutAfter: 128 << 10}, func(b *broker, f *finding) {
				cuts := b.line.cut()
				f.check(cuts > 0, "%d connections cut so far", cuts)
			})},
		{"record larger than the topic takes (message.max.bytes)",
			"cut, flagged and delivered; the next record within 1 s; no retry loop; no call fails", limit, quick, tooLarge},
		{"spool's disk full (a small tmpfs)",
			"no call fails; drops counted, to the record; takes records again without a restart; 0 acknowledged records lost", limit, quick, diskFull},
		{"disk takes writes and fails their fsync (a thin disk without room)",
			"no call fails; the segment is abandoned and what it held copied from memory: 0 acknowledged records lost; drops counted, to the record", limit, quick, fsyncFails},
		{"writes and fsyncs fail (spool on a fault file system)",
			"the file is abandoned, a new one opened; nothing acknowledged falsely: 0 acknowledged records lost, uncounted or altered", limit, quick, diskErrors},
		{"power loss (a model of a file system that forgets)",
			"nothing that fsync promised lost, no phantom or altered record, it reopens", limit, quick, powerLost},
		{"a byte flipped, each in turn, of a small spool",
			"it starts; only that record lost, and counted", limit, quick, flipped},
		{"gateway killed (SIGKILL) under load, again and again",
			"0 acknowledged records lost; duplicates the same to the byte; ready again ≤ 2 s", limit, quick, killed},
		{"gateway ended (SIGTERM) under load, again and again",
			"no accepted call fails; each id on the topic exactly once; spool empty; exit code 0", limit, quick, rolled},
	}
}

func direct(b *broker) string { return b.Addr }

func byLine(b *broker) string { return b.line.addr() }

// onLine is a duel whose faulted gateway has a bad line to its broker.
func onLine(q quality, also func(*broker, *finding)) func(context.Context, *rig, *finding) error {
	set := func(q quality) func(context.Context, *broker) error {
		return func(_ context.Context, b *broker) error { b.line.set(q); return nil }
	}
	return duel{by: byLine, begin: set(q), end: set(quality{}), long: 30 * time.Second, quick: 10 * time.Second, also: also}.run
}
