package shadow

import (
	"context"
	"sync/atomic"
	"time"
)

// partsOfTimeout is into how many parts a timeout is divided. Copies that begin in one part share a
// deadline: a timer for each copy costs more than to compare what it brings.
const partsOfTimeout = 64

// deadlines gives out contexts with a timeout. Each ends up to a 64th of it early.
type deadlines struct {
	parent  context.Context
	timeout time.Duration
	now     atomic.Pointer[slice]
}

// slice is a context, and until when it is given out.
type slice struct {
	context.Context
	until time.Time
}

// begin returns the context of a copy that begins at a time.
func (d *deadlines) begin(at time.Time) context.Context {
	s := d.now.Load()
	if s == nil || !at.Before(s.until) {
		ctx, cancel := context.WithDeadline(d.parent, at.Add(d.timeout))
		context.AfterFunc(ctx, cancel) // nobody knows when its last copy ends
		s = &slice{ctx, at.Add(d.timeout / partsOfTimeout)}
		d.now.Store(s)
	}
	return s.Context
}
