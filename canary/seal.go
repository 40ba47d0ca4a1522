package canary

import (
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// bench judges the trials of one rollout: it takes each at the age at which its gates want
// it, in routing order, adds it up, and asks the gates. It works off the data path.
type bench struct {
	trials *trials

	mu         sync.Mutex // guards all below
	checkpoint gate.Checkpoint
	// cursors are the next trial of each gate, of the count of keys, and of missing results.
	cursors              []uint64
	keys, missing, votes uint64
	// heard is until when reports were taken in.
	heard    time.Time
	absorbed time.Duration
	pace     pace
	dirty    bool
	// worn are the gates that have lost too many keys to count the others; see wornOut.
	worn []bool
	// awaiting says that there are requests whose outcome may still come.
	awaiting atomic.Bool
	// unread says that there are counts that no full judgement has told of.
	unread atomic.Bool
}

// newBench goes on from a stored checkpoint, of the same rollout; nil is none.
func newBench(rules rollout.Rules, began uint64, elapsed func() time.Duration, stored *gate.Checkpoint) *bench {
	b := &bench{cursors: make([]uint64, len(rules.Gates)), absorbed: elapsed()}
	b.checkpoint = gate.Checkpoint{Rollout: began}
	if stored != nil {
		b.checkpoint = *stored
	}
	for len(b.checkpoint.Bad) < len(rules.Gates) {
		b.checkpoint.Bad = append(b.checkpoint.Bad, gate.Keys{})
	}
	for len(b.checkpoint.Failed) < len(rules.Gates) {
		b.checkpoint.Failed = append(b.checkpoint.Failed, gate.Fall{})
	}
	if len(b.checkpoint.First) != len(rules.Gates) {
		b.checkpoint.FirstAt = 0
	}
	b.checkpoint.Inputs = b.checkpoint.Inputs.For(len(rules.Features()))
	b.trials = newTrials(rules, elapsed, b.checkpoint.Cohorts)
	if rules.Outcomes() != nil {
		b.trials.voted = votersOf(b.checkpoint.Voted)
	}
	return b
}

// enter begins a step. slow is the champion's p99 so far; 0 where it is not known.
func (b *bench) enter(s rollout.State, slow time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := &step{entered: s.Entered, index: s.PlanIndex(), mode: s.Mode, weight: s.Weight, gates: s.GatesAt(s.PlanIndex())}
	if known := b.checkpoint.Counts.Steps[s.Entered]; known != nil && known.Slow > 0 {
		slow = known.Slow // as the step began, before a restart
	}
	next.slow.Store(int64(slow))
	next.warm = b.trials.elapsed() + b.trials.rules.WarmUp
	if known := b.checkpoint.Counts.Steps[s.Entered]; known != nil {
		next.warm -= min(known.Gathered, b.trials.rules.WarmUp) // of which a part was before a restart
	}
	if s.Recorded() && b.trials.ring == nil {
		b.trials.ring = make([]trial, ringSize) // before anybody can see the step
	}
	if before := b.trials.step.Load(); before != nil && before.entered != s.Entered {
		before.before = nil
		next.before = before
	}
	if b.checkpoint.FirstAt != s.Entered {
		b.checkpoint.FirstAt, b.checkpoint.First, b.checkpoint.VotedAt = s.Entered, make([]gate.Keys, len(next.gates)), gate.Keys{}
	}
	switch before := b.trials.step.Load(); {
	case !b.late():
	case before != nil && before.entered == s.Entered:
		next.voted = before.voted
	default:
		next.voted = votersOf(b.checkpoint.VotedAt)
	}
	if s.Recorded() {
		b.checkpoint.Inputs.Enter(s.Entered)
	}
	b.trials.step.Store(next)
}

// learnSlow fixes the champion's p99 where the step began without it.
func (b *bench) learnSlow(slow time.Duration) {
	if s := b.trials.step.Load(); s != nil && slow > 0 {
		s.slow.CompareAndSwap(0, int64(slow))
	}
}

// judge absorbs what is old enough and says what the gates make of it.
func (b *bench) judge(s rollout.State, full bool) rollout.Judgement {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.trials.elapsed()
	before := b.trials.tail.Load()
	delta := b.seal(now)
	delta.Add(b.checkpoint.Settle(b.trials.rules.Gates, b.heard))
	b.awaiting.Store(b.awaits())
	passed := max(now-b.absorbed, 0)
	b.absorbed = now
	b.checkpoint.Absorb(s, delta, passed)
	b.checkpoint.Cohorts = b.trials.cohorts.Load().names
	sealed := b.trials.tail.Load() - before
	if sealed > 0 || len(delta.Steps) > 0 {
		b.dirty = true
		b.unread.Store(true)
	}
	if full {
		b.unread.Store(false)
	}
	b.pace.add(int64(sealed), passed)
	j := b.checkpoint.Judge(s, full)
	if full {
		j.Inputs = b.checkpoint.Inputs.Shifts(s)
	}
	j.Uncounted, j.Worst, j.Rate = b.trials.uncounted.Load(), b.trials.worst.list(), b.pace.rate
	return j
}

// seal counts what has reached its age. mu is held.
func (b *bench) seal(now time.Duration) (delta gate.Counts) {
	t := b.trials
	head := t.head.Load()
	b.wornOut()
	b.keys = b.pass(b.keys, head, func(x *trial) bool { b.countKey(x, &delta); return true })
	b.missing = b.pass(b.missing, head, func(x *trial) bool {
		return b.countMissing(x, now, &delta)
	})
	tail := min(b.keys, b.missing)
	if b.expect(); b.late() {
		tail = min(tail, b.votes)
	}
	for i := range b.cursors {
		b.cursors[i] = b.pass(b.cursors[i], head, func(x *trial) bool {
			g := &x.step.gates[i]
			if g.Late() || !g.In(x.step.mode) || b.checkpoint.Bad[i].Full() {
				return true
			}
			if now-x.at < g.Horizon {
				return false
			}
			b.count(i, g, x, &delta)
			return true
		})
		tail = min(tail, b.cursors[i])
	}
	for ; b.trials.tail.Load() < tail; b.trials.tail.Add(1) {
		t.ring[b.trials.tail.Load()%ringSize].comparison.Store(nil)
	}
	return delta
}

// pass shows the trials from cursor on to visit, until that wants to wait, and returns
// where it stopped.
func (b *bench) pass(cursor, head uint64, visit func(*trial) bool) uint64 {
	for ; cursor < head; cursor++ {
		x := &b.trials.ring[cursor%ringSize]
		if x.stamp.Load() != cursor+1 || !visit(x) {
			break // being written this very moment, or too young
		}
	}
	return cursor
}

// canaries tells whether the trial was split between the arms.
func (x *trial) canaries() bool {
	return x.step.mode == rollout.ModeCanary && x.step.weight > 0 && x.step.weight < rollout.FullWeight
}

// countKey counts a key at its first sight in canary.
func (b *bench) countKey(x *trial, delta *gate.Counts) {
	if x.fresh = x.canaries() && (!x.keyed || b.checkpoint.Seen.Put(x.key)); x.fresh {
		delta.Keys = fall(delta.Keys, x)
	}
}

// A key is lost to a gate with its first bad request. Where the champion has lost a share of
// its keys that is larger than the challenger's by more than this, those that are left no
// longer fall as the weight says: the better arm has more of them left to fail. The other way
// round it only takes longer to fail the challenger.
const mostLost = 0.05

// wornOut finds the gates for which that is so, from what was known before. They go on with
// the first request of each key, which no arm can lose.
func (b *bench) wornOut() {
	var seen gate.Fall
	for _, f := range b.checkpoint.Counts.Keys {
		seen.Add(f)
	}
	b.worn = b.worn[:0]
	for _, f := range b.checkpoint.Failed {
		lost := float64(f.Champion)/max(float64(seen.Champion), 1) - float64(f.Challenger)/max(float64(seen.Challenger), 1)
		b.worn = append(b.worn, lost > mostLost)
	}
}

// defaultHorizon is the least age at which a result counts as missing.
const defaultHorizon = 5 * time.Second

// latest is the age at which a result counts as missing.
func (x *trial) latest() time.Duration {
	latest := defaultHorizon
	for i := range x.step.gates {
		if g := &x.step.gates[i]; !g.Late() {
			latest = max(latest, g.Horizon)
		}
	}
	return latest
}

// countMissing counts a request without a result; it returns false where that is still to
// come.
func (b *bench) countMissing(x *trial, now time.Duration, delta *gate.Counts) bool {
	if !x.canaries() || x.live.Load()&ended != 0 {
		return true
	}
	if now-x.at < x.latest() {
		return false
	}
	if !x.keyed || b.checkpoint.Lost.Put(x.key) {
		delta.Missing = fall(delta.Missing, x)
	}
	return true
}

func fall(to map[rollout.Weight]gate.Fall, x *trial) map[rollout.Weight]gate.Fall {
	if to == nil {
		to = map[rollout.Weight]gate.Fall{}
	}
	f := to[x.step.weight]
	f.Count(x.arm)
	to[x.step.weight] = f
	return to
}

// within returns a result if it came by the age; 0 else.
func within(word uint64, age time.Duration) uint64 {
	if word&ended == 0 || ageOf(word) > age {
		return 0
	}
	return word
}

func ageOf(word uint64) time.Duration {
	return time.Duration(word&(1<<ageBits-1)) * time.Microsecond
}

// encode returns the checkpoint for the store; changed is false where it is as it was.
func (b *bench) encode() (checkpoint []byte, changed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.dirty {
		return nil, false, nil
	}
	b.dirty = false
	if b.late() {
		b.checkpoint.Voted, b.checkpoint.VotedAt = b.trials.voted.keys(), b.trials.step.Load().voted.keys()
	}
	checkpoint, err = json.Marshal(&b.checkpoint)
	if err != nil {
		return nil, true, fmt.Errorf("encode the evidence: %w", err)
	}
	return checkpoint, true, nil
}

// touch has the checkpoint stored again.
func (b *bench) touch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dirty = true
}

// pace is the requests a second lately.
type pace struct{ rate float64 }

// settling is the time over which the pace forgets.
const settling = 10 * time.Second

func (p *pace) add(n int64, passed time.Duration) {
	if passed <= 0 {
		return
	}
	keep := math.Exp(-passed.Seconds() / settling.Seconds())
	p.rate = keep*p.rate + (1-keep)*float64(n)/passed.Seconds()
}
