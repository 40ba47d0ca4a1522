package modelserver

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// mirrorKey is the request metadata that marks a mirrored call.
const mirrorKey = "x-understudy-mirror"

// keptCalls bounds the memory of a server that runs for days.
const keptCalls = 1 << 16

// Call is one inference as the server saw it.
type Call struct {
	// Mirrored says that the call carried x-understudy-mirror.
	Mirrored bool
	Received time.Time
	// Ended is zero while the call is in flight.
	Ended time.Time
	// Code is how it ended, as far as this server knows.
	Code codes.Code
}

// Counts are numbers of inferences received.
type Counts struct {
	Live, Mirrored int
}

// Total counts both.
func (c Counts) Total() int { return c.Live + c.Mirrored }

// Calls returns the inferences received so far, in order: all of the last 32,768 at least.
func (s *Server) Calls() []Call {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return slices.Clone(s.journal.calls)
}

// Counts returns how many inferences the server has received since it started,
// whatever became of them.
func (s *Server) Counts() Counts {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.counts
}

// Since counts the inferences received after t, among those that Calls returns.
func (s *Server) Since(t time.Time) Counts {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	var c Counts
	for _, call := range s.journal.calls {
		if call.Received.After(t) {
			c.add(call.Mirrored)
		}
	}
	return c
}

func (c *Counts) add(mirrored bool) {
	if mirrored {
		c.Mirrored++
		return
	}
	c.Live++
}

// journal keeps the last calls. first is the number of the oldest one kept.
type journal struct {
	mu     sync.Mutex
	counts Counts
	first  int
	calls  []Call
}

// received notes a call and returns its number.
func (j *journal) received(ctx context.Context) int {
	mirrored := len(metadata.ValueFromIncomingContext(ctx, mirrorKey)) > 0
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.calls) == keptCalls {
		j.calls = slices.Delete(j.calls, 0, keptCalls/2)
		j.first += keptCalls / 2
	}
	j.counts.add(mirrored)
	j.calls = append(j.calls, Call{Mirrored: mirrored, Received: time.Now()})
	return j.first + len(j.calls) - 1
}

func (j *journal) ended(n int, code codes.Code) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n < j.first {
		return
	}
	j.calls[n-j.first].Ended, j.calls[n-j.first].Code = time.Now(), code
}
