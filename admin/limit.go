package admin

import (
	"sync"
	"time"
)

// Refusals cost the caller nothing and the audit a synced write, so a caller without a
// credential could fill the disk. At most refusalBurst are written at once and
// refusalsPerSecond for long; the rest are counted. Callers with and without a
// credential have a limiter each, so that strangers can't silence the others' entries.
const (
	refusalBurst      = 100
	refusalsPerSecond = 5
)

// limiter is a token bucket that counts what it held back.
type limiter struct {
	mu         sync.Mutex
	left       float64
	last       time.Time
	suppressed int64
}

func newLimiter(now time.Time) *limiter { return &limiter{left: refusalBurst, last: now} }

// take tells whether one more may be written now, and how many were held back before it.
func (l *limiter) take(now time.Time) (suppressed int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if passed := now.Sub(l.last); passed > 0 {
		l.left = min(refusalBurst, l.left+passed.Seconds()*refusalsPerSecond)
	}
	l.last = now
	if l.left < 1 {
		l.suppressed++
		return 0, false
	}
	l.left--
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}
