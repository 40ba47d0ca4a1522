package canary

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestCallsThatReachAFailingChallengerAreBounded: with a cap on calls in flight, as the
// gateway keeps, no more than threshold + cap calls are ever admitted.
func TestCallsThatReachAFailingChallengerAreBounded(t *testing.T) {
	for range 20 {
		const inFlight = 16
		b := NewBreaker(usual())
		b.SetLive(true)
		var admitted atomic.Int64
		var callers sync.WaitGroup
		for range inFlight {
			callers.Go(func() {
				for range 1000 {
					done, ok := b.Allow()
					if !ok {
						continue
					}
					admitted.Add(1)
					done(failing)
				}
			})
		}
		callers.Wait()
		if n := admitted.Load(); n < 10 || n > 10+inFlight {
			t.Fatalf("%d calls reached the challenger, want 10 to %d", n, 10+inFlight)
		}
	}
}

func BenchmarkBreaker(b *testing.B) {
	breaker := NewBreaker(usual())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			done, _ := breaker.Allow()
			done(fine)
		}
	})
}
