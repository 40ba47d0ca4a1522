package canary

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// show is evidence under a clock that the test turns.
type show struct {
	*Evidence
	state rollout.State
	now   time.Duration
	key   int
}

// errorGate allows the challenger so many failures more than the champion, absolutely.
func errorGate(margin float64) rollout.Gate {
	return rollout.Gate{Metric: rollout.ErrorRate, Margin: margin, Horizon: 5 * time.Second, Share: 1, MinRequests: 10,
		InShadow: true, InCanary: true, OnFail: rollout.RollBack}
}

func playing(mode rollout.Mode, w rollout.Weight, gates ...rollout.Gate) *show {
	s := &show{state: rollout.State{Model: "fraud", Rollout: 1, Entered: 2, Mode: mode, Weight: w, Challenger: v2,
		Rules: rollout.Rules{Alpha: 0.01, Gates: gates, MaxCohorts: 2, Segments: []string{"parameter:region"}}}}
	s.Evidence = NewEvidence(s.state, func() time.Duration { return s.now }, nil)
	return s
}

// route stamps a request without a key, unless r has one.
func (s *show) route(r rollout.Routing) rollout.Outcome {
	if r.Keyed = r.Key != ""; !r.Keyed {
		s.key++
		r.Key = fmt.Sprint("id ", s.key)
	}
	r.Entered, r.Weight = s.state.Entered, s.state.Weight
	return rollout.Outcome{Arm: r.Arm, Entered: r.Entered, Weight: r.Weight, Stamp: s.Route(r), Age: time.Millisecond}
}

// broken is o as a failure by its arm's own fault.
func broken(o rollout.Outcome) rollout.Outcome {
	o.Code = rollout.Unavailable
	if o.Arm == rollout.Challenger {
		o.Blame = rollout.OnChallenger
	}
	return o
}

// copied is the outcome of the copy of a request in shadow.
func copied(o rollout.Outcome, c *rollout.Comparison) rollout.Outcome {
	o.Arm, o.Mirrored, o.Comparison, o.Paired, o.Age = rollout.Challenger, true, c, c != nil, 10*time.Millisecond
	return o
}

// counts are those of gate i for a cohort, "" for all, once all is old enough.
func (s *show) counts(i int, segment string) rollout.GateCounts {
	s.now += time.Minute
	for _, r := range s.judge(s.state, true).Gates {
		if r.Gate.Name() == s.state.Rules.Gates[i].Name() && r.Segment == segment {
			return r.Counts
		}
	}
	return rollout.GateCounts{}
}

func TestRequestsAreJudgedAtOneAge(t *testing.T) {
	s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
	// The challenger fails at once, the champion by timeouts: both shares are one in two.
	slow := make([]rollout.Outcome, 0, 100)
	for range 100 {
		s.Observe(broken(s.route(rollout.Routing{Arm: rollout.Challenger})))
		s.Observe(s.route(rollout.Routing{Arm: rollout.Challenger}))
		slow = append(slow, s.route(rollout.Routing{Arm: rollout.Champion}))
		s.Observe(s.route(rollout.Routing{Arm: rollout.Champion}))
	}
	s.now = 4 * time.Second
	for _, o := range slow {
		o.Age = 4 * time.Second
		s.Observe(broken(o))
	}
	if r := s.judge(s.state, false).Gates[0]; r.Counts != (rollout.GateCounts{}) {
		t.Fatalf("counted before the age: %+v", r.Counts)
	}
	s.now = 5 * time.Second
	want := rollout.GateCounts{Champion: 200, ChampionBad: 100, Challenger: 200, ChallengerBad: 100}
	if r := s.judge(s.state, false).Gates[0]; r.Counts != want || r.Verdict == rollout.Fail {
		t.Errorf("%+v, %s, want %+v", r.Counts, r.Verdict, want)
	}
}

func TestCohortsAreTheFirstThatCome(t *testing.T) {
	s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
	regions := []string{"eu", "us", "eu", "asia", "africa", ""}
	for _, region := range regions {
		s.Observe(broken(s.route(rollout.Routing{Arm: rollout.Challenger, Segments: [rollout.MaxSegmentSources]string{region}})))
	}
	for segment, want := range map[string]int64{"": 6, "region=eu": 2, "region=us": 1, "region=other": 2} {
		if got := s.counts(0, segment); got.ChallengerBad != want {
			t.Errorf("cohort %q: %+v, want %d", segment, got, want)
		}
	}
	long := strings.Repeat("x", 1000)
	s = playing(rollout.ModeCanary, 5000, errorGate(0.02))
	for range 2 {
		s.Observe(s.route(rollout.Routing{Arm: rollout.Challenger, Segments: [rollout.MaxSegmentSources]string{long}}))
	}
	if got := s.counts(0, "region=other"); got.Challenger != 2 {
		t.Errorf("a value that is no name: %+v", got)
	}
}

// A full ring leaves requests out, before anything is known of them, and goes on later.
func TestAFullRingLeavesOut(t *testing.T) {
	s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
	var first rollout.Outcome
	for i := range ringSize + 10 {
		o := s.route(rollout.Routing{Arm: rollout.Challenger})
		if i == 0 {
			first = o
		}
		if (o.Stamp == 0) != (i >= ringSize) {
			t.Fatalf("request %d has stamp %d", i, o.Stamp)
		}
	}
	s.now = time.Minute
	j := s.judge(s.state, false)
	if j.Uncounted != 10 || j.Gates[0].Counts.Challenger != ringSize {
		t.Errorf("%d uncounted, %+v", j.Uncounted, j.Gates[0].Counts)
	}
	// The result of a request that was judged long ago must not hit its slot's next tenant.
	o := s.route(rollout.Routing{Arm: rollout.Challenger})
	s.Observe(broken(first))
	s.Observe(o)
	s.now += time.Minute
	if got := s.judge(s.state, false).Gates[0].Counts; got.Challenger != ringSize+1 || got.ChallengerBad != 0 {
		t.Errorf("%+v", got)
	}
}

// Writers on all processors, a judge, and every request counted once.
func TestNoRequestIsCountedTwiceOrLost(t *testing.T) {
	s := playing(rollout.ModeCanary, 5000, errorGate(0.5))
	s.state.Rules.Gates[0].Horizon = time.Nanosecond
	began := time.Now()
	s.Evidence = NewEvidence(s.state, func() time.Duration { return time.Since(began) }, nil)
	const writers, each = 4, 30_000
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				r := rollout.Routing{Arm: rollout.Challenger, Key: fmt.Sprint(w, " ", i), Entered: 2, Weight: 5000}
				o := rollout.Outcome{Arm: r.Arm, Entered: 2, Stamp: s.Route(r)}
				if rng.IntN(2) == 0 {
					o = broken(o)
				}
				s.Observe(o)
			}
		})
	}
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		s.judge(s.state, false)
	}
	time.Sleep(time.Millisecond) // the last one, too, is older than its horizon
	j := s.judge(s.state, false)
	if got := j.Gates[0].Counts.Challenger + j.Uncounted; got != writers*each {
		t.Errorf("%d counted and %d left out of %d", j.Gates[0].Counts.Challenger, j.Uncounted, writers*each)
	}
}

func TestEvidenceGoesOnFromItsCheckpoint(t *testing.T) {
	s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
	for i := range 300 {
		o := s.route(rollout.Routing{Arm: rollout.Challenger, Segments: [rollout.MaxSegmentSources]string{"eu"}})
		if i%10 == 0 {
			o = broken(o)
		}
		s.Observe(o)
	}
	s.Observe(broken(s.route(rollout.Routing{Arm: rollout.Challenger, Key: "bad"})))
	before := s.counts(0, "region=eu")
	raw, changed, err := s.bench.encode()
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	if _, changed, _ := s.bench.encode(); changed {
		t.Error("what has not changed is stored again")
	}
	c := &Conductor{o: Options{}.withDefaults()}
	stored := c.decode(s.state, rollout.StoredEvidence{Rollout: 1, Version: 1, Checkpoint: raw})
	again := playing(rollout.ModeCanary, 5000, errorGate(0.02))
	again.Evidence = NewEvidence(s.state, func() time.Duration { return again.now }, stored)
	first, second := s.judge(s.state, true), again.judge(s.state, true)
	if fmt.Sprint(first.Gates) != fmt.Sprint(second.Gates) || again.counts(0, "region=eu") != before {
		t.Errorf("before %+v\nafter %+v", first.Gates, second.Gates)
	}
	again.Observe(broken(again.route(rollout.Routing{Arm: rollout.Challenger, Key: "bad"})))
	if got := again.counts(0, ""); got.Challenger != 301 {
		t.Errorf("the restart forgot a bad key: %+v", got)
	}
	if other := c.decode(rollout.State{Rollout: 9}, rollout.StoredEvidence{Rollout: 1, Version: 1, Checkpoint: raw}); other != nil {
		t.Error("evidence of another rollout was taken over")
	}
}

// What evidence costs a request: DESIGN allows a microsecond and no allocation.
func BenchmarkEvidence(b *testing.B) {
	s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
	r := rollout.Routing{Arm: rollout.Challenger, Key: "user-1234", Keyed: true, Entered: 2, Weight: 5000,
		Segments: [rollout.MaxSegmentSources]string{"eu"}}
	b.ReportAllocs()
	for b.Loop() {
		o := rollout.Outcome{Arm: r.Arm, Entered: 2, Weight: 5000, Latency: time.Millisecond, Age: time.Millisecond}
		o.Stamp = s.Route(r)
		s.Observe(o)
		if o.Stamp%ringSize == ringSize-1 { // off the path, so off the clock
			b.StopTimer()
			s.now += time.Minute
			s.judge(s.state, false)
			b.StartTimer()
		}
	}
}

func TestEvidenceMakesNoGarbage(t *testing.T) {
	s := playing(rollout.ModeCanary, 5000, errorGate(0.02))
	r := rollout.Routing{Arm: rollout.Challenger, Key: "user-1234", Keyed: true, Entered: 2, Weight: 5000,
		Segments: [rollout.MaxSegmentSources]string{"eu"}}
	if n := testing.AllocsPerRun(1000, func() {
		s.Observe(rollout.Outcome{Arm: r.Arm, Entered: 2, Weight: 5000, Latency: time.Millisecond, Stamp: s.Route(r)})
	}); n != 0 {
		t.Errorf("%v allocations a request, want none", n)
	}
}
