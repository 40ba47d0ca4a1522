package outcome

import (
	"sync"
	"time"
)

// seldom keeps a log readable where the same goes wrong again and again: it lets a line
// through once a second. The zero value is ready.
type seldom struct {
	mu     sync.Mutex
	last   time.Time
	unsaid int
}

// say tells whether a line may be written, and how many were not since the last one.
func (s *seldom) say() (unsaid int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.last) >= time.Second {
		unsaid, s.unsaid, s.last = s.unsaid, 0, now
		return unsaid, true
	}
	s.unsaid++
	return 0, false
}
