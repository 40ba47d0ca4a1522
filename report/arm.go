package report

import (
	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

type arms struct {
	Champion   *arm `json:"champion"`
	Challenger *arm `json:"challenger"`
}

// arm is what one arm did.
type arm struct {
	// Calls were made, Answered of them gave a prediction. Failed are failures by the arm's own
	// fault, as the gates count them.
	Calls    int64 `json:"calls"`
	Answered int64 `json:"answered"`
	Failed   int64 `json:"failed"`
	// Codes are those of the calls, Absent why there is no prediction.
	Codes  map[string]int64 `json:"codes"`
	Absent map[string]int64 `json:"absent"`
	// Latency is in seconds, of all calls.
	Latency *gate.Sketch `json:"latency"`
	Slowest float64      `json:"slowest"`
}

func newArm() *arm {
	return &arm{Codes: map[string]int64{}, Absent: map[string]int64{}, Latency: gate.NewSketch()}
}

// called tells whether the arm was called at all; a record says why not in the same field
// in which it says why a call gave nothing.
func (c *call) called() bool {
	switch rollout.Reason(c.absent) {
	case "", rollout.Timeout, rollout.Failed, rollout.Malformed, rollout.Cancelled:
		return true
	}
	return false
}

func (a *arm) count(c *call, failed bool) {
	if c.absent != "" {
		bump(a.Absent, c.absent)
	}
	if !c.called() {
		return
	}
	a.Calls++
	a.Answered += one(c.absent == "")
	a.Failed += one(failed)
	bump(a.Codes, c.code.Label())
	if c.latency > 0 {
		a.Latency.Observe(c.latency.Seconds())
		a.Slowest = max(a.Slowest, c.latency.Seconds())
	}
}

func (a *arm) merge(o *arm) {
	a.Calls += o.Calls
	a.Answered += o.Answered
	a.Failed += o.Failed
	addCounts(a.Codes, o.Codes)
	addCounts(a.Absent, o.Absent)
	a.Latency.Merge(o.Latency)
	a.Slowest = max(a.Slowest, o.Slowest)
}

// failed lays the blame for the end of a call as the gateway did; for a challenger's with
// the champion's call beside it.
func (c *call) failed(champion *call) bool {
	if !c.called() {
		return false
	}
	reason := rollout.Reason(c.absent)
	blame := rollout.Judge(rollout.Ending{Code: c.code, OwnBudget: champion != nil && reason == rollout.Timeout,
		CallerGone: reason == rollout.Cancelled, Malformed: reason == rollout.Malformed})
	if champion != nil {
		blame = blame.Settle(champion.called() && champion.absent == "")
	}
	return blame == rollout.OnChallenger
}
