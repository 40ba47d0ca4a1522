package simulation

import (
	"context"

	"github.com/understudy-serving/understudy/rollout"
)

// memory is the store of one rollout, for one caller at a time.
type memory struct {
	state    rollout.State
	progress rollout.Progress
	evidence rollout.StoredEvidence
}

func (m *memory) Load(context.Context, string) (rollout.State, error) {
	if m.state.Revision == 0 {
		return m.state, rollout.ErrNotFound
	}
	return m.state, nil
}

func (m *memory) CompareAndSwap(_ context.Context, expected uint64, next rollout.State) error {
	if m.state.Revision != expected {
		return &rollout.StaleError{Model: next.Model, Expected: expected, Current: m.state}
	}
	m.state = next
	return nil
}

func (m *memory) SaveProgress(_ context.Context, _ string, p rollout.Progress) error {
	m.progress = p
	return nil
}

func (m *memory) LoadProgress(context.Context, string) (rollout.Progress, error) {
	return m.progress, nil
}

func (m *memory) SaveEvidence(_ context.Context, _ string, _ uint64, next rollout.StoredEvidence) error {
	m.evidence = next
	return nil
}

func (m *memory) LoadEvidence(context.Context, string) (rollout.StoredEvidence, error) {
	return m.evidence, nil
}

// Watch has nobody to hear of.
func (m *memory) Watch(ctx context.Context, _ func(rollout.State)) error {
	<-ctx.Done()
	return ctx.Err()
}
