package shadow

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Copies of one moment share a deadline, which none of them outlives, nor loses more than a
// 64th to.
func TestDeadlinesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(context.Background())
		d := deadlines{parent: parent, timeout: 640 * time.Millisecond}
		began := time.Now()
		first := d.begin(began)
		for _, c := range []struct {
			after  time.Duration
			shared bool
		}{{0, true}, {9 * time.Millisecond, true}, {10 * time.Millisecond, false}} {
			at := began.Add(c.after)
			ctx := d.begin(at)
			deadline, _ := ctx.Deadline()
			if left := deadline.Sub(at); left > d.timeout || left < d.timeout-d.timeout/partsOfTimeout || (ctx == first) != c.shared {
				t.Errorf("%s later: %s are left, shared %v", c.after, left, ctx == first)
			}
		}
		time.Sleep(640 * time.Millisecond)
		synctest.Wait()
		if !errors.Is(first.Err(), context.DeadlineExceeded) {
			t.Errorf("the first ended with %v", first.Err())
		}
		last := d.begin(time.Now())
		cancel()
		if !errors.Is(last.Err(), context.Canceled) {
			t.Errorf("the last ended with %v", last.Err())
		}
	})
}
