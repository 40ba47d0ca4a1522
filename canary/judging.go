package canary

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// GateActor is the actor of the rollbacks that a gate decides.
const GateActor = "gate"

// judgeAll lets the gates look at each rollout, paused ones included, until ctx ends.
func (c *Conductor) judgeAll(ctx context.Context) {
	look := time.NewTicker(c.o.JudgeEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		for _, m := range c.all() {
			c.judge(m)
		}
	}
}

// judge rolls the model back where a gate has failed. It does no I/O.
func (c *Conductor) judge(m *model) {
	m.mu.Lock()
	s, evidence, due := m.live.State, m.live.Evidence, m.loaded && m.live.State.Recorded()
	m.mu.Unlock()
	if !due || !evidence.stirs() {
		return
	}
	if j := evidence.judge(s, false); j.Split.Void || hasFailed(j) {
		c.conclude(m, evidence, evidence.judge(s, !c.o.Brief))
	}
}

func hasFailed(j rollout.Judgement) bool {
	_, failed := j.Decisive()
	return failed
}

// review has the gates say all that people read, where there is news. Beyond shadow and
// canary that is done once, for what they said last.
func (c *Conductor) review(m *model) {
	m.mu.Lock()
	s, evidence := m.live.State, m.live.Evidence
	now := c.o.Elapsed()
	due := m.judgement.Entered != s.Entered || s.Recorded() && (evidence.hasNews() || now-m.reviewed >= c.o.SaveEvery)
	if due = due && m.loaded && s.HasChallenger(); due {
		m.reviewed = now
	}
	m.mu.Unlock()
	if due {
		c.conclude(m, evidence, evidence.judge(s, !c.o.Brief))
	}
}

// conclude takes a judgement over, unless the rollout has moved on since.
func (c *Conductor) conclude(m *model, from *Evidence, j rollout.Judgement) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.live.State
	if m.live.Evidence != from || s.Entered != j.Entered {
		return
	}
	if j.Split.Void && !m.judgement.Split.Void {
		c.o.Logger.Error("the split is broken, no gate's verdict counts and the rollout holds", "model", m.name, "why", j.Split.Why)
	}
	c.tellUnlike(m, s, j)
	m.judgement = j
	failed, ok := j.Decisive()
	if !ok || !s.Recorded() {
		return
	}
	e := rollout.Event{Kind: rollout.EventRollback, Actor: GateActor, Reason: "gate " + gateName(failed) + ": " + failed.Why}
	if err := c.rollBack(m, s, e, byGate); err != nil {
		c.o.Logger.Error("a gate failed, but the rollout can't be rolled back: please report this", "model", m.name, "error", err)
	}
}

// gateName names a gate with its cohort, such as "error-rate (region=eu)".
func gateName(r rollout.GateReport) string {
	if r.Segment == "" {
		return r.Gate.Name()
	}
	return fmt.Sprintf("%s (%s)", r.Gate.Name(), r.Segment)
}

// saveEvidence stores the gates' checkpoint where it has changed.
func (c *Conductor) saveEvidence(ctx context.Context, m *model) {
	m.mu.Lock()
	s, evidence, version, due := m.live.State, m.live.Evidence, m.evidence, m.loaded && m.live.State.HasChallenger()
	m.mu.Unlock()
	if !due {
		return
	}
	checkpoint, changed, err := evidence.bench.encode()
	if err != nil {
		c.o.Logger.Error("the gates' evidence can't be stored: please report this", "model", m.name, "error", err)
		return
	}
	if !changed {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.StoreTimeout)
	defer cancel()
	next := rollout.StoredEvidence{Rollout: s.Rollout, Version: version + 1, Checkpoint: checkpoint}
	err = c.met("save_evidence", c.o.Store.SaveEvidence(ctx, m.name, version, next))
	if errors.Is(err, rollout.ErrStale) {
		// One process owns a rollout's evidence: this is its own write, whose answer got lost.
		if stored, e := c.o.Store.LoadEvidence(ctx, m.name); e == nil {
			next.Version = stored.Version
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil || errors.Is(err, rollout.ErrStale) {
		m.evidence = next.Version
	}
	if err != nil { // tried again when it is due again; a crash until then costs evidence
		evidence.bench.touch()
	}
}
