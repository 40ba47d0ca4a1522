package admin

import (
	"math"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Evidence is what was counted for the rollout when it changed, on this replica.
type Evidence struct {
	Champion   ArmEvidence    `json:"champion"`
	Challenger ArmEvidence    `json:"challenger"`
	Mirror     MirrorEvidence `json:"mirror"`
	// Fallbacks are challenger failures that the champion's answer hid.
	Fallbacks int64 `json:"fallbacks"`
	// Alpha is the budget of false alarms. LogEvidence is the natural logarithm of the
	// evidence against the challenger, all gates together; at ln(1/Alpha) it is rolled back.
	Alpha       float64  `json:"alpha,omitempty"`
	LogEvidence *float64 `json:"log_evidence,omitempty"`
	// Gates are those that apply, for all requests and for cohorts that fail.
	Gates []GateEvidence `json:"gates,omitempty"`
	// Split says why the split can't be trusted, so that no verdict counts.
	Split string `json:"split,omitempty"`
}

// ArmEvidence counts live requests as assigned; latencies are in milliseconds.
type ArmEvidence struct {
	Requests int64   `json:"requests"`
	Failures int64   `json:"failures"`
	P50      float64 `json:"p50_ms"`
	P95      float64 `json:"p95_ms"`
	P99      float64 `json:"p99_ms"`
}

// MirrorEvidence counts copies and comparisons; latencies are in milliseconds.
type MirrorEvidence struct {
	Sent      int64                    `json:"sent"`
	Failures  int64                    `json:"failures"`
	Skipped   map[rollout.Reason]int64 `json:"skipped,omitempty"`
	Compared  int64                    `json:"compared"`
	Disagreed int64                    `json:"disagreed"`
	P50       float64                  `json:"p50_ms"`
	P95       float64                  `json:"p95_ms"`
	P99       float64                  `json:"p99_ms"`
}

// GateEvidence is a gate's verdict and what it rests on, as rollout.GateReport has it.
// Numbers that are not finite are left out, for JSON has none.
type GateEvidence struct {
	Name    string             `json:"name"`
	Segment string             `json:"segment,omitempty"`
	DryRun  bool               `json:"dry_run,omitempty"`
	Verdict rollout.Verdict    `json:"verdict"`
	Why     string             `json:"why"`
	Counts  rollout.GateCounts `json:"counts"`
	// Low and High are absent where there is no interval.
	Estimate *float64 `json:"estimate,omitempty"`
	Low      *float64 `json:"low,omitempty"`
	High     *float64 `json:"high,omitempty"`
	LogFail  *float64 `json:"log_fail,omitempty"`
	LogPass  *float64 `json:"log_pass,omitempty"`
}

func evidenceOf(f rollout.Figures) *Evidence {
	m, q := f.Mirror, f.Mirror.Latency
	out := &Evidence{
		Champion:   armEvidence(f.Champion),
		Challenger: armEvidence(f.Challenger),
		Mirror: MirrorEvidence{Sent: m.Sent, Failures: m.Failures, Skipped: m.Skipped, Compared: m.Compared,
			Disagreed: m.Disagreed, P50: millis(q.P50), P95: millis(q.P95), P99: millis(q.P99)},
		Fallbacks: f.Fallbacks,
	}
	j := f.Judgement
	if judged(j) {
		out.Alpha, out.LogEvidence = j.Alpha, finite(j.LogEvidence)
	}
	for _, r := range j.Gates {
		if r.Applies && (r.Segment == "" || r.Verdict == rollout.Fail) {
			out.Gates = append(out.Gates, gateEvidence(r))
		}
	}
	if j.Split.Void {
		out.Split = cut(j.Split.Why, maxReason)
	}
	return out
}

func gateEvidence(r rollout.GateReport) GateEvidence {
	out := GateEvidence{Name: r.Gate.Name(), Segment: cut(r.Segment, maxField), DryRun: r.Gate.DryRun, Verdict: r.Verdict, Why: cut(r.Why, maxReason),
		Counts: r.Counts, Estimate: finite(r.Estimate), LogFail: finite(r.LogFail), LogPass: finite(r.LogPass)}
	if r.Low <= r.High {
		out.Low, out.High = finite(r.Low), finite(r.High)
	}
	return out
}

// finite returns nil for what JSON can't write: an entry must not be lost for it.
func finite(x float64) *float64 {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return nil
	}
	return &x
}

func armEvidence(a rollout.ArmFigures) ArmEvidence {
	q := a.Latency
	return ArmEvidence{Requests: a.Requests, Failures: a.Failures, P50: millis(q.P50), P95: millis(q.P95), P99: millis(q.P99)}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
