package canary

import (
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
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
	cursors       []uint64
	keys, missing uint64
	absorbed      time.Duration
	pace          pace
	dirty         bool
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
	if len(b.checkpoint.First) != len(rules.Gates) {
		b.checkpoint.FirstAt = 0
	}
	b.trials = newTrials(rules, elapsed, b.checkpoint.Cohorts)
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
	if s.Recorded() && b.trials.ring == nil {
		b.trials.ring = make([]trial, ringSize) // before anybody can see the step
	}
	if before := b.trials.step.Load(); before != nil && before.entered != s.Entered {
		before.before = nil
		next.before = before
	}
	if b.checkpoint.FirstAt != s.Entered {
		b.checkpoint.FirstAt, b.checkpoint.First = s.Entered, make([]gate.Keys, len(next.gates))
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
	j.Uncounted, j.Worst, j.Rate = b.trials.uncounted.Load(), b.trials.worst.list(), b.pace.rate
	return j
}

// seal counts what has reached its age. mu is held.
func (b *bench) seal(now time.Duration) (delta gate.Counts) {
	t := b.trials
	head := t.head.Load()
	b.keys = b.pass(b.keys, head, func(x *trial) bool { b.countKey(x, &delta); return true })
	b.missing = b.pass(b.missing, head, func(x *trial) bool {
		return b.countMissing(x, now, &delta)
	})
	tail := min(b.keys, b.missing)
	for i := range b.cursors {
		b.cursors[i] = b.pass(b.cursors[i], head, func(x *trial) bool {
			g := &x.step.gates[i]
			if !g.In(x.step.mode) || b.checkpoint.Bad[i].Full() {
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
	if !x.canaries() || x.keyed && !b.checkpoint.Seen.Put(x.key) {
		return
	}
	delta.Keys = fall(delta.Keys, x)
}

// defaultHorizon is the least age at which a result counts as missing.
const defaultHorizon = 5 * time.Second

// latest is the age at which a result counts as missing.
func (x *trial) latest() time.Duration {
	latest := defaultHorizon
	for i := range x.step.gates {
		latest = max(latest, x.step.gates[i].Horizon)
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

// count adds a trial of the age that its gate wants to the counts: to those of a fail,
// unless its key has had a bad event, for one key's failures are one failure; and to those
// of a pass, if it is its key's first at this step.
func (b *bench) count(i int, g *rollout.Gate, x *trial, delta *gate.Counts) {
	live, copied := within(x.live.Load(), g.Horizon), within(x.mirrored.Load(), g.Horizon)
	var vote func(*gate.Cell)
	var isBad bool
	switch {
	case g.Metric == rollout.ScoreShift || g.Metric == rollout.Drift:
		vote = scored(g, x, copied)
	case g.Metric == rollout.Disagreement:
		vote, isBad = agreed(copied)
	case g.Paired(x.step.mode):
		vote, isBad = rehearsed(live, copied)
	case x.canaries():
		vote, isBad = performed(g, x, live)
	}
	if vote == nil {
		return
	}
	at := delta.Step(x.step.entered, gate.Step{Index: x.step.index, Mode: x.step.mode, Weight: x.step.weight})
	at.Slow = time.Duration(x.step.slow.Load())
	known := x.keyed && b.checkpoint.Bad[i].Has(x.key)
	if isBad && x.keyed {
		b.checkpoint.Bad[i].Put(x.key)
	}
	first := x.step.entered == b.checkpoint.FirstAt && (!x.keyed || b.checkpoint.First[i].Put(x.key))
	for k := range b.series(i, x) {
		// A mean is moved by each key once, up or down; a distribution is only described.
		if !known && (first || g.Metric != rollout.ScoreShift) {
			vote(at.Cell(k))
		}
		if first || g.Metric == rollout.Drift {
			vote(at.First(k))
		}
	}
}

// series are those that a trial counts for: all requests, and its cohorts.
func (b *bench) series(i int, x *trial) iter.Seq[gate.Series] {
	return func(yield func(gate.Series) bool) {
		if !yield(gate.Series{Gate: i}) {
			return
		}
		names := b.trials.cohorts.Load().names
		for source, place := range x.cohorts[:len(names)] {
			if place > 0 && !yield(gate.Series{Gate: i, Segment: cohortName(b.trials.rules, names, source, place)}) {
				return
			}
		}
	}
}

// scored votes with the values of a pair.
func scored(g *rollout.Gate, x *trial, copied uint64) (vote func(*gate.Cell)) {
	comparison := x.comparison.Load()
	if copied&compared == 0 || comparison == nil {
		return nil
	}
	i := slices.IndexFunc(comparison.Outputs, func(o rollout.OutputComparison) bool { return o.Output == g.Output })
	if i < 0 || len(comparison.Outputs[i].Scores) == 0 {
		return nil
	}
	pairs := comparison.Outputs[i].Scores
	if g.Metric == rollout.Drift {
		return func(c *gate.Cell) {
			for _, p := range pairs {
				c.Scores.Observe(p.Champion, p.Challenger)
			}
		}
	}
	var sum float64
	for _, p := range pairs {
		sum += p.Challenger - p.Champion
	}
	return func(c *gate.Cell) { c.Shift.Observe(sum/float64(len(pairs)), g.Range) }
}

// agreed votes with whether a pair agrees.
func agreed(copied uint64) (vote func(*gate.Cell), isBad bool) {
	if copied&compared == 0 {
		return nil, false
	}
	differ := copied&disagrees != 0
	return func(c *gate.Cell) { c.Pairs++; c.ChallengerOnly += one(differ) }, differ
}

// rehearsed votes with which arm failed a request that both had.
func rehearsed(live, copied uint64) (vote func(*gate.Cell), isBad bool) {
	if live == 0 || copied == 0 {
		return nil, false
	}
	champion, challenger := live&bad != 0, copied&bad != 0
	return func(c *gate.Cell) {
		c.Pairs++
		c.ChallengerOnly += one(challenger && !champion)
		c.ChampionOnly += one(champion && !challenger)
		c.Both += one(champion && challenger)
	}, champion || challenger
}

// performed votes with how the assigned arm served a request. There is no vote where the
// gate can't say yet what is bad.
func performed(g *rollout.Gate, x *trial, live uint64) (vote func(*gate.Cell), isBad bool) {
	isBad = live&diverted != 0
	switch g.Metric {
	case rollout.SlowRate:
		isBad = isBad || live&answered == 0
	case rollout.TailLatency:
		slow := time.Duration(x.step.slow.Load())
		if slow == 0 {
			return nil, false
		}
		if x.arm == rollout.Challenger {
			slow = gate.Tolerated(*g, slow)
		}
		isBad = isBad || live&answered == 0 || ageOf(live) > slow
	default:
		isBad = isBad || live&bad != 0
	}
	if x.arm == rollout.Challenger {
		return func(c *gate.Cell) { c.ChallengerLive++; c.ChallengerBad += one(isBad) }, isBad
	}
	return func(c *gate.Cell) { c.ChampionLive++; c.ChampionBad += one(isBad) }, isBad
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// cohortName is "region=eu" for a value of parameter:region.
func cohortName(rules rollout.Rules, names [][]string, source int, place uint8) string {
	_, name, _ := strings.Cut(rules.Segments[source], ":")
	if place == other {
		return name + "=other"
	}
	return name + "=" + names[source][place-1]
}

// segment names the cohorts of a trial, for people.
func (t *trials) segment(x *trial) string {
	var all []string
	names := t.cohorts.Load().names
	for source, place := range x.cohorts[:len(names)] {
		if place > 0 {
			all = append(all, cohortName(t.rules, names, source, place))
		}
	}
	return strings.Join(all, " ")
}

// encode returns the checkpoint for the store; changed is false where it is as it was.
func (b *bench) encode() (checkpoint []byte, changed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.dirty {
		return nil, false, nil
	}
	b.dirty = false
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
