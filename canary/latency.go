package canary

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// The latency grid: latencyEdges bucket edges from fastest to slowest, each
// 1.235 times the one before. It is fixed, so that counts of replicas and of past
// rollouts merge by addition.
const (
	latencyEdges = 64
	fastest      = 100 * time.Microsecond
	slowest      = 60 * time.Second
)

// latencyGrid holds the upper edges; never written again.
var latencyGrid = makeLatencyGrid()

func makeLatencyGrid() (g [latencyEdges]time.Duration) {
	ratio := math.Pow(float64(slowest)/float64(fastest), 1.0/(latencyEdges-1))
	for i := range g {
		g[i] = time.Duration(math.Round(float64(fastest) * math.Pow(ratio, float64(i))))
	}
	return g
}

// latencies counts call times on the grid. The last bucket is beyond slowest.
type latencies [latencyEdges + 1]atomic.Int64

func (l *latencies) observe(d time.Duration) {
	i, _ := slices.BinarySearch(latencyGrid[:], d)
	l[i].Add(1)
}

// quantiles estimates by the geometric middle of the bucket that holds the rank, which
// is off by at most 12 % between fastest and slowest. What is faster than fastest
// reads as fastest, what is slower than slowest as slowest.
func (l *latencies) quantiles() rollout.Quantiles {
	var counts [latencyEdges + 1]int64
	var total int64
	for i := range l {
		counts[i] = l[i].Load()
		total += counts[i]
	}
	if total == 0 {
		return rollout.Quantiles{}
	}
	at := func(q float64) time.Duration {
		rank := max(int64(math.Ceil(q*float64(total))), 1)
		for i, n := range counts {
			if rank -= n; rank <= 0 {
				return bucketMiddle(i)
			}
		}
		return slowest
	}
	return rollout.Quantiles{P50: at(0.50), P95: at(0.95), P99: at(0.99)}
}

// leastForTail is how many answers tell a 99th percentile.
const leastForTail = 1000

// tail estimates the 99th percentile, 0 before there are enough answers to tell. Inside its
// bucket the share of answers that take longer falls as a power of the time: a tail thins out,
// and to take it for even there makes the estimate some percent too large.
func (l *latencies) tail() time.Duration {
	var total float64
	for i := range l {
		total += float64(l[i].Load())
	}
	if total < leastForTail {
		return 0
	}
	slowest100th, beyond := total/100, 0.0 // answers
	for i := latencyEdges; i > 0; i-- {
		n := float64(l[i].Load())
		if beyond+n < slowest100th {
			beyond += n
			continue
		}
		if i == latencyEdges {
			return slowest
		}
		low, high := float64(latencyGrid[i-1]), float64(latencyGrid[i])
		past := max(beyond, 0.5) // half an answer where there is none
		part := math.Log((beyond+n)/slowest100th) / math.Log((beyond+n)/past)
		return time.Duration(low * math.Pow(high/low, part))
	}
	return fastest
}

func bucketMiddle(i int) time.Duration {
	switch {
	case i == 0:
		return fastest
	case i == latencyEdges:
		return slowest
	}
	return time.Duration(math.Sqrt(float64(latencyGrid[i-1]) * float64(latencyGrid[i])))
}
