package rollout

import (
	"slices"
	"time"
)

// Metric names what a gate looks at.
type Metric string

// The metrics.
const (
	// ErrorRate compares the shares of requests that fail by the arm's own fault.
	ErrorRate Metric = "error-rate"
	// SlowRate compares the shares of requests not answered within Gate.SlowerThan.
	SlowRate Metric = "slow-rate"
	// TailLatency compares the champion's slowest hundredth with the challenger's.
	TailLatency Metric = "tail-latency"
	// Disagreement bounds the share of pairs whose predictions disagree.
	Disagreement Metric = "disagreement"
	// ExcessDisagreement compares it with how often the champion, asked twice, disagrees with
	// itself.
	ExcessDisagreement Metric = "excess-disagreement"
	// ScoreShift bounds the mean difference of a score output, challenger − champion.
	ScoreShift Metric = "score-shift"
	// Drift bounds how far the distribution of a score output moved.
	Drift Metric = "drift"
	// ReportedOutcome compares what came of the arms' predictions, as it is reported later.
	ReportedOutcome Metric = "outcome"
)

// Reaction is what follows where a gate fails or a step takes too long.
type Reaction string

// The reactions.
const (
	RollBack Reaction = "rollback"
	Hold     Reaction = "hold"
)

// Gate is one judgement that a rollout has to stand. Which fields count hangs on Metric.
type Gate struct {
	Metric Metric `json:"metric"`
	// Output is the score output of ScoreShift and Drift.
	Output string `json:"output,omitempty"`
	// Margin is how much worse than the champion the challenger may be: a share of
	// requests (0.02 is 2 percentage points), or where Relative a share of the champion's
	// rate; of its latency for TailLatency, which is always Relative.
	Margin   float64 `json:"margin,omitempty"`
	Relative bool    `json:"relative,omitempty"`
	// Limit is the largest share for Disagreement, the largest absolute shift for
	// ScoreShift, the largest population stability index for Drift.
	Limit float64 `json:"limit,omitempty"`
	// Range bounds the differences of ScoreShift: they are clamped to [−Range, Range].
	Range float64 `json:"range,omitempty"`
	// Outcome is the name of ReportedOutcome's. The gate judges the share of requests for
	// which it is 1, or where Mean its mean, of values that are clamped to [From, To]. More of
	// it is better, or where Fewer less. A request without a report has 0, or where
	// ReportedOnly does not count. Margin is a share, or in the values' unit where Mean.
	Outcome      string  `json:"outcome,omitempty"`
	Mean         bool    `json:"mean,omitempty"`
	Fewer        bool    `json:"fewer,omitempty"`
	ReportedOnly bool    `json:"reported_only,omitempty"`
	From         float64 `json:"from,omitempty"`
	To           float64 `json:"to,omitempty"`
	// SlowerThan is SlowRate's.
	SlowerThan time.Duration `json:"slower_than,omitempty"`
	// Horizon is the age since routing at which a request is judged, the same for both arms.
	Horizon time.Duration `json:"horizon"`
	// Share is the gate's part of Rules.Alpha, over 0 to 1; 0 for one that does not spend it.
	Share float64 `json:"share"`
	// MinRequests is the least evidence at a step for a pass: requests of both arms, or pairs.
	MinRequests int64 `json:"min_requests"`
	// DryRun gates are judged and shown, and have no effect.
	DryRun bool `json:"dry_run,omitempty"`
	// InShadow and InCanary say in which modes the gate applies.
	InShadow bool `json:"in_shadow"`
	InCanary bool `json:"in_canary"`
	// OnFail is RollBack, or Hold where a failed gate only keeps the step.
	OnFail Reaction `json:"on_fail"`
}

// Name tells the gates of a model apart, such as "error-rate" or "drift(probability)".
func (g Gate) Name() string {
	if of := g.Output + g.Outcome; of != "" { // a gate has one of them at most
		return string(g.Metric) + "(" + of + ")"
	}
	return string(g.Metric)
}

// In tells whether the gate applies in the mode.
func (g Gate) In(m Mode) bool {
	return g.InShadow && m == ModeShadow || g.InCanary && m == ModeCanary
}

// Spends tells whether the gate can spend the budget of false rollbacks. A dry run can't,
// nor one that only holds; and drift is no test that a budget could bound.
func (g Gate) Spends() bool { return !g.DryRun && g.OnFail == RollBack && g.Metric != Drift }

// Latency tells whether the gate judges how long answers take.
func (g Gate) Latency() bool { return g.Metric == SlowRate || g.Metric == TailLatency }

// Late tells whether the gate's evidence is reported after the answer, by others.
func (g Gate) Late() bool { return g.Metric == ReportedOutcome }

// Paired tells whether the gate's evidence is pairs of predictions for the same request:
// always in shadow, and in canary for those metrics that compare predictions.
func (g Gate) Paired(m Mode) bool {
	switch g.Metric {
	case Disagreement, ExcessDisagreement, ScoreShift, Drift:
		return true
	}
	return m == ModeShadow
}

// Rules are how a rollout is judged. They hold for all of it, so that the budget of false
// alarms is fixed before the first request.
type Rules struct {
	// Alpha bounds the chance that a challenger that is no worse is ever rolled back by a
	// gate: one budget over all gates and cohorts. A pass is wrong at most so often, too.
	Alpha float64 `json:"alpha,omitempty"`
	// Gates have different names.
	Gates []Gate `json:"gates,omitempty"`
	// Segments are sources of cohorts, such as "parameter:region", at most MaxSegmentSources.
	Segments []string `json:"segments,omitempty"`
	// WarmUp is the first time at each step, in which latency is kept apart: caches are cold.
	WarmUp time.Duration `json:"warm_up,omitempty"`
	// MaxCohorts are judged for each source, the first that come; the rest is one, "other".
	MaxCohorts int `json:"max_cohorts,omitempty"`
	// Inputs are those whose distributions are compared; no two of one name.
	Inputs []WatchedInput `json:"inputs,omitempty"`
}

// Outcomes returns the outcomes that gates judge, and the age at which they do.
func (r Rules) Outcomes() map[string]time.Duration {
	var all map[string]time.Duration
	for _, g := range r.Gates {
		if g.Late() {
			if all == nil {
				all = map[string]time.Duration{}
			}
			all[g.Outcome] = g.Horizon
		}
	}
	return all
}

// MaxSegmentSources bounds Rules.Segments.
const MaxSegmentSources = 4

// GatesAt returns the gates with what the step overrides, in the order of Rules.
func (s State) GatesAt(step int) []Gate {
	gates := slices.Clone(s.Rules.Gates)
	if step < 0 || step >= len(s.Plan) {
		return gates
	}
	for _, o := range s.Plan[step].Gates {
		if i := slices.IndexFunc(gates, func(g Gate) bool { return g.Name() == o.Name() }); i >= 0 {
			o.Share = gates[i].Share // the budget is fixed for the rollout
			gates[i] = o
		}
	}
	return gates
}
