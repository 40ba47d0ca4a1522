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

// canaryCase is one request that the split assigned to the challenger.
type canaryCase struct {
	name string
	// The arms answer well where nothing else is said.
	challenger func(*rig) script
	champion   func(*rig) script
	set        func(*rig, *Route)
	deadline   time.Duration // the caller's; 0: none
	want       fate
}

// fate is what becomes of a request.
type fate struct {
	code     rollout.Code      // to the client
	served   rollout.Arm       // in the record
	diverted rollout.Reason    // in outcome and record
	told     []rollout.Blame   // to the breaker; nil: it was not asked, or refused
	observed rollout.Blame     // by the observer
	absent   [2]rollout.Reason // the champion's and the challenger's answer in the record
	calls    [2]int            // of champion and challenger
	reason   string            // of understudy_fallbacks_total; "": no failure was hidden
}

func canaryCases() []canaryCase {
	failed := func(code string, absent rollout.Reason) fate {
		return fate{rollout.OK, rollout.Champion, rollout.Fallback, []rollout.Blame{rollout.OnChallenger}, rollout.OnChallenger,
			[2]rollout.Reason{"", absent}, [2]int{1, 1}, code}
	}
	refusedByBoth := fate{rollout.InvalidArgument, rollout.Champion, rollout.Fallback, []rollout.Blame{rollout.OnCaller}, rollout.OnCaller,
		[2]rollout.Reason{rollout.Failed, rollout.Failed}, [2]int{1, 1}, ""}
	early := fate{rollout.DeadlineExceeded, rollout.Champion, rollout.Fallback, []rollout.Blame{rollout.OnCaller}, rollout.OnCaller,
		[2]rollout.Reason{rollout.Timeout, rollout.Timeout}, [2]int{1, 1}, ""}
	late := early
	late.told, late.observed = []rollout.Blame{rollout.OnChallenger}, rollout.OnChallenger
	diverted := func(why rollout.Reason) fate {
		return fate{rollout.OK, rollout.Champion, why, nil, rollout.Nobody, [2]rollout.Reason{"", why}, [2]int{1, 0}, ""}
	}
	return []canaryCase{
		{name: "the challenger serves", want: fate{rollout.OK, rollout.Challenger, "", []rollout.Blame{rollout.Nobody}, rollout.Nobody,
			[2]rollout.Reason{rollout.NotCalled, ""}, [2]int{0, 1}, ""}},

		{name: "unavailable", challenger: says(fails(rollout.Unavailable)), want: failed("UNAVAILABLE", rollout.Failed)},
		{name: "internal", challenger: says(fails(rollout.Internal)), want: failed("INTERNAL", rollout.Failed)},
		{name: "unknown", challenger: says(fails(rollout.Unknown)), want: failed("UNKNOWN", rollout.Failed)},
		{name: "data loss", challenger: says(fails(rollout.DataLoss)), want: failed("DATA_LOSS", rollout.Failed)},
		{name: "unimplemented", challenger: says(fails(rollout.Unimplemented)), want: failed("UNIMPLEMENTED", rollout.Failed)},
		{name: "resource exhausted", challenger: says(fails(rollout.ResourceExhausted)), want: failed("RESOURCE_EXHAUSTED", rollout.Failed)},
		{name: "speaks of a deadline long before its own", challenger: says(fails(rollout.DeadlineExceeded)), want: failed("DEADLINE_EXCEEDED", rollout.Timeout)},
		{name: "both speak of a deadline that nobody set", challenger: says(fails(rollout.DeadlineExceeded)), champion: says(fails(rollout.DeadlineExceeded)), want: early},
		{name: "the same, without any budget", challenger: says(fails(rollout.DeadlineExceeded)), champion: says(fails(rollout.DeadlineExceeded)),
			set: func(_ *rig, r *Route) { r.ChallengerTimeout = 0 }, want: early},
		{name: "tells of its deadline a little before it", challenger: says(failsAfter(960*time.Millisecond, rollout.DeadlineExceeded)),
			champion: says(fails(rollout.DeadlineExceeded)), want: late},
		{name: "much before it", challenger: says(failsAfter(900*time.Millisecond, rollout.DeadlineExceeded)),
			champion: says(fails(rollout.DeadlineExceeded)), want: early},
		{name: "hangs beyond its timeout", challenger: says(hangs), want: failed("TIMEOUT", rollout.Timeout)},
		{name: "hangs beyond half of the caller's time", challenger: says(hangs), deadline: 100 * time.Millisecond, want: failed("TIMEOUT", rollout.Timeout)},
		{name: "malformed", challenger: func(s *rig) script { return s.garbles }, want: failed("MALFORMED", rollout.Malformed)},
		{name: "OK without a message", challenger: says(fails(rollout.OK)), want: failed("MALFORMED", rollout.Malformed)},

		{name: "refuses what the champion takes", challenger: says(fails(rollout.InvalidArgument)), want: failed("INVALID_ARGUMENT", rollout.Failed)},
		{name: "cancelled by the server itself", challenger: says(fails(rollout.Canceled)), want: failed("CANCELLED", rollout.Failed)},
		{name: "a bad request: both refuse", challenger: says(fails(rollout.InvalidArgument)), champion: says(fails(rollout.InvalidArgument)), want: refusedByBoth},
		{name: "refused, and the champion garbles", challenger: says(fails(rollout.InvalidArgument)), champion: func(s *rig) script { return s.garbles },
			want: fate{rollout.Internal, rollout.Champion, rollout.Fallback, []rollout.Blame{rollout.OnCaller}, rollout.OnCaller,
				[2]rollout.Reason{rollout.Malformed, rollout.Failed}, [2]int{1, 1}, ""}},
		{name: "both down: the champion's status, one fallback", challenger: says(fails(rollout.Internal)), champion: says(fails(rollout.Unavailable)),
			want: fate{rollout.Unavailable, rollout.Champion, rollout.Fallback, []rollout.Blame{rollout.OnChallenger}, rollout.OnChallenger,
				[2]rollout.Reason{rollout.Failed, rollout.Failed}, [2]int{1, 1}, ""}},

		{name: "breaker open", set: func(s *rig, _ *Route) { s.breaker.open = true }, want: diverted(rollout.BreakerOpen)},
		{name: "at the cap", set: func(_ *rig, r *Route) { r.ChallengerInFlight.acquire() }, want: diverted(rollout.Cap)},
		{name: "at the cap the breaker is not asked for a probe", set: func(s *rig, r *Route) {
			s.breaker.open = true
			r.ChallengerInFlight.acquire()
		}, want: diverted(rollout.Cap)},
		{name: "hardly any time", deadline: 3 * time.Millisecond, want: diverted(rollout.ShortDeadline)},
		{name: "a timeout under the least budget", set: func(_ *rig, r *Route) { r.ChallengerTimeout = time.Millisecond }, want: diverted(rollout.ShortDeadline)},
		{name: "diverted, and the champion is down: never to the challenger", champion: says(fails(rollout.Unavailable)), set: func(s *rig, _ *Route) { s.breaker.open = true },
			want: fate{rollout.Unavailable, rollout.Champion, rollout.BreakerOpen, nil, rollout.Nobody,
				[2]rollout.Reason{rollout.Failed, rollout.BreakerOpen}, [2]int{1, 0}, ""}},

		{name: "the challenger's call panics", challenger: says(panics),
			want: fate{rollout.Internal, rollout.NoArm, "", []rollout.Blame{rollout.OnCaller}, rollout.OnCaller,
				[2]rollout.Reason{rollout.NotCalled, rollout.Failed}, [2]int{0, 1}, ""}},
		{name: "the fallback's call panics", challenger: says(fails(rollout.NotFound)), champion: says(panics),
			want: fate{rollout.Internal, rollout.NoArm, rollout.Fallback, []rollout.Blame{rollout.OnCaller}, rollout.OnCaller,
				[2]rollout.Reason{rollout.Failed, rollout.Failed}, [2]int{1, 1}, ""}},
	}
}

func TestCanary(t *testing.T) {
	for _, tc := range canaryCases() {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playCanary(t, tc) })
		})
	}
}

func playCanary(t *testing.T, tc canaryCase) {
	s := newRig(t)
	if tc.challenger != nil {
		s.challenger.does = tc.challenger(s)
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
		version := map[rollout.Arm]string{rollout.Champion: "1", rollout.Challenger: "2"}[tc.want.served]
		if out.ModelName != "fraud" || out.ModelVersion != version || out.Id != "client-1" {
			t.Errorf("answer is of %s:%s for %s", out.ModelName, out.ModelVersion, out.Id)
		}
	}
	if got := [2]int{len(s.champion.calls), len(s.challenger.calls)}; got != tc.want.calls {
		t.Errorf("calls %v, want %v", got, tc.want.calls)
	}
	if got := r.ChallengerInFlight.Current(); got != inFlight {
		t.Errorf("%d calls in flight after it, %d before", got, inFlight)
	}
	s.checkOutcome(tc.want)
	s.checkRecord(tc.want)
	s.checkCounters(tc.want)
}

// checkOutcome compares what breaker and observer heard.
func (s *rig) checkOutcome(want fate) {
	s.t.Helper()
	var told []rollout.Blame
	for _, o := range s.breaker.told {
		told = append(told, o.Blame)
	}
	if !slices.Equal(told, want.told) {
		s.t.Errorf("the breaker was told %v, want %v", told, want.told)
	}
	if len(s.observed.seen) != 1 {
		s.t.Fatalf("%d outcomes, want 1", len(s.observed.seen))
	}
	o := s.observed.seen[0]
	if o.Arm != rollout.Challenger || o.Blame != want.observed || o.Diverted != want.diverted || o.Weight != 2500 || o.Entered != 5 || o.Mirrored {
		s.t.Errorf("outcome %+v", o)
	}
	if o.Latency > 0 && want.calls[1] == 0 {
		s.t.Errorf("latency %s without a call", o.Latency)
	}
}

// checkRecord compares the exchange that was offered.
func (s *rig) checkRecord(want fate) {
	s.t.Helper()
	if len(s.recorder.offered) != 1 {
		s.t.Fatalf("%d records, want 1", len(s.recorder.offered))
	}
	x := s.recorder.offered[0]
	if x.Assigned != rollout.Challenger || x.Served != want.served || x.Diverted != want.diverted {
		s.t.Errorf("record: assigned %s, served %s, diverted %q", x.Assigned, x.Served, x.Diverted)
	}
	if got := [2]rollout.Reason{x.Champion.Absent, x.Challenger.Absent}; got != want.absent {
		s.t.Errorf("record: absent %q, want %q", got, want.absent)
	}
	for _, c := range []rollout.Call{x.Champion, x.Challenger} {
		if (c.Response != nil) != c.Answered() {
			s.t.Errorf("record: %s: response %v, absent %q", c.Spec, c.Response, c.Absent)
		}
	}
}

// checkCounters compares the fallback and diversion counters.
func (s *rig) checkCounters(fate fate) {
	s.t.Helper()
	want := map[string]float64{}
	if fate.reason != "" {
		want["fraud "+fate.reason] = 1
	}
	if got := s.metric("understudy_fallbacks_total"); !maps.Equal(got, want) {
		s.t.Errorf("fallbacks %v, want %v", got, want)
	}
	want = map[string]float64{"fraud cap": 0, "fraud short_deadline": 0, "fraud breaker_open": 0}
	if fate.diverted != "" && fate.diverted != rollout.Fallback {
		want["fraud "+string(fate.diverted)] = 1
	}
	if got := s.metric("understudy_diverted_total"); !maps.Equal(got, want) {
		s.t.Errorf("diverted %v, want %v", got, want)
	}
}

func says(f script) func(*rig) script { return func(*rig) script { return f } }

func TestBreakerHearsBeforeTheFallback(t *testing.T) {
	s := newRig(t)
	s.challenger.does = fails(rollout.Unavailable)
	s.serve(s.route(rollout.ModeCanary))
	s.infer(t.Context(), request(), nil)
	want := "accepted, call challenger, breaker told, call champion, observed, offered"
	if got := strings.Join(s.events, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBreakerWaitsForTheChampionWhereBlameIsUndecided(t *testing.T) {
	s := newRig(t)
	s.challenger.does = fails(rollout.FailedPrecondition)
	s.serve(s.route(rollout.ModeCanary))
	s.infer(t.Context(), request(), nil)
	want := "accepted, call challenger, call champion, breaker told, observed, offered"
	if got := strings.Join(s.events, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
