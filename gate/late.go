package gate

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Late is the evidence of one gate whose outcomes are reported after the answers: requests
// wait in batches, by the time at which they were routed, and count when the whole batch
// has the gate's age.
type Late struct {
	// Batches are ascending in From.
	Batches []Batch `json:"batches,omitempty"`
	// Settled are the values of both arms in batches that have counted.
	Settled Moments `json:"settled"`
}

// Batch are the requests routed within batchOf(horizon) from From on.
type Batch struct {
	From time.Time `json:"from"`
	// Steps by the revision that entered them.
	Steps map[uint64]*AwaitedStep `json:"steps"`
}

// AwaitedStep are those routed at one step.
type AwaitedStep struct {
	Index  int            `json:"index"`
	Weight rollout.Weight `json:"weight"`
	// Fresh has each key's first request in canary, First its first at the step.
	Fresh map[Series]*Awaited `json:"fresh,omitempty"`
	First map[Series]*Awaited `json:"first,omitempty"`
}

// Awaited is what is known so far of requests whose outcome may still come. It is all sums.
type Awaited struct {
	Requests Fall `json:"requests"`
	// The values that were reported, over [0, 1]: those of the gate's range, from its lower end.
	Champion   Moments `json:"champion"`
	Challenger Moments `json:"challenger"`
}

// Expect counts a request, in each of the series, whose outcome may be reported from now on.
func (c *Checkpoint) Expect(i int, g rollout.Gate, t rollout.Ticket, series []Series) {
	c.await(i, g, t, series, func(a *Awaited) { a.Requests.Count(t.Arm) })
}

// Report takes a reported outcome in. It returns false where its request has counted by now,
// or is not known here.
func (c *Checkpoint) Report(i int, g rollout.Gate, r rollout.Reported, series []Series) bool {
	if i >= len(c.Late) || c.lost(r.At) || !c.Late[i].expects(g, r.At) {
		return false
	}
	value := (min(max(r.Value, g.From), g.To) - g.From) / (g.To - g.From)
	if !g.Mean {
		value = math.Round(value) // it is so, or it is not
	}
	c.await(i, g, r.Ticket, series, func(a *Awaited) {
		if r.Arm == rollout.Challenger {
			a.Challenger.Observe(value, 1)
		} else {
			a.Champion.Observe(value, 1)
		}
	})
	return true
}

// expects tells whether the batch of a request still waits.
func (l *Late) expects(g rollout.Gate, at time.Time) bool {
	from := at.Truncate(batchOf(g.Horizon))
	return slices.ContainsFunc(l.Batches, func(b Batch) bool { return b.From.Equal(from) })
}

func (c *Checkpoint) await(i int, g rollout.Gate, t rollout.Ticket, series []Series, visit func(*Awaited)) {
	for len(c.Late) <= i {
		c.Late = append(c.Late, Late{})
	}
	b := c.Late[i].batch(t.At.Truncate(batchOf(g.Horizon)))
	s := b.Steps[t.Entered]
	if s == nil {
		s = &AwaitedStep{Index: t.Index, Weight: t.Weight}
		b.Steps[t.Entered] = s
	}
	for _, k := range series {
		if t.Vote&rollout.Fresh != 0 {
			visit(entryOf(&s.Fresh, k))
		}
		if t.Vote&rollout.First != 0 {
			visit(entryOf(&s.First, k))
		}
	}
}

// batch returns the batch that begins at from, which is made where there is none.
func (l *Late) batch(from time.Time) *Batch {
	i := sort.Search(len(l.Batches), func(i int) bool { return !l.Batches[i].From.Before(from) })
	if i == len(l.Batches) || !l.Batches[i].From.Equal(from) {
		l.Batches = slices.Insert(l.Batches, i, Batch{From: from, Steps: map[uint64]*AwaitedStep{}})
	}
	return &l.Batches[i]
}

// batchOf is the time over which a batch collects: fine enough for the horizon, and coarse
// enough to be stored.
func batchOf(horizon time.Duration) time.Duration {
	return max(horizon/128, 100*time.Millisecond).Truncate(time.Millisecond)
}

// settleAfter is how long reports that came in time may take to get here.
const settleAfter = time.Second

// Settle takes the batches that have their gate's age out of Late, and returns their counts.
// All reports until now must have been taken in.
func (c *Checkpoint) Settle(gates []rollout.Gate, now time.Time) (delta Counts) {
	for i := range c.Late {
		if i >= len(gates) || !gates[i].Late() {
			continue
		}
		g, l := gates[i], &c.Late[i]
		for len(l.Batches) > 0 && now.Sub(l.Batches[0].From) >= batchOf(g.Horizon)+g.Horizon+settleAfter {
			c.settle(g, i, l.Batches[0], &delta)
			l.Batches = l.Batches[1:]
		}
	}
	return delta
}

func (c *Checkpoint) settle(g rollout.Gate, i int, b Batch, delta *Counts) {
	l := &c.Late[i]
	// The values are measured from what was usual before this batch. Any fixed value would be
	// right, but the nearer to the mean, the less does the split itself make them vary.
	centre := l.Settled.mean()
	if l.Settled.N == 0 && g.ReportedOnly {
		centre = 0.5
	}
	for entered, s := range b.Steps {
		at := delta.Step(entered, Step{Index: s.Index, Mode: rollout.ModeCanary, Weight: s.Weight})
		for k, a := range s.Fresh {
			at.Cell(k).Add(a.cell(g, centre))
			if k.Segment == "" {
				c.tellMissing(g, s.Weight, a, delta)
				l.Settled.add(a.values(g, rollout.Champion))
				l.Settled.add(a.values(g, rollout.Challenger))
			}
		}
		for k, a := range s.First {
			at.First(k).Add(a.cell(g, centre))
		}
	}
}

// tellMissing counts requests without a report where one is expected: if an arm lacks more
// of them, what is left says nothing.
func (c *Checkpoint) tellMissing(g rollout.Gate, w rollout.Weight, a *Awaited, delta *Counts) {
	if !g.ReportedOnly {
		return
	}
	missing := Fall{max(a.Requests.Champion-a.Champion.N, 0), max(a.Requests.Challenger-a.Challenger.N, 0)}
	delta.Missing = addFalls(delta.Missing, map[rollout.Weight]Fall{w: missing})
}

// values are an arm's, over all its requests or the reported ones.
func (a *Awaited) values(g rollout.Gate, arm rollout.Arm) Moments {
	n, m := a.Requests.Champion, a.Champion
	if arm == rollout.Challenger {
		n, m = a.Requests.Challenger, a.Challenger
	}
	if !g.ReportedOnly {
		m.silent(max(n-m.N, 0), g)
	}
	return m
}

// silent adds n requests without a report: their value is 0, or the end of the range that
// is nearest to it.
func (m *Moments) silent(n int64, g rollout.Gate) {
	x := int64(math.Round((min(max(0, g.From), g.To) - g.From) / (g.To - g.From) * moment))
	m.N += n
	m.Sum += n * x
	m.Squares += n * ((x*x + moment - 1) / moment)
}

// cell is what has been awaited, as the gate counts it.
func (a *Awaited) cell(g rollout.Gate, centre float64) (c Cell) {
	champion, challenger := a.values(g, rollout.Champion), a.values(g, rollout.Challenger)
	c.ChampionLive, c.ChallengerLive = champion.N, challenger.N
	if !g.Mean {
		c.ChampionBad, c.ChallengerBad = champion.Sum/moment, challenger.Sum/moment
		return c
	}
	c.ChampionValues = Values{Sum: champion.Sum, Centred: champion.from(centre)}
	c.ChallengerValues = Values{Sum: challenger.Sum, Centred: challenger.from(centre)}
	return c
}

// lost tells whether requests routed then were forgotten with a process that died.
func (c *Checkpoint) lost(at time.Time) bool {
	return slices.ContainsFunc(c.Gaps, func(g Gap) bool { return at.After(g.From) && at.Before(g.To) })
}

// Gap is a time of which no requests are known.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// mostGaps bounds Checkpoint.Gaps: the oldest are beyond any horizon.
const mostGaps = 1000

// Reopen goes on from a stored checkpoint: what was routed since it was stored is lost.
func (c *Checkpoint) Reopen(now time.Time) {
	if len(c.Late) == 0 {
		return
	}
	c.Gaps = append(c.Gaps[max(len(c.Gaps)-mostGaps, 0):], Gap{c.Counted, now})
}
