package main

import (
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

func BenchmarkLook(b *testing.B) {
	l := newLedger(1, 1000, errorRate(0.1, true))
	for b.Loop() {
		l.live(rates{.01, .01}, long)
	}
}

func BenchmarkWholePath(b *testing.B) {
	s := canaryOf(5000, rollout.Gate{Metric: rollout.ErrorRate, Relative: true, Horizon: horizon})
	s.Horizon = 9 * time.Second
	for b.Loop() {
		play(b.Context(), s, 1)
	}
}
