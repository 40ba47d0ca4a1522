package report

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Run is a report in the making.
type Run struct {
	Options Options
	Source  Source
	// State, if set, keeps what was counted; a run on it goes on where the one before was.
	State *State
	// Follow goes on behind the end, until the context is cancelled.
	Follow bool
	// Committed, if set, is told the offsets behind what was saved.
	Committed func(ctx context.Context, next map[int]int64) error
	// SaveEach is the time between two saves. Default 5 s.
	SaveEach time.Duration

	parts []*part
}

// part is the reading of one partition.
type part struct {
	Part
	// removed are messages that were gone before they were read.
	removed int64
	// start and before are the offset and the messages with which the run began.
	start, before int64

	mu     sync.Mutex // guards all below, and next and removed
	tally  *Tally
	window *window
	err    error
}

// Progress is how far a run is since it began or went on.
type Progress struct {
	// Messages were read.
	Messages int64
	// Share is the part of what there was to read: 0 to 1.
	Share float64
}

// Begin finds out what there is to read.
func (r *Run) Begin(ctx context.Context) error {
	parts, err := r.Source.Parts(ctx)
	if err != nil {
		return err
	}
	for _, p := range parts {
		r.parts = append(r.parts, &part{Part: p, tally: newTally(&r.Options), window: newWindow(windowSize(len(parts)))})
	}
	if r.State != nil {
		if err := r.State.restore(r); err != nil {
			return err
		}
	}
	for _, p := range r.parts {
		p.start, p.before = p.Next, p.tally.Messages.Read
	}
	return nil
}

// resume lets a partition go on from what was saved of it.
func (p *part) resume(s *savedPart) error {
	if s.Next > p.End {
		return fmt.Errorf("%w: it has read to offset %d of partition %d, which ends at %d; name another folder", ErrOtherTopic, s.Next, p.ID, p.End)
	}
	options, size := p.tally.options, p.window.size
	p.removed = s.Removed + max(p.Next-s.Next, 0)
	p.Next = max(p.Next, s.Next)
	p.tally, p.window = s.Tally, newWindow(size)
	p.tally.options = options
	return p.window.UnmarshalJSON(s.IDs)
}

// Read reads all partitions side by side, until their ends or until ctx is done, which is
// no error. What was read is saved then; saving is also tried where reading failed.
func (r *Run) Read(ctx context.Context) error {
	reading, stop := context.WithCancelCause(ctx)
	saver := make(chan error, 1)
	go func() {
		err := r.keepSaving(reading)
		stop(err)
		saver <- err
	}()
	var readers sync.WaitGroup
	for _, p := range r.parts {
		if p.Next < p.End || r.Follow {
			readers.Go(func() { p.err = r.read(reading, p) })
		}
	}
	readers.Wait()
	interrupted := reading.Err() != nil
	stop(nil)
	err := <-saver
	for _, p := range r.parts {
		if p.err != nil && !interrupted {
			err = errors.Join(err, fmt.Errorf("partition %d: %w", p.ID, p.err))
		}
	}
	return errors.Join(err, r.save(context.WithoutCancel(ctx)))
}

func (r *Run) read(ctx context.Context, p *part) error {
	err := r.Source.Read(ctx, p.Part, r.Follow, func(m *Message) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if m.Offset < p.Next {
			return nil // before what was asked for, or again
		}
		if m.Offset > p.Next {
			p.removed += m.Offset - p.Next
		}
		p.tally.add(p.ID, m, p.window.seen)
		p.Next = m.Next
		return nil
	})
	if err == nil && !r.Follow {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.Next = max(p.Next, p.End) // behind the last message there may be marks of transactions
	}
	return err
}

// keepSaving saves from time to time until ctx ends.
func (r *Run) keepSaving(ctx context.Context) error {
	each := r.SaveEach
	if each <= 0 {
		each = 5 * time.Second
	}
	tick := time.NewTicker(each)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := r.save(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// save writes down tallies and offsets as they belong together, and then tells Committed.
func (r *Run) save(ctx context.Context) error {
	if r.State == nil {
		return nil
	}
	next, err := r.State.save(r)
	if err != nil || r.Committed == nil {
		return err
	}
	return r.Committed(ctx, next)
}

// Progress tells how far the run is.
func (r *Run) Progress() Progress {
	var done, all float64
	var out Progress
	for _, p := range r.parts {
		p.mu.Lock()
		done += float64(p.Next - p.start)
		all += float64(max(p.End, p.Next) - p.start)
		out.Messages += p.tally.Messages.Read - p.before
		p.mu.Unlock()
	}
	if out.Share = 1; all > 0 {
		out.Share = done / all
	}
	return out
}

// Total returns what all partitions have counted, and whether that is all there was to read.
func (r *Run) Total() (t *Tally, complete bool, removed int64) {
	t, complete = newTally(&r.Options), true
	for _, p := range r.parts {
		p.mu.Lock()
		t.merge(p.tally)
		complete = complete && p.Next >= p.End
		removed += p.removed
		p.mu.Unlock()
	}
	return t, complete, removed
}
