package rollout

import "time"

// View is all that an operator sees of a rollout.
type View struct {
	State
	Progress Progress
	Figures  Figures
	// WaitingFor says in words what keeps the rollout at its step; empty where nothing does.
	WaitingFor string
	// Remaining is the least time left at the step.
	Remaining time.Duration
	// Breaker is "closed", "open", "half_open", or empty without a challenger.
	Breaker string
	// Warnings say what needs an operator's eye.
	Warnings []string
}

// Figures are one replica's live counts for the current rollout.
type Figures struct {
	Champion, Challenger ArmFigures
	Mirror               MirrorFigures
	// Fallbacks counts challenger failures that the champion's answer hid.
	Fallbacks int64
	// Judgement is what the gates say; its zero value where nothing is judged.
	Judgement Judgement
}

// ArmFigures count live requests, as assigned.
type ArmFigures struct {
	Requests, Failures int64
	Latency            Quantiles
}

// MirrorFigures count copies and comparisons.
type MirrorFigures struct {
	Sent, Failures      int64
	Skipped             map[Reason]int64
	Compared, Disagreed int64
	Latency             Quantiles
}

// Quantiles are of answered calls; 0 where there were none.
type Quantiles struct {
	P50, P95, P99 time.Duration
}
