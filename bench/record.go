package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// recording is what the sink's benchmark says of a 500 B record at 16 callers, in µs of
// CPU a record; nil where there was no Kafka.
type recording map[string]float64

// What stands there for compression and spool is what a gateway has that was told
// nothing else, but for the compression: zstd's own share is the user's to choose.
var recordLine = regexp.MustCompile(`(?m)^BenchmarkCPUPerRecord/500B/(\w+)/(\w+)/16callers\S*\s.*?([\d.]+) sink-cpu-ns/record`)

// measureRecording runs the sink's benchmark against a real Kafka.
func (b *bench) measureRecording(ctx context.Context) (recording, error) {
	b.t.say("recording: the sink's benchmark on a real Kafka (16 callers, 500 B)")
	records := "200000x"
	if b.quick {
		records = "30000x"
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "CPUPerRecord/500B/(none|zstd)/interval/16callers", "-benchtime", records, "./sink")
	cmd.Env = append(os.Environ(), "UNDERSTUDY_REQUIRE_KAFKA=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("recording is not measured: %w: %s", err, lastLine(string(out)))
	}
	return parseRecording(string(out)), nil
}

func parseRecording(text string) recording {
	r := recording{}
	for _, m := range recordLine.FindAllStringSubmatch(text, -1) {
		if ns, err := strconv.ParseFloat(m[3], 64); err == nil {
			r[m[1]+"/"+m[2]] = ns / 1000
		}
	}
	return r
}
