package main

import (
	"fmt"
	"slices"
	"time"
)

// What a claim about latency takes.
const (
	// maxRatio is how much higher the p99 may be under a fault.
	maxRatio = 1.15
	// maxTwins is how far the p99s of two healthy gateways may be apart in a run that
	// is to count.
	maxTwins = 1.03
)

// race is the latencies of one run by gateway: two healthy ones and one under a fault.
type race struct{ control, twin, faulted []time.Duration }

// outcome of a race.
type outcome struct {
	// ratio is the faulted gateway's p99 to that of both healthy ones; twins is the
	// larger to the smaller p99 of these.
	ratio, twins              float64
	faulted, healthy          time.Duration
	samples                   int // of the gateway that has the fewest
	healthySmall, healthyHigh time.Duration
}

func (r race) judge() outcome {
	a, b := p99(r.control), p99(r.twin)
	o := outcome{
		faulted: p99(r.faulted), healthy: p99(slices.Concat(r.control, r.twin)),
		healthySmall: min(a, b), healthyHigh: max(a, b),
		samples: min(len(r.control), len(r.twin), len(r.faulted)),
	}
	if o.healthySmall > 0 {
		o.ratio = float64(o.faulted) / float64(o.healthy)
		o.twins = float64(o.healthyHigh) / float64(o.healthySmall)
	}
	return o
}

// decided tells whether the run counts.
func (o outcome) decided() bool { return o.samples > 0 && o.twins <= maxTwins }

func (o outcome) String() string {
	text := fmt.Sprintf("champion p99 %.2fx (%s to %s, two healthy gateways %.3fx apart, n = %d each)",
		o.ratio, millis(o.faulted), millis(o.healthy), o.twins, o.samples)
	if !o.decided() {
		text += ": undecided"
	}
	return text
}

// p99 is the nearest-rank 99th percentile; 0 of none.
func p99(d []time.Duration) time.Duration { return quantile(d, 0.99) }

func median(d []time.Duration) time.Duration { return quantile(d, 0.5) }

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	rank := int(q*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func mib(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
