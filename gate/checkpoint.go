package gate

import (
	"math"
	"slices"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Checkpoint is all that is known of one rollout's evidence: counts that were absorbed, and
// the wealth that they made. It is stored, for to forget it would spend alpha again.
type Checkpoint struct {
	// Rollout names the challenger's life that the evidence is about.
	Rollout uint64 `json:"rollout"`
	Counts  Counts `json:"counts"`
	// Series has the evidence against the challenger.
	Series map[Series]*Process `json:"series,omitempty"`
	// Void says that the split was found broken: for good, whatever comes.
	Void bool `json:"void,omitempty"`
	// Bad has for each gate the keys that have had a bad event: nothing of theirs counts for
	// it any more. Seen has those of canary.
	Bad []Keys `json:"bad,omitempty"`
	// Failed counts the keys in Bad that had theirs in canary, by arm.
	Failed []Fall `json:"failed,omitempty"`
	// First has for each gate the keys that have had their first request at the step that was
	// entered at FirstAt.
	First   []Keys `json:"first,omitempty"`
	FirstAt uint64 `json:"first_at,omitempty"`
	// Seen has the keys of canary, Lost those with a request that had no result in time.
	Seen Keys `json:"seen"`
	Lost Keys `json:"lost"`
	// Late has for each gate the requests whose outcome may still come. Voted has the keys of
	// those in canary, VotedAt of those at the step that was entered at FirstAt.
	Late    []Late `json:"late,omitempty"`
	Voted   Keys   `json:"voted"`
	VotedAt Keys   `json:"voted_at"`
	// Counted is when the last of these requests was routed; Gaps are times of which none are
	// known. Reports is the sequence of the last report that was taken in.
	Counted time.Time `json:"counted,omitzero"`
	Gaps    []Gap     `json:"gaps,omitempty"`
	Reports uint64    `json:"reports,omitempty"`
	// Inputs is nil where none are watched.
	Inputs *Inputs `json:"inputs,omitempty"`
	// Cohorts are the names that have gates of their own, by segment source.
	Cohorts [][]string `json:"cohorts,omitempty"`
}

// Process is the evidence of one series against the challenger.
type Process struct {
	Mixture
	// Pools are the counts of a gate with a fixed limit, by limit.
	Pools []Pool `json:"pools,omitempty"`
}

// logE returns the natural logarithm of the evidence.
func (p *Process) logE() float64 {
	log := p.LogE
	for _, pool := range p.Pools {
		log += limit{pool.Limit}.above(float64(pool.Bad), float64(pool.Good))
	}
	return log
}

func (p *Process) absorb(g rollout.Gate, step *Step, c *Cell) {
	at := placeOf(g, step)
	if !at.compares() {
		return
	}
	if g.Metric == rollout.Disagreement {
		pool := p.pool(g.Limit)
		pool.Bad += c.ChallengerOnly
		pool.Good += c.Pairs - c.ChallengerOnly
	}
	p.grow(of(g).gains(at, c))
}

func (p *Process) pool(limit float64) *Pool {
	i := slices.IndexFunc(p.Pools, func(q Pool) bool { return q.Limit == limit })
	if i < 0 {
		p.Pools = append(p.Pools, Pool{Limit: limit})
		i = len(p.Pools) - 1
	}
	return &p.Pools[i]
}

// Absorb takes the counts of passed time into the evidence. What follows hangs on c and
// delta alone.
func (c *Checkpoint) Absorb(s rollout.State, delta Counts, passed time.Duration) {
	for _, entered := range delta.entered() {
		step := delta.Steps[entered]
		gates := s.GatesAt(step.Index)
		for k, cell := range step.Cells {
			if k.Gate < len(gates) {
				c.process(k).absorb(gates[k.Gate], step, cell)
			}
		}
	}
	for _, p := range c.Series {
		p.share(passed)
	}
	c.Counts.Add(delta)
	if now := c.Counts.Steps[s.Entered]; now != nil {
		now.Gathered += passed
	}
	c.Void = c.Void || c.mismatch() >= math.Log(voidAt)
	c.forget()
}

func (c *Checkpoint) process(k Series) *Process { return entryOf(&c.Series, k) }

func placeOf(g rollout.Gate, s *Step) place {
	return place{paired: g.Paired(s.Mode), w: float64(s.Weight) / float64(rollout.FullWeight)}
}

// mismatch returns ln of the evidence that the split is broken.
func (c *Checkpoint) mismatch() float64 {
	return logMean([]float64{mismatches(c.Counts.Keys), mismatches(c.Counts.Missing)})
}

// keptSteps bounds the steps whose counts are kept: later ones are read, and late results
// still come for the one before. The last in shadow is kept beside them.
const keptSteps = 4

func (c *Checkpoint) forget() {
	all := c.Counts.entered()
	if len(all) <= keptSteps {
		return
	}
	rehearsal, _ := c.rehearsal()
	for _, entered := range all[:len(all)-keptSteps] {
		if entered != rehearsal {
			delete(c.Counts.Steps, entered)
		}
	}
}

// rehearsal returns the last step in shadow.
func (c *Checkpoint) rehearsal() (entered uint64, ok bool) {
	for e, s := range c.Counts.Steps {
		if s.Mode == rollout.ModeShadow && (!ok || e > entered) {
			entered, ok = e, true
		}
	}
	return entered, ok
}
