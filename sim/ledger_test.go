package main

import "testing"

func BenchmarkLook(b *testing.B) {
	l := newLedger(1, 1000, errorRate(0.1, true))
	for b.Loop() {
		l.live(rates{.01, .01}, long)
	}
}
