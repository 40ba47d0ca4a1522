package gateway

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

type script = func(context.Context, *inference.ModelInferRequest) rollout.Reply

// TestCanary plays one request that the split assigned to the challenger.
func TestCanary(t *testing.T) {
	type want struct {
		code     rollout.Code    // to the client
		served   rollout.Arm     // in the record
		diverted rollout.Reason  // in outcome and record
		blame    []rollout.Blame // told to the breaker; nil: not asked
		observed rollout.Blame
		absent   [2]rollout.Reason // champion's, challenger's
		calls    [2]int
		reason   string // of understudy_fallbacks_total
	}
	failed := func(code string, absent rollout.Reason) want {
		return want{rollout.OK, rollout.Champion, rollout.Fallback, []rollout.Blame{rollout.OnChallenger}, rollout.OnChallenger,
			[2]rollout.Reason{"", absent}, [2]int{1, 1}, code}
	}
	refusedByBoth := want{rollout.InvalidArgument, rollout.Champion, rollout.Fallback, []rollout.Blame{rollout.OnCaller}, rollout.OnCaller,
		[2]rollout.Reason{rollout.Failed, rollout.Failed}, [2]int{1, 1}, "INVALID_ARGUMENT"}
	diverted := func(why rollout.Reason) want {
		return want{rollout.OK, rollout.Champion, why, nil, rollout.Nobody, [2]rollout.Reason{"", why}, [2]int{1, 0}, ""}
	}
	for _, tc := range []struct {
		name       string
		challenger func(*stage) script
		champion   func(*stage) script
		set        func(*stage, *Route)
		deadline   time.Duration
		want       want
	}{
		{name: "the challenger serves", want: want{rollout.OK, rollout.Challenger, "", []rollout.Blame{rollout.Nobody}, rollout.Nobody,
			[2]rollout.Reason{rollout.NotCalled, ""}, [2]int{0, 1}, ""}},

		{name: "unavailable", challenger: says(fails(rollout.Unavailable)), want: failed("UNAVAILABLE", rollout.Failed)},
		{name: "internal", challenger: says(fails(rollout.Internal)), want: failed("INTERNAL", rollout.Failed)},
		{name: "unknown", challenger: says(fails(rollout.Unknown)), want: failed("UNKNOWN", rollout.Failed)},
		{name: "data loss", challenger: says(fails(rollout.DataLoss)), want: failed("DATA_LOSS", rollout.Failed)},
		{name: "unimplemented", challenger: says(fails(rollout.Unimplemented)), want: failed("UNIMPLEMENTED", rollout.Failed)},
		{name: "resource exhausted", challenger: says(fails(rollout.ResourceExhausted)), want: failed("RESOURCE_EXHAUSTED", rollout.Failed)},
		{name: "deadline exceeded by the challenger's own judgement", challenger: says(fails(rollout.DeadlineExceeded)), want: failed("TIMEOUT", rollout.Timeout)},
		{name: "hangs beyond its timeout", challenger: says(hangs), want: failed("TIMEOUT", rollout.Timeout)},
		{name: "hangs beyond half of the caller's time", challenger: says(hangs), deadline: 100 * time.Millisecond, want: failed("TIMEOUT", rollout.Timeout)},
		{name: "malformed", challenger: func(s *stage) script { return s.garbles }, want: failed("MALFORMED", rollout.Malformed)},
		{name: "OK without a message", challenger: says(fails(rollout.OK)), want: failed("MALFORMED", rollout.Malformed)},

		{name: "refuses what the champion takes", challenger: says(fails(rollout.InvalidArgument)), want: failed("INVALID_ARGUMENT", rollout.Failed)},
		{name: "cancelled by the server itself", challenger: says(fails(rollout.Canceled)), want: failed("CANCELLED", rollout.Failed)},
		{name: "a bad request: both refuse", challenger: says(fails(rollout.InvalidArgument)), champion: says(fails(rollout.InvalidArgument)), want: refusedByBoth},
		{name: "refused, and the champion garbles", challenger: says(fails(rollout.InvalidArgument)), champion: func(s *stage) script { return s.garbles },
			want: want{rollout.Internal, rollout.Champion, rollout.Fallback, []rollout.Blame{rollout.OnCaller}, rollout.OnCaller,
				[2]rollout.Reason{rollout.Malformed, rollout.Failed}, [2]int{1, 1}, "INVALID_ARGUMENT"}},
		{name: "both down: the champion's status, one fallback", challenger: says(fails(rollout.Internal)), champion: says(fails(rollout.Unavailable)),
			want: want{rollout.Unavailable, rollout.Champion, rollout.Fallback, []rollout.Blame{rollout.OnChallenger}, rollout.OnChallenger,
				[2]rollout.Reason{rollout.Failed, rollout.Failed}, [2]int{1, 1}, "INTERNAL"}},

		{name: "breaker open", set: func(s *stage, _ *Route) { s.breaker.open = true }, want: diverted(rollout.BreakerOpen)},
		{name: "at the cap", set: func(_ *stage, r *Route) { r.ChallengerInFlight.acquire() }, want: diverted(rollout.Cap)},
		{name: "at the cap the breaker is not asked for a probe", set: func(s *stage, r *Route) {
			s.breaker.open = true
			r.ChallengerInFlight.acquire()
		}, want: diverted(rollout.Cap)},
		{name: "hardly any time", deadline: 3 * time.Millisecond, want: diverted(rollout.ShortDeadline)},
		{name: "a timeout under the least budget", set: func(_ *stage, r *Route) { r.ChallengerTimeout = time.Millisecond }, want: diverted(rollout.ShortDeadline)},
		{name: "diverted, and the champion is down: never to the challenger", champion: says(fails(rollout.Unavailable)), set: func(s *stage, _ *Route) { s.breaker.open = true },
			want: want{rollout.Unavailable, rollout.Champion, rollout.BreakerOpen, nil, rollout.Nobody,
				[2]rollout.Reason{rollout.Failed, rollout.BreakerOpen}, [2]int{1, 0}, ""}},

		{name: "the challenger's call panics", challenger: says(panics),
			want: want{rollout.Internal, rollout.NoArm, "", []rollout.Blame{rollout.OnCaller}, rollout.OnCaller,
				[2]rollout.Reason{rollout.NotCalled, rollout.Failed}, [2]int{0, 1}, ""}},
		{name: "the fallback's call panics", challenger: says(fails(rollout.NotFound)), champion: says(panics),
			want: want{rollout.Internal, rollout.NoArm, rollout.Fallback, []rollout.Blame{rollout.OnCaller}, rollout.OnCaller,
				[2]rollout.Reason{rollout.Failed, rollout.Failed}, [2]int{1, 1}, "NOT_FOUND"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				if tc.challenger != nil {
					s.chal.does = tc.challenger(s)
				}
				if tc.champion != nil {
					s.champion.does = tc.champion(s)
				}
				r := s.route(rollout.ModeCanary)
				if tc.set != nil {
					tc.set(s, &r)
				}
				s.serve(r)
				inFlight := r.ChallengerInFlight.Current()
				ctx := t.Context()
				if tc.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.deadline)
					defer cancel()
				}
				reply, out := s.infer(ctx, request(), nil)

				if reply.Status.Code != tc.want.code {
					t.Errorf("the client got %s, want %s", reply.Status.Code, tc.want.code)
				}
				if out != nil {
					wantVersion := map[rollout.Arm]string{rollout.Champion: "1", rollout.Challenger: "2"}[tc.want.served]
					if out.ModelName != "fraud" || out.ModelVersion != wantVersion || out.Id != "client-1" {
						t.Errorf("answer is of %s:%s for %s", out.ModelName, out.ModelVersion, out.Id)
					}
				}
				if got := [2]int{len(s.champion.calls), len(s.chal.calls)}; got != tc.want.calls {
					t.Errorf("calls %v, want %v", got, tc.want.calls)
				}
				var told []rollout.Blame
				for _, o := range s.breaker.told {
					told = append(told, o.Blame)
				}
				if !slices.Equal(told, tc.want.blame) {
					t.Errorf("the breaker was told %v, want %v", told, tc.want.blame)
				}
				if len(s.observed.seen) != 1 {
					t.Fatalf("%d outcomes, want 1", len(s.observed.seen))
				}
				o := s.observed.seen[0]
				if o.Arm != rollout.Challenger || o.Blame != tc.want.observed || o.Diverted != tc.want.diverted || o.Weight != 2500 || o.Entered != 5 || o.Mirrored {
					t.Errorf("outcome %+v", o)
				}
				if (o.Latency > 0) && tc.want.calls[1] == 0 {
					t.Errorf("latency %s without a call", o.Latency)
				}
				x := s.recorder.offered[0]
				if x.Assigned != rollout.Challenger || x.Served != tc.want.served || x.Diverted != tc.want.diverted {
					t.Errorf("record: assigned %s, served %s, diverted %q", x.Assigned, x.Served, x.Diverted)
				}
				if got := [2]rollout.Reason{x.Champion.Absent, x.Challenger.Absent}; got != tc.want.absent {
					t.Errorf("record: absent %q, want %q", got, tc.want.absent)
				}
				for _, c := range []rollout.Call{x.Champion, x.Challenger} {
					if (c.Response != nil) != c.Answered() {
						t.Errorf("record: %s: response %v, absent %q", c.Spec, c.Response, c.Absent)
					}
				}
				if got := r.ChallengerInFlight.Current(); got != inFlight {
					t.Errorf("%d calls in flight after it, %d before", got, inFlight)
				}
				s.checkCounters(tc.want.reason, tc.want.diverted)
			})
		})
	}
}

func says(f script) func(*stage) script { return func(*stage) script { return f } }

// checkCounters compares the fallback and diversion counters with one request's fate.
func (s *stage) checkCounters(fallback string, diverted rollout.Reason) {
	s.t.Helper()
	want := map[string]float64{}
	if fallback != "" {
		want["fraud "+fallback] = 1
	}
	if got := s.metric("understudy_fallbacks_total"); !maps.Equal(got, want) {
		s.t.Errorf("fallbacks %v, want %v", got, want)
	}
	want = map[string]float64{"fraud cap": 0, "fraud short_deadline": 0, "fraud breaker_open": 0}
	if diverted != "" && diverted != rollout.Fallback {
		want["fraud "+string(diverted)] = 1
	}
	if got := s.metric("understudy_diverted_total"); !maps.Equal(got, want) {
		s.t.Errorf("diverted %v, want %v", got, want)
	}
}

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
				s := newStage(t)
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
				if len(s.chal.calls) != 1 || s.chal.calls[0].deadline != tc.want {
					t.Errorf("the challenger was given %+v, want %s", s.chal.calls, tc.want)
				}
			})
		})
	}
}

func TestFallbackHasTheOtherHalfOfTheCallersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.chal.does = hangs
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

func TestBreakerHearsBeforeTheFallback(t *testing.T) {
	s := newStage(t)
	s.chal.does = fails(rollout.Unavailable)
	s.serve(s.route(rollout.ModeCanary))
	s.infer(t.Context(), request(), nil)
	want := "accepted, call challenger, breaker told, call champion, observed, offered"
	if got := strings.Join(s.events, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBreakerWaitsForTheChampionWhereBlameIsUndecided(t *testing.T) {
	s := newStage(t)
	s.chal.does = fails(rollout.FailedPrecondition)
	s.serve(s.route(rollout.ModeCanary))
	s.infer(t.Context(), request(), nil)
	want := "accepted, call challenger, call champion, breaker told, observed, offered"
	if got := strings.Join(s.events, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestCallerGone: its cancel or deadline counts against nobody, and is not followed by a
// fallback.
func TestCallerGone(t *testing.T) {
	late := func(context.Context, *inference.ModelInferRequest) rollout.Reply {
		time.Sleep(60 * time.Millisecond)
		return rollout.Reply{Status: rollout.Status{Code: rollout.Internal}}
	}
	lateAndGarbled := func(s *stage) script {
		return func(ctx context.Context, req *inference.ModelInferRequest) rollout.Reply {
			time.Sleep(60 * time.Millisecond)
			return s.garbles(ctx, req)
		}
	}
	for _, tc := range []struct {
		name       string
		challenger func(*stage) script
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
				s := newStage(t)
				s.chal.does = tc.challenger(s)
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
		s := newStage(t)
		r := s.route(rollout.ModeCanary)
		r.ChallengerTimeout = time.Minute
		s.serve(r)
		release := make(chan struct{})
		s.chal.does = func(ctx context.Context, req *inference.ModelInferRequest) rollout.Reply {
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
