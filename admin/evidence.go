package admin

import (
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

func evidenceOf(f rollout.Figures) *Evidence {
	m, q := f.Mirror, f.Mirror.Latency
	return &Evidence{
		Champion:   armEvidence(f.Champion),
		Challenger: armEvidence(f.Challenger),
		Mirror: MirrorEvidence{Sent: m.Sent, Failures: m.Failures, Skipped: m.Skipped, Compared: m.Compared,
			Disagreed: m.Disagreed, P50: millis(q.P50), P95: millis(q.P95), P99: millis(q.P99)},
		Fallbacks: f.Fallbacks,
	}
}

func armEvidence(a rollout.ArmFigures) ArmEvidence {
	q := a.Latency
	return ArmEvidence{Requests: a.Requests, Failures: a.Failures, P50: millis(q.P50), P95: millis(q.P95), P99: millis(q.P99)}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
