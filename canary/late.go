package canary

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// Reports are outcomes that were reported for requests, in an order of their own for each
// model: whoever knows where he stopped gets each once.
type Reports interface {
	// Last is the sequence of the newest, at once.
	Last(model string) uint64
	// After returns at most so many with a higher sequence, ascending.
	After(model string, sequence uint64, most int) ([]rollout.Reported, error)
}

// voters are the routing keys that have had their vote, for all who route at once. Like
// gate.Keys it may take a key for another one, which leaves it out by its hash alone.
type voters struct {
	bits [gate.KeyWords]atomic.Uint64
	size atomic.Int64
}

// put adds the key, and tells whether it was fresh. Where half of the bits are taken none is.
func (v *voters) put(hash uint64) bool {
	word, bit := &v.bits[hash/64%gate.KeyWords], uint64(1)<<(hash%64)
	if v.size.Load() >= gate.KeyWords*64/2 || word.Load()&bit != 0 || word.Or(bit)&bit != 0 {
		return false
	}
	v.size.Add(1)
	return true
}

func votersOf(k gate.Keys) *voters {
	v := new(voters)
	for i, word := range k.Words() {
		v.bits[i].Store(word)
	}
	v.size.Store(int64(k.Size()))
	return v
}

func (v *voters) keys() gate.Keys {
	words := make([]uint64, gate.KeyWords)
	for i := range words {
		words[i] = v.bits[i].Load()
	}
	return gate.KeysOf(words)
}

// vote gives a request its key's vote, if that is still to be had. It is done at routing, for
// the ticket leaves with the answer.
func (t *trials) vote(s *step, x *trial) (v rollout.Vote) {
	if t.voted == nil || !x.canaries() {
		return 0
	}
	if !x.keyed || t.voted.put(x.key) {
		v |= rollout.Fresh
	}
	if !x.keyed || s.voted.put(x.key) {
		v |= rollout.First
	}
	return v
}

// readAtOnce bounds the reports that are taken in at a time.
const readAtOnce = 1000

// hearAll takes in what is reported, until ctx ends: beside the judgements, for reports lie
// on a disk.
func (c *Conductor) hearAll(ctx context.Context) {
	if c.o.Reports == nil {
		return
	}
	look := time.NewTicker(c.o.JudgeEvery)
	defer look.Stop()
	for {
		for _, m := range c.all() {
			c.hear(m)
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

func (c *Conductor) hear(m *model) {
	m.mu.Lock()
	evidence, due := m.live.Evidence, m.loaded && m.live.State.Recorded()
	m.mu.Unlock()
	if !due || evidence.bench == nil || !evidence.bench.late() {
		return
	}
	uncounted, err := evidence.bench.hear(c.o.Reports, m.name, c.o.Now())
	c.metrics.uncountedOutcomes.WithLabelValues(m.name).Add(float64(uncounted))
	if err != nil && c.o.Elapsed()-m.deaf >= time.Minute {
		m.deaf = c.o.Elapsed()
		c.o.Logger.Error("reported outcomes can't be read, their gates hold: check the disk of outcomes.dir", "model", m.name, "error", err)
	}
}

// late tells whether there are gates on outcomes.
func (b *bench) late() bool { return b.trials.voted != nil }

// hear takes in what was reported until now. uncounted reports came for requests that are
// not known any more.
func (b *bench) hear(reports Reports, model string, now time.Time) (uncounted int, err error) {
	for {
		b.mu.Lock()
		after := b.checkpoint.Reports
		b.mu.Unlock()
		if reports.Last(model) <= after {
			break
		}
		next, err := reports.After(model, after, readAtOnce)
		if err != nil {
			return uncounted, err
		}
		if len(next) == 0 {
			break
		}
		uncounted += b.take(next)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard = now
	return uncounted, nil
}

// take counts reports for the requests that they are of.
func (b *bench) take(reports []rollout.Reported) (uncounted int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expect() // else what is reported at once would not be known yet
	for _, r := range reports {
		if r.Rollout == b.checkpoint.Rollout && r.Vote != 0 && !b.report(r) {
			uncounted++
		}
	}
	b.checkpoint.Reports = reports[len(reports)-1].Sequence
	b.dirty = true
	return uncounted
}

func (b *bench) report(r rollout.Reported) (counted bool) {
	cohorts := b.trials.cohortsOf(&rollout.Routing{Segments: r.Segments})
	for i, g := range b.trials.rules.Gates {
		if g.Late() && g.Outcome == r.Name {
			counted = b.checkpoint.Report(i, g, r, slices.Collect(b.series(i, cohorts))) || counted
		}
	}
	return counted
}

// expect counts the votes of the requests that were routed since it last did. mu is held.
func (b *bench) expect() {
	if !b.late() {
		return
	}
	b.votes = b.pass(b.votes, b.trials.head.Load(), func(x *trial) bool {
		if x.vote == 0 {
			return true
		}
		t := rollout.Ticket{At: time.UnixMilli(x.received), Arm: x.arm, Vote: x.vote,
			Entered: x.step.entered, Index: x.step.index, Weight: x.step.weight}
		for i, g := range b.trials.rules.Gates {
			if g.Late() {
				b.checkpoint.Expect(i, g, t, slices.Collect(b.series(i, x.cohorts)))
			}
		}
		b.checkpoint.Counted = t.At
		return true
	})
}

// awaits tells whether there are requests whose outcome may still come. mu is held.
func (b *bench) awaits() bool {
	return slices.ContainsFunc(b.checkpoint.Late, func(l gate.Late) bool { return len(l.Batches) > 0 })
}
