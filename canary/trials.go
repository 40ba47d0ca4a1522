package canary

import (
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/understudy-serving/understudy/rollout"
)

// ringSize is how many routed requests can wait for their judgement: those of 5 s at
// 13,000 a second. One that finds no room is left out before anything is known of it.
const ringSize = 1 << 16

// trials holds each routed request from its routing to the age at which it is judged. To
// count on arrival would be wrong: an arm that fails fast would show its errors first. It
// is a ring in routing order; the data path takes no lock and makes no garbage.
type trials struct {
	elapsed func() time.Duration
	rules   rollout.Rules
	ring    []trial // made when the first step with traffic begins
	// Sequence numbers: of the next request, and of the oldest that waits.
	head, tail atomic.Uint64
	uncounted  atomic.Int64
	// step is the one that requests are routed at; before it, those of the step before still
	// come.
	step    atomic.Pointer[step]
	cohorts atomic.Pointer[cohortNames]
	naming  sync.Mutex // held to give a cohort its name
	worst   worst
	// voted has the keys of canary; nil without a gate on outcomes.
	voted *voters
}

// step is what a trial has to know of its rollout.
type step struct {
	entered uint64
	index   int
	mode    rollout.Mode
	weight  rollout.Weight
	gates   []rollout.Gate
	// slow is the champion's p99 before the step; 0 while it is not known.
	slow atomic.Int64
	// warm is when the step's warm-up ends.
	warm time.Duration
	// voted has the keys of this step; nil without a gate on outcomes.
	voted  *voters
	before *step
}

// trial is one routed request. What is written at routing is published by stamp; results
// come later, each in one word.
type trial struct {
	stamp   atomic.Uint64
	at      time.Duration
	key     uint64
	step    *step
	cohorts [rollout.MaxSegmentSources]uint8
	arm     rollout.Arm
	keyed   bool
	// vote is what its outcome counts for; received, in milliseconds, is in its ticket too.
	vote     rollout.Vote
	received int64
	// fresh says that its key was never seen in canary before; for the bench alone.
	fresh bool

	live, mirrored, repeated atomic.Uint64
	comparison               atomic.Pointer[found]
}

// found is a comparison and the request that it is of.
type found struct {
	sequence   uint64
	comparison *rollout.Comparison
}

// compared returns what the two predictions differ in; nil where that is not known.
func (x *trial) compared() *rollout.Comparison {
	if f := x.comparison.Load(); f != nil && f.sequence+1 == x.stamp.Load() {
		return f.comparison
	}
	return nil // a late one of the slot's last tenant
}

// A result is one word: age in microseconds, what came, and the lap of the ring, which
// tells a late result from one of the slot's next tenant.
const (
	ageBits  = 40
	bad      = 1 << (ageBits + iota) // by the arm's own fault
	answered                         // the caller did not go away
	compared
	disagrees
	ended
	diverted // kept from the challenger by its cap or breaker
	lapShift = 48
)

func newTrials(rules rollout.Rules, elapsed func() time.Duration, cohorts [][]string) *trials {
	t := &trials{elapsed: elapsed, rules: rules}
	t.cohorts.Store(newCohortNames(cohorts, len(rules.Segments)))
	return t
}

func pending(sequence uint64) uint64 { return (sequence / ringSize) << lapShift }

// route gives a request its place, or 0 where it has none.
func (t *trials) route(r rollout.Routing) rollout.Stamp {
	s := t.step.Load()
	if s != nil && s.entered != r.Entered {
		s = s.before
	}
	if s == nil || s.entered != r.Entered || r.Hasty || t.ring == nil {
		return 0
	}
	var sequence uint64
	for {
		sequence = t.head.Load()
		if sequence-t.tail.Load() >= ringSize {
			t.uncounted.Add(1)
			return 0
		}
		if t.head.CompareAndSwap(sequence, sequence+1) {
			break
		}
	}
	slot := &t.ring[sequence%ringSize]
	slot.at, slot.step, slot.arm = t.elapsed(), s, r.Arm
	slot.key, slot.keyed = xxhash.Sum64String(r.Key), r.Keyed
	slot.vote, slot.received = t.vote(s, slot), r.At.UnixMilli()
	slot.cohorts = t.cohortsOf(&r)
	slot.live.Store(pending(sequence))
	slot.mirrored.Store(pending(sequence))
	slot.repeated.Store(pending(sequence))
	vote := slot.vote // from here on the slot is not ours
	slot.stamp.Store(sequence + 1)
	return rollout.NewStamp(sequence+1, vote)
}

// observe enters a result. One that comes when its request has been judged is late for good.
func (t *trials) observe(o rollout.Outcome) {
	if o.Stamp.Place() == 0 {
		return
	}
	sequence := o.Stamp.Place() - 1
	slot := &t.ring[sequence%ringSize]
	word := pending(sequence) | ended | min(uint64(max(o.Age, 0)/time.Microsecond), 1<<ageBits-1)
	if !o.Mirrored {
		if failed(o) {
			word |= bad
		}
		if o.Diverted == rollout.Cap || o.Diverted == rollout.BreakerOpen {
			word |= diverted
		}
		if !gaveUp(o) {
			word |= answered
		}
		slot.live.CompareAndSwap(pending(sequence), word)
		return
	}
	if o.Arm == rollout.Champion {
		if o.Comparison != nil {
			word |= compared
			if !o.Comparison.Agree {
				word |= disagrees
			}
		}
		slot.repeated.CompareAndSwap(pending(sequence), word)
		return
	}
	if failed(o) {
		word |= bad
	}
	if c := o.Comparison; c != nil {
		word |= compared
		if !c.Agree {
			word |= disagrees
			t.worst.offer(o, t.segment(slot))
		}
		slot.comparison.Store(&found{sequence, c})
	}
	slot.mirrored.CompareAndSwap(pending(sequence), word)
}

// gaveUp tells whether the caller went away.
func gaveUp(o rollout.Outcome) bool {
	return o.Blame == rollout.OnCaller && (o.Code == rollout.Canceled || o.Code == rollout.DeadlineExceeded)
}

// cohortNames maps the values of each segment source to their places among its cohorts,
// from 1; other is for those without one. It is never written again.
type cohortNames struct {
	places []map[string]uint8
	names  [][]string
}

const other = 255

func newCohortNames(names [][]string, sources int) *cohortNames {
	c := &cohortNames{names: make([][]string, sources), places: make([]map[string]uint8, sources)}
	for i := range sources {
		if i < len(names) {
			c.names[i] = names[i]
		}
		c.places[i] = make(map[string]uint8, len(c.names[i]))
		for n, value := range c.names[i] {
			c.places[i][value] = uint8(n + 1)
		}
	}
	return c
}

// cohortsOf finds the cohorts of a request; 0 is none.
func (t *trials) cohortsOf(r *rollout.Routing) (places [rollout.MaxSegmentSources]uint8) {
	known := t.cohorts.Load()
	for i := range known.places {
		value := r.Segments[i]
		if value == "" {
			continue
		}
		place, ok := known.places[i][value]
		switch {
		case ok:
		case len(known.names[i]) < t.rules.MaxCohorts && fitForName(value):
			place = t.name(i, value)
		default:
			place = other
		}
		places[i] = place
	}
	return places
}

// name gives a value of the i-th source a cohort, where there is still one to be had. It
// happens at most rules.MaxCohorts times for each source.
func (t *trials) name(i int, value string) uint8 {
	t.naming.Lock()
	defer t.naming.Unlock()
	known := t.cohorts.Load()
	if place, ok := known.places[i][value]; ok {
		return place
	}
	if len(known.names[i]) >= t.rules.MaxCohorts {
		return other
	}
	names := make([][]string, len(known.names))
	for source := range names {
		names[source] = append([]string(nil), known.names[source]...)
	}
	names[i] = append(names[i], value)
	t.cohorts.Store(newCohortNames(names, len(names)))
	return uint8(len(names[i]))
}

// fitForName keeps what a client makes up out of names: those of cohorts are stored,
// printed and scraped.
func fitForName(value string) bool {
	return len(value) <= rollout.MaxSegmentValue && utf8.ValidString(value)
}
