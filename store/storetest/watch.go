package storetest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// watching starts a watch; states come on the channel. stop ends it and returns its error.
func watching(t *testing.T, s Store) (states <-chan rollout.State, stop func() error) {
	t.Helper()
	ch, ended := make(chan rollout.State, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- s.Watch(ctx, func(s rollout.State) { ch <- s }) }()
	stop = func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("the watch did not end with its context")
		}
	}
	t.Cleanup(cancel)
	return ch, stop
}

func next(t *testing.T, states <-chan rollout.State) rollout.State {
	t.Helper()
	select {
	case s := <-states:
		return s
	case <-time.After(patience):
		t.Fatal("no news")
		return rollout.State{}
	}
}

func watch(t *testing.T, s Store) {
	mustSwap(t, s, 0, state("m", 1))
	states, stop := watching(t, s)
	if got := next(t, states); !reflect.DeepEqual(got, state("m", 1)) {
		t.Errorf("first news %+v, want what was stored before", got)
	}
	for revision := range uint64(20) {
		mustSwap(t, s, revision+1, state("m", revision+2))
	}
	_ = s.CompareAndSwap(t.Context(), 1, state("m", 99)) // stale: no news
	for want := uint64(2); want <= 21; want++ {
		if got := next(t, states); got.Revision != want {
			t.Fatalf("news of revision %d, want %d", got.Revision, want)
		}
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
	mustSwap(t, s, 21, state("m", 22))
	select {
	case got := <-states:
		t.Errorf("news after the end: revision %d", got.Revision)
	default:
	}
}

func slowWatcher(t *testing.T, s Store) {
	release, stuck := make(chan struct{}), make(chan struct{}, 1)
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(ended)
		_ = s.Watch(ctx, func(rollout.State) {
			select {
			case stuck <- struct{}{}:
			default:
			}
			<-release
		})
	}()
	defer func() { cancel(); close(release); <-ended }()
	mustSwap(t, s, 0, state("m", 1))
	select {
	case <-stuck:
	case <-time.After(patience):
		t.Fatal("no news")
	}
	states, stop := watching(t, s)
	next(t, states)
	mustSwap(t, s, 1, state("m", 2))
	if got := next(t, states); got.Revision != 2 {
		t.Errorf("revision %d", got.Revision)
	}
	_ = stop()
}

func changeInWatch(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, func(got rollout.State) {
			if got.Revision == 3 {
				cancel()
				return
			}
			if err := s.CompareAndSwap(context.Background(), got.Revision, state("m", got.Revision+1)); err != nil {
				t.Errorf("swap from a watch: %v", err)
			}
		})
	}()
	mustSwap(t, s, 0, state("m", 1))
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("a change made from a watch hangs")
	}
}
