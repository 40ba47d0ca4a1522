package canary

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

func TestFiguresCountAsAssigned(t *testing.T) {
	e := NewEvidence(rollout.State{Entered: 7}, nil, nil)
	ms := time.Millisecond
	for _, o := range []rollout.Outcome{
		{Arm: rollout.Champion, Latency: 5 * ms, Entered: 7},
		{Arm: rollout.Champion, Code: rollout.Unavailable, Entered: 7},
		{Arm: rollout.Champion, Code: rollout.InvalidArgument, Entered: 7},
		{Arm: rollout.Champion, Code: rollout.Unavailable, Blame: rollout.OnCaller, Entered: 7},
		{Arm: rollout.Challenger, Latency: 9 * ms, Entered: 7},
		{Arm: rollout.Challenger, Code: rollout.Internal, Blame: rollout.OnChallenger, Diverted: rollout.Fallback, Entered: 7},
		{Arm: rollout.Challenger, Code: rollout.InvalidArgument, Blame: rollout.OnCaller, Diverted: rollout.Fallback, Entered: 7}, // nor did the champion take it
		{Arm: rollout.Challenger, Diverted: rollout.Cap, Entered: 7},
		{Arm: rollout.Challenger, Latency: 9 * ms, Entered: 6}, // routed at the step before
		{Arm: rollout.Challenger, Mirrored: true, Paired: true, Latency: 3 * ms, Entered: 7},
		{Arm: rollout.Challenger, Mirrored: true, Paired: true, Latency: 3 * ms, Entered: 6},
		{Arm: rollout.Challenger, Mirrored: true, Latency: 3 * ms, Entered: 7}, // the champion had no answer
		{Arm: rollout.Challenger, Mirrored: true, Code: rollout.Unavailable, Blame: rollout.OnChallenger, Entered: 7},
	} {
		e.Observe(o)
	}
	f := e.Figures()
	if f.Champion.Requests != 4 || f.Champion.Failures != 1 {
		t.Errorf("champion: %+v", f.Champion)
	}
	if f.Challenger.Requests != 5 || f.Challenger.Failures != 1 || f.Fallbacks != 1 {
		t.Errorf("challenger: %+v, %d fallbacks", f.Challenger, f.Fallbacks)
	}
	if f.Mirror.Sent != 4 || f.Mirror.Failures != 1 {
		t.Errorf("mirror: %+v", f.Mirror)
	}
	want := rollout.Progress{Entered: 7, Elapsed: time.Second, Routed: 108, Answered: 11, Pairs: 1}
	if p := e.progress(rollout.Progress{Entered: 7, Elapsed: time.Second, Routed: 100, Answered: 10}); p != want {
		t.Errorf("progress %+v, want %+v", p, want)
	}
}

func TestAStepBeginsWithoutCounts(t *testing.T) {
	e := NewEvidence(rollout.State{Entered: 7}, nil, nil)
	e.Observe(rollout.Outcome{Arm: rollout.Champion, Entered: 7})
	e.enter(rollout.State{Entered: 8})
	e.Observe(rollout.Outcome{Arm: rollout.Champion, Entered: 7})
	e.Observe(rollout.Outcome{Arm: rollout.Champion, Entered: 8})
	if p := e.progress(rollout.Progress{Entered: 8}); p.Routed != 1 {
		t.Errorf("%d routed at the new step, want 1", p.Routed)
	}
	if f := e.Figures(); f.Champion.Requests != 3 {
		t.Errorf("%d requests in the rollout, want 3", f.Champion.Requests)
	}
}

func TestSkippedAndCompared(t *testing.T) {
	e := NewEvidence(rollout.State{Entered: 1}, nil, nil)
	for _, r := range []rollout.Reason{rollout.Shed, rollout.Shed, rollout.NotSampled, "never heard of"} {
		e.Skipped(r)
	}
	e.compare(&rollout.Comparison{Agree: true})
	e.compare(&rollout.Comparison{})
	e.compare(&rollout.Comparison{Error: "datatype"})
	f := e.Figures().Mirror
	if f.Skipped[rollout.Shed] != 2 || f.Skipped[rollout.NotSampled] != 1 || f.Skipped["other"] != 1 || len(f.Skipped) != 3 {
		t.Errorf("skipped %v", f.Skipped)
	}
	if f.Compared != 3 || f.Disagreed != 2 {
		t.Errorf("%d of %d disagreed", f.Disagreed, f.Compared)
	}
}

// TestQuantilesAreWithinTheirBound holds the estimates against the exact order statistics.
func TestQuantilesAreWithinTheirBound(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var l latencies
	all := make([]time.Duration, 10_000)
	for i := range all {
		all[i] = time.Duration(float64(5*time.Millisecond) * (0.2 + random.ExpFloat64()))
		l.observe(all[i])
	}
	slices.Sort(all)
	got := l.quantiles()
	for q, v := range map[float64]time.Duration{0.5: got.P50, 0.95: got.P95, 0.99: got.P99} {
		exact := all[int(q*float64(len(all)))-1]
		if ratio := float64(v) / float64(exact); ratio < 1/1.12 || ratio > 1.12 {
			t.Errorf("p%v: %s, exactly %s", 100*q, v, exact)
		}
	}
}

func TestQuantilesAtTheEnds(t *testing.T) {
	var l latencies
	if got := l.quantiles(); got != (rollout.Quantiles{}) {
		t.Errorf("of nothing: %+v", got)
	}
	l.observe(time.Nanosecond)
	if got := l.quantiles(); got.P99 != fastest {
		t.Errorf("of 1 ns: %+v", got)
	}
	var slow latencies
	slow.observe(time.Hour)
	if got := slow.quantiles(); got.P50 != slowest {
		t.Errorf("of 1 h: %+v", got)
	}
	if latencyGrid[0] != fastest || latencyGrid[latencyEdges-1] != slowest {
		t.Errorf("the grid runs from %s to %s", latencyGrid[0], latencyGrid[latencyEdges-1])
	}
}

func TestConcurrentObservationsAllCount(t *testing.T) {
	e := NewEvidence(rollout.State{Entered: 1}, nil, nil)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for i := range 1000 {
				e.Observe(rollout.Outcome{Arm: rollout.Challenger, Latency: time.Duration(i) * time.Microsecond, Entered: 1})
				if i%100 == 0 {
					e.Figures()
				}
			}
		})
	}
	writers.Wait()
	if p := e.progress(rollout.Progress{Entered: 1}); p.Routed != 8000 || p.Answered != 8000 {
		t.Errorf("%+v", p)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	e := NewEvidence(rollout.State{Entered: 1}, nil, nil)
	o := rollout.Outcome{Arm: rollout.Challenger, Latency: time.Millisecond, Entered: 1}
	if n := testing.AllocsPerRun(1000, func() { e.Observe(o); e.Skipped(rollout.Shed) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	e := NewEvidence(rollout.State{Entered: 1}, nil, nil)
	o := rollout.Outcome{Arm: rollout.Challenger, Latency: 7 * time.Millisecond, Entered: 1}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e.Observe(o)
		}
	})
}

// The tail is what the tail gate measures by: a bucket's edge would be off by a fifth.
func TestTail(t *testing.T) {
	var l latencies
	if l.tail() != 0 {
		t.Error("a tail of nothing")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const buckets = 10
	var off float64
	for i := range buckets { // at as many places inside a bucket, for an error that has a direction
		l = latencies{}
		var all []time.Duration
		for range 20_000 {
			d := time.Duration(float64(20*time.Millisecond) * math.Pow(1.235, float64(i)/buckets) * math.Exp(0.5*rng.NormFloat64()))
			all = append(all, d)
			l.observe(d)
		}
		slices.Sort(all)
		want := float64(all[len(all)*99/100])
		got := float64(l.tail())
		if math.Abs(got-want) > 0.02*want {
			t.Errorf("p99 %v, want about %v", time.Duration(got), time.Duration(want))
		}
		off += (got - want) / want / buckets
	}
	if math.Abs(off) > 0.005 {
		t.Errorf("%.2f%% off on average", 100*off)
	}
	l = latencies{}
	for range leastForTail {
		l.observe(time.Hour)
	}
	if l.tail() != slowest {
		t.Errorf("beyond the grid: %v", l.tail())
	}
}
