package store

import (
	"context"
	"fmt"
	"sync"

	"github.com/understudy-serving/understudy/rollout"
)

// watchers are those to be told of stored changes. Visits to the file come one at a time
// and both tell and add from within theirs: so the order of telling is that of storing,
// and nothing gets lost between what a watcher is told first and the next change.
type watchers struct {
	// mu is held for moments only, never over a write.
	mu     sync.Mutex
	all    map[*watcher]struct{}
	closed bool
}

// tell tells every watcher of a stored state.
func (ws *watchers) tell(s rollout.State) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		w.tell(s)
	}
}

// add tells w of the states that are stored now, and from here on of each change. A
// watcher that was removed before, by a Watch that did not wait, stays out.
func (ws *watchers) add(w *watcher, states []rollout.State) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch {
	case ws.closed:
		return errClosed
	case w.removed:
		return nil
	}
	for _, s := range states {
		w.tell(s)
	}
	if ws.all == nil {
		ws.all = make(map[*watcher]struct{})
	}
	ws.all[w] = struct{}{}
	return nil
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.removed = true
	delete(ws.all, w)
}

func (ws *watchers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return
	}
	ws.closed = true
	for w := range ws.all {
		close(w.stop)
	}
}

// watcher queues states for one Watch. States change seldom, so the queue has no bound.
type watcher struct {
	news chan struct{}
	stop chan struct{}
	// removed is guarded by the watchers' mu.
	removed bool

	mu    sync.Mutex
	queue []rollout.State
}

func newWatcher() *watcher {
	return &watcher{news: make(chan struct{}, 1), stop: make(chan struct{})}
}

func (w *watcher) tell(s rollout.State) {
	w.mu.Lock()
	w.queue = append(w.queue, clone(s))
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (w *watcher) run(ctx context.Context, changed func(rollout.State)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.stop:
			return fmt.Errorf("%w: %w", ErrUnavailable, errClosed)
		case <-w.news:
		}
		w.mu.Lock()
		queue := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, s := range queue {
			changed(s)
		}
	}
}

// clone copies what s shares with its like.
func clone(s rollout.State) rollout.State {
	s.Plan = append(rollout.Plan(nil), s.Plan...)
	s.Changes = append([]rollout.Change(nil), s.Changes...)
	return s
}
