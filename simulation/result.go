package simulation

import "time"

// Outcome is how a simulated rollout ended.
type Outcome string

// The outcomes.
const (
	Promoted   Outcome = "promoted"
	RolledBack Outcome = "rolled_back"
	// Waiting rollouts had come to no end at the horizon.
	Waiting Outcome = "waiting"
	// Held ones have overstayed a step and wait for an operator.
	Held Outcome = "held"
	// Suspended ones had their breaker open in shadow: their copies are suspended.
	Suspended Outcome = "suspended"
)

// Result is what became of one simulated rollout.
type Result struct {
	Outcome Outcome
	// By is what rolled it back: a gate, with its cohort, "breaker" or "max_duration of …"; of
	// one that was not promoted either, the gates that had not passed, or what else it waited for.
	By string
	// At is when it ended, after Requests.
	At       time.Duration
	Requests int64
	// Since is the time, and SinceRequests the requests, since the challenger's own
	// behaviour began; 0 where that was still to come.
	Since         time.Duration
	SinceRequests int64
	// Served is how many requests the challenger answered to clients, Users how many keys
	// sent them.
	Served int64
	Users  int
	// Hidden failures of the challenger got the champion's answer; Visible ones failed there
	// too. Slow answers took longer than Setup.Slow, Wrong ones differ from the champion's.
	Hidden, Visible, Slow, Wrong int64
	// Void says that the split was found broken.
	Void bool
	// Steps are the times at each step of the plan that was left, by its index.
	Steps map[int]time.Duration
}

// Caught tells whether the challenger is off the traffic, or will not get more.
func (r Result) Caught() bool { return r.Outcome == RolledBack || r.Outcome == Suspended }
