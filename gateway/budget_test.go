package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

func TestChallengerBudget(t *testing.T) {
	for _, tc := range []struct {
		name            string
		timeout, caller time.Duration
		want            time.Duration
	}{
		{"its timeout, for a patient caller", time.Second, time.Minute, time.Second},
		{"its timeout, without a deadline", time.Second, 0, time.Second},
		{"half of the caller's time", time.Second, 300 * time.Millisecond, 150 * time.Millisecond},
		{"half of the caller's time, without a timeout", 0, 300 * time.Millisecond, 150 * time.Millisecond},
		{"unbounded with neither", 0, 0, 0},
		{"just enough", time.Second, 4 * time.Millisecond, 2 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRig(t)
				r := s.route(rollout.ModeCanary)
				r.ChallengerTimeout = tc.timeout
				s.serve(r)
				ctx := t.Context()
				if tc.caller > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.caller)
					defer cancel()
				}
				s.infer(ctx, request(), nil)
				if len(s.challenger.calls) != 1 || s.challenger.calls[0].deadline != tc.want {
					t.Errorf("the challenger was given %+v, want %s", s.challenger.calls, tc.want)
				}
			})
		})
	}
}

func TestFallbackHasTheOtherHalfOfTheCallersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRig(t)
		s.challenger.does = hangs
		s.serve(s.route(rollout.ModeCanary))
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		s.infer(ctx, request(), nil)
		if got := s.champion.calls[0].deadline; got != 100*time.Millisecond {
			t.Errorf("the champion had %s left, want 100ms", got)
		}
		if got := s.breaker.told[0].Latency; got != 100*time.Millisecond {
			t.Errorf("the breaker heard of %s, want 100ms", got)
		}
	})
}

// TestCallerGone: its cancel or deadline counts against nobody, and is not followed by a
// fallback.
func TestCallerGone(t *testing.T) {
	late := func(context.Context, *inference.ModelInferRequest) rollout.Reply {
		time.Sleep(60 * time.Millisecond)
		return rollout.Reply{Status: rollout.Status{Code: rollout.Internal}}
	}
	lateAndGarbled := func(s *rig) script {
		return func(ctx context.Context, req *inference.ModelInferRequest) rollout.Reply {
			time.Sleep(60 * time.Millisecond)
			return s.garbles(ctx, req)
		}
	}
	for _, tc := range []struct {
		name       string
		challenger func(*rig) script
		deadline   bool // the caller's; else it cancels
		want       rollout.Code
		absent     rollout.Reason
	}{
		{"cancel", says(hangs), false, rollout.Canceled, rollout.Cancelled},
		{"cancel, then an error", says(late), false, rollout.Internal, rollout.Failed},
		{"cancel, then garbage", lateAndGarbled, false, rollout.Canceled, rollout.Malformed},
		{"deadline, then an error", says(late), true, rollout.Internal, rollout.Failed},
		{"deadline, then garbage", lateAndGarbled, true, rollout.DeadlineExceeded, rollout.Malformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRig(t)
				s.challenger.does = tc.challenger(s)
				s.serve(s.route(rollout.ModeCanary))
				ctx, cancel := context.WithCancel(t.Context())
				if tc.deadline {
					ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
				} else {
					time.AfterFunc(50*time.Millisecond, cancel)
				}
				defer cancel()
				reply, _ := s.infer(ctx, request(), nil)
				if reply.Status.Code != tc.want || len(s.champion.calls) != 0 {
					t.Errorf("status %s, want %s; %d fallbacks", reply.Status.Code, tc.want, len(s.champion.calls))
				}
				if got := s.breaker.told[0].Blame; got != rollout.OnCaller {
					t.Errorf("breaker was told blame %d", got)
				}
				if x := s.recorder.offered[0]; x.Served != rollout.NoArm || x.Challenger.Absent != tc.absent {
					t.Errorf("record: served %s, challenger's answer absent for %q", x.Served, x.Challenger.Absent)
				}
			})
		})
	}
}

// A cap survives the swap of tables, for the routes share it.
func TestCapSurvivesTableSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRig(t)
		r := s.route(rollout.ModeCanary)
		r.ChallengerTimeout = time.Minute
		s.serve(r)
		release := make(chan struct{})
		s.challenger.does = func(ctx context.Context, req *inference.ModelInferRequest) rollout.Reply {
			<-release
			return s.says("inner-2", "2")(ctx, req)
		}
		first := make(chan struct{})
		go func() {
			s.infer(t.Context(), request(), nil)
			close(first)
		}()
		synctest.Wait()
		r.Weight = 5000
		s.serve(r)
		if _, out := s.infer(t.Context(), request(), nil); out.ModelVersion != "1" {
			t.Errorf("version %s answered over the cap", out.ModelVersion)
		}
		close(release)
		<-first
		if _, out := s.infer(t.Context(), request(), nil); out.ModelVersion != "2" {
			t.Errorf("version %s answered under the cap", out.ModelVersion)
		}
	})
}
