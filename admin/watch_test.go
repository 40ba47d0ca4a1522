package admin

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/understudy-serving/understudy/admin/admintest"
	"github.com/understudy-serving/understudy/rollout"
	"google.golang.org/protobuf/types/known/durationpb"
)

func standingStill(models ...string) *admintest.Rollouts {
	r := admintest.New(time.Now)
	for _, m := range models {
		r.Put(rollout.View{State: rollout.State{Model: m, Revision: 1, Mode: rollout.ModeChampion}})
	}
	return r
}

func TestWatchSendsNowOnChangeAndAtIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rollouts := standingStill("a", "b")
		s, err := New(Options{Rollouts: rollouts})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		type sent struct {
			at       time.Duration
			model    string
			revision uint64
		}
		var got []sent
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- service{s}.watch(ctx, "", 10*time.Second, func(v rollout.View) error {
				got = append(got, sent{time.Since(began), v.Model, v.Revision})
				return nil
			})
		}()
		synctest.Wait()
		time.Sleep(3 * time.Second)
		rollouts.Put(rollout.View{State: rollout.State{Model: "b", Revision: 2}})
		synctest.Wait()
		time.Sleep(8 * time.Second)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		want := []sent{{0, "a", 1}, {0, "b", 1}, {3 * time.Second, "a", 1}, {3 * time.Second, "b", 2}, {10 * time.Second, "a", 1}, {10 * time.Second, "b", 2}}
		if len(got) != len(want) {
			t.Fatalf("%v, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("message %d: %v, want %v", i, got[i], want[i])
			}
		}
		if n := rollouts.Subscribers(); n != 0 {
			t.Errorf("%d subscriptions left", n)
		}
	})
}

func TestWatchEnds(t *testing.T) {
	gone := errors.New("the client is gone")
	for name, c := range map[string]struct {
		end  func(*Server, context.CancelCauseFunc)
		send error
		want error
	}{
		"the caller's end":   {end: func(_ *Server, cancel context.CancelCauseFunc) { cancel(context.DeadlineExceeded) }, want: context.DeadlineExceeded},
		"the server's end":   {end: func(s *Server, _ context.CancelCauseFunc) { _ = s.Shutdown(context.Background()) }, want: errShutdown},
		"a message not sent": {end: func(*Server, context.CancelCauseFunc) {}, send: gone, want: gone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := New(Options{Rollouts: standingStill("a")})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				ended := make(chan error)
				began := time.Now()
				go func() {
					ended <- service{s}.watch(ctx, "a", time.Hour, func(rollout.View) error { return c.send })
				}()
				synctest.Wait()
				go c.end(s, cancel)
				if err := <-ended; !errors.Is(err, c.want) {
					t.Errorf("ended with %v, want %v", err, c.want)
				}
				if d := time.Since(began); d != 0 {
					t.Errorf("ended after %s, want at once", d)
				}
			})
		})
	}
}

func TestWatchOfAnUnknownModel(t *testing.T) {
	s, err := New(Options{Rollouts: standingStill("a")})
	if err != nil {
		t.Fatal(err)
	}
	err = service{s}.watch(t.Context(), "b", time.Hour, func(rollout.View) error { return errors.New("sent") })
	if code := rpcError(err).Code(); code != connect.CodeNotFound {
		t.Errorf("%v: %s", err, code)
	}
}

func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		in   *durationpb.Duration
		want time.Duration
		ok   bool
	}{
		{nil, time.Second, true},
		{durationpb.New(100 * time.Millisecond), 100 * time.Millisecond, true},
		{durationpb.New(time.Hour), time.Hour, true},
		{durationpb.New(0), 0, false},
		{durationpb.New(99 * time.Millisecond), 0, false},
		{durationpb.New(-time.Second), 0, false},
		{&durationpb.Duration{Seconds: 1, Nanos: -1}, 0, false},
	} {
		got, err := intervalOf(c.in)
		if got != c.want || (err == nil) != c.ok || (err != nil && !errors.Is(err, errArgument)) {
			t.Errorf("%v: %s, %v", c.in, got, err)
		}
	}
}
