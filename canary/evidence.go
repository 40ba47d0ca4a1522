package canary

import (
	"sync/atomic"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// Evidence counts what became of one rollout's requests on this replica. It is all
// atomic counters and sums: writers never wait for readers or for each other, and
// replicas' counts add up.
type Evidence struct {
	champion, challenger, mirrored armCounts
	fallbacks                      atomic.Int64
	compared, disagreed            atomic.Int64
	skipped                        [len(skipReasons)]atomic.Int64
	step                           atomic.Pointer[stepCounts]
	// bench is nil without a challenger.
	bench *bench
}

type armCounts struct {
	calls, failures atomic.Int64
	answered        latencies
}

// stepCounts belong to the step that the revision entered names.
type stepCounts struct {
	entered                 uint64
	routed, answered, pairs atomic.Int64
}

// skipReasons are why a request is not mirrored. One that is not among them counts as
// the last.
var skipReasons = [...]rollout.Reason{rollout.NotSampled, rollout.NotCalled, rollout.Shed, rollout.BreakerOpen,
	rollout.Cap, rollout.ShortDeadline, "other"}

// NewEvidence returns the evidence of the rollout that the state is in, at its step. It
// goes on from stored, unless that is about another rollout or nil. elapsed is a monotonic
// clock from any origin.
func NewEvidence(s rollout.State, elapsed func() time.Duration, stored *gate.Checkpoint) *Evidence {
	e := new(Evidence)
	if s.HasChallenger() {
		if stored != nil && stored.Rollout != s.Rollout {
			stored = nil
		}
		e.bench = newBench(s.Rules, s.Rollout, elapsed, stored)
	}
	e.enter(s)
	return e
}

// enter begins a step: its counts are zero, and late outcomes of the step before no
// longer count for one.
func (e *Evidence) enter(s rollout.State) {
	e.step.Store(&stepCounts{entered: s.Entered})
	if e.bench != nil {
		e.bench.enter(s, e.champion.answered.tail())
	}
}

// Route stamps a request at the moment when its arm is chosen: that is when it becomes
// evidence, whatever comes of it. It never waits and makes no garbage.
func (e *Evidence) Route(r rollout.Routing) rollout.Stamp {
	if e.bench == nil {
		return 0
	}
	return e.bench.trials.route(r)
}

// stirs tells whether there are requests that wait for their judgement: without any, no
// verdict changes.
func (e *Evidence) stirs() bool {
	return e.bench != nil && (e.bench.trials.head.Load() != e.bench.trials.tail.Load() || e.bench.awaiting.Load())
}

// hasNews tells whether a full judgement may say something new.
func (e *Evidence) hasNews() bool { return e.stirs() || e.bench != nil && e.bench.unread.Load() }

// judge says what the gates make of the evidence; full has all of what people read.
func (e *Evidence) judge(s rollout.State, full bool) rollout.Judgement {
	if e.bench == nil {
		return rollout.Judgement{Entered: s.Entered}
	}
	e.bench.learnSlow(e.champion.answered.tail())
	return e.bench.judge(s, full)
}

// Observe counts one outcome: a live request once, under the arm it was assigned to, or
// one mirrored call.
func (e *Evidence) Observe(o rollout.Outcome) {
	if e.bench != nil {
		e.bench.trials.observe(o)
	}
	step := e.step.Load()
	if step.entered != o.Entered {
		step = nil
	}
	if o.Mirrored && o.Arm == rollout.Champion {
		return // its noise is the gates' alone
	}
	if o.Mirrored {
		e.mirrored.count(o)
		if o.Comparison != nil {
			e.compare(o.Comparison)
		}
		if step != nil && o.Paired {
			step.pairs.Add(1)
		}
		return
	}
	arm := &e.champion
	if o.Arm == rollout.Challenger {
		arm = &e.challenger
	}
	arm.count(o)
	if o.Diverted == rollout.Fallback && o.Blame == rollout.OnChallenger {
		e.fallbacks.Add(1)
	}
	if step == nil {
		return
	}
	step.routed.Add(1)
	if o.Arm == rollout.Challenger && o.Diverted == "" && succeeded(o) {
		step.answered.Add(1)
	}
}

func (a *armCounts) count(o rollout.Outcome) {
	a.calls.Add(1)
	switch {
	case failed(o):
		a.failures.Add(1)
	case succeeded(o) && o.Latency > 0:
		a.answered.observe(o.Latency)
	}
}

func succeeded(o rollout.Outcome) bool { return o.Code == rollout.OK && o.Blame == rollout.Nobody }

// failed tells whether the arm is at fault. Nobody lays blame on the champion, so its
// code decides there.
func failed(o rollout.Outcome) bool {
	if o.Arm == rollout.Champion && o.Blame == rollout.Nobody {
		return rollout.Judge(rollout.Ending{Code: o.Code}) == rollout.OnChallenger
	}
	return o.Blame == rollout.OnChallenger
}

// Skipped counts a request that was not mirrored.
func (e *Evidence) Skipped(why rollout.Reason) {
	last := len(skipReasons) - 1
	for i, r := range skipReasons[:last] {
		if r == why {
			e.skipped[i].Add(1)
			return
		}
	}
	e.skipped[last].Add(1)
}

// compare counts a comparison. One that failed counts as disagreement: the arms'
// answers are not the same kind of thing.
func (e *Evidence) compare(c *rollout.Comparison) {
	e.compared.Add(1)
	if !c.Agree {
		e.disagreed.Add(1)
	}
}

// Figures returns the counts so far. They are read one by one, so figures of a busy
// moment may differ by the calls of that moment.
func (e *Evidence) Figures() rollout.Figures {
	f := rollout.Figures{
		Champion:   e.champion.figures(),
		Challenger: e.challenger.figures(),
		Mirror: rollout.MirrorFigures{
			Sent: e.mirrored.calls.Load(), Failures: e.mirrored.failures.Load(),
			Skipped:  map[rollout.Reason]int64{},
			Compared: e.compared.Load(), Disagreed: e.disagreed.Load(),
			Latency: e.mirrored.answered.quantiles(),
		},
		Fallbacks: e.fallbacks.Load(),
	}
	for i, r := range skipReasons {
		if n := e.skipped[i].Load(); n > 0 {
			f.Mirror.Skipped[r] = n
		}
	}
	return f
}

func (a *armCounts) figures() rollout.ArmFigures {
	return rollout.ArmFigures{Requests: a.calls.Load(), Failures: a.failures.Load(), Latency: a.answered.quantiles()}
}

// progress adds this process's counts at the step to base.
func (e *Evidence) progress(base rollout.Progress) rollout.Progress {
	step := e.step.Load()
	if step.entered != base.Entered {
		return base
	}
	base.Routed += step.routed.Load()
	base.Answered += step.answered.Load()
	base.Pairs += step.pairs.Load()
	return base
}
