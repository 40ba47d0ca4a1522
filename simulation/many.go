package simulation

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// Parallel calls do for 0 to n−1 on all processors until ctx ends, and returns when the
// calls have.
func Parallel(ctx context.Context, n int, do func(i int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	workers.Wait()
}

// Many simulates n rollouts, of the seeds from seed on. It returns those that have ended
// when ctx does, and calls ended, where not nil, from many goroutines after each.
func Many(ctx context.Context, s Setup, seed uint64, n int, ended func()) ([]Result, error) {
	all := make([]Result, n)
	errs := make([]error, n)
	ran := make([]bool, n)
	Parallel(ctx, n, func(i int) {
		all[i], errs[i] = Run(ctx, s, seed+uint64(i))
		ran[i] = errs[i] == nil
		if ended != nil {
			ended()
		}
	})
	var out []Result
	for i := range all {
		if errs[i] != nil && ctx.Err() == nil {
			return nil, errs[i]
		}
		if ran[i] {
			out = append(out, all[i])
		}
	}
	return out, nil
}
