package rollout

import "time"

// State is all that is stored of a model's rollout. It is a value: every change
// makes a new one with a higher revision.
type State struct {
	// Model is the public name.
	Model string `json:"model"`
	// Revision rises by one with every stored change and never resets.
	Revision uint64 `json:"revision"`
	// Rollout is the revision at which the challenger's life began: its first step or
	// its last retry. Evidence and breaker belong to one Rollout.
	Rollout uint64 `json:"rollout"`
	// Entered is the revision at which the current step was entered. Bake and counts
	// belong to one Entered.
	Entered uint64 `json:"entered"`

	Mode   Mode   `json:"mode"`
	Weight Weight `json:"weight"`
	// Step is the index in Plan of the resting place; meaningful in shadow and canary.
	Step int `json:"step"`
	// Paused holds the plan.
	Paused bool `json:"paused"`
	// Override says that SetMode put mode and weight beside the plan.
	Override bool `json:"override,omitempty"`

	Plan Plan `json:"plan"`
	// Rules belong to the Rollout, as the plan does.
	Rules      Rules `json:"rules"`
	Champion   Spec  `json:"champion"`
	Challenger Spec  `json:"challenger"`

	// Changes are the last ones, newest first, at most MaxChanges.
	Changes []Change `json:"changes"`
}

// MaxChanges bounds State.Changes.
const MaxChanges = 20

// Change is one line of a rollout's history.
type Change struct {
	Time     time.Time `json:"time"`
	Revision uint64    `json:"revision"`
	Kind     EventKind `json:"kind"`
	Actor    string    `json:"actor"`
	Reason   string    `json:"reason"`
	Mode     Mode      `json:"mode"`
	Weight   Weight    `json:"weight"`
}

// HasChallenger tells whether the model has a challenger at all.
func (s State) HasChallenger() bool { return s.Challenger != Spec{} }

// Recorded tells whether requests are eligible for a record: shadow and canary.
func (s State) Recorded() bool { return s.Mode == ModeShadow || s.Mode == ModeCanary }

// Answering returns the spec that answers requests not given to a canary: the
// challenger's once promoted, else the champion's.
func (s State) Answering() Spec {
	if s.Mode == ModePromoted {
		return s.Challenger
	}
	return s.Champion
}

// Current returns the step where the rollout rests. ok is false outside shadow and
// canary, beside the plan (Override), and where the plan is empty.
func (s State) Current() (step Step, ok bool) {
	if !s.Recorded() || s.Override || s.Step >= len(s.Plan) {
		return Step{}, false
	}
	return s.Plan[s.Step], true
}

// PlanIndex returns the index of the step where the rollout rests, −1 where it is at none.
func (s State) PlanIndex() int {
	if _, ok := s.Current(); ok {
		return s.Step
	}
	return -1
}

// Progress is what a rollout has gathered at its current step. It changes too often
// for a revision of its own and is stored beside the state.
type Progress struct {
	// Entered names the step by the revision that entered it; progress of another is void.
	Entered uint64 `json:"entered"`
	// Elapsed is the time spent at the step on a monotonic clock, pauses left out.
	Elapsed time.Duration `json:"elapsed"`
	// Routed counts the requests routed at the step, both arms.
	Routed int64 `json:"routed"`
	// Answered counts those that the challenger itself answered to a client.
	Answered int64 `json:"answered"`
	// Pairs counts requests for which both arms gave a prediction.
	Pairs int64 `json:"pairs"`
}

// StoredEvidence is what the gates know of a rollout. It changes too often for a revision
// of the state and is stored beside it, under a version of its own.
type StoredEvidence struct {
	// Rollout names the challenger's life that it is about; that of another is void.
	Rollout uint64 `json:"rollout"`
	// Version rises by one each time it is stored.
	Version uint64 `json:"version"`
	// Checkpoint is the gates' own, as JSON.
	Checkpoint []byte `json:"checkpoint"`
}
