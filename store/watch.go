package store

import (
	"context"
	"fmt"
	"sync"

	"github.com/understudy-serving/understudy/rollout"
)

// watchers are those to be told of stored changes, in the order of the changes.
type watchers struct {
	// mu is held over each write, so that the order of telling is that of storing.
	mu     sync.Mutex
	all    map[*watcher]struct{}
	closed bool
}

// publish runs write, and tells of next where it succeeds.
func (ws *watchers) publish(next rollout.State, write func() error) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if err := write(); err != nil {
		return err
	}
	for w := range ws.all {
		w.tell(next)
	}
	return nil
}

// add returns a new watcher that has been told of the states that read returns; no
// change gets lost between those and the next.
func (ws *watchers) add(read func() ([]rollout.State, error)) (*watcher, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return nil, errClosed
	}
	states, err := read()
	if err != nil {
		return nil, err
	}
	w := &watcher{news: make(chan struct{}, 1), stop: make(chan struct{})}
	for _, s := range states {
		w.tell(s)
	}
	if ws.all == nil {
		ws.all = make(map[*watcher]struct{})
	}
	ws.all[w] = struct{}{}
	return w, nil
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
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

	mu    sync.Mutex
	queue []rollout.State
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
