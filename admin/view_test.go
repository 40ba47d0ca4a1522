package admin

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// full is a view with another value in every field.
func full() rollout.View {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	return rollout.View{
		State: rollout.State{Model: "fraud", Revision: 9, Rollout: 3, Entered: 7, Mode: rollout.ModeCanary, Weight: 1234, Step: 3, Paused: true,
			Champion:   rollout.Spec{Target: "dns:///one:8081", Model: "fraud-1", Version: "1"},
			Challenger: rollout.Spec{Target: "dns:///two:8081", Model: "fraud-2", Version: "2"},
			Plan: rollout.Plan{
				{Kind: rollout.StepShadow, Bake: 11 * time.Second, MinRequests: 12, MaxDuration: 41 * time.Second, OnMaxDuration: rollout.RollBack,
					Gates: []rollout.Gate{{Metric: rollout.ErrorRate}, {Metric: rollout.Drift, Output: "x"}}},
				{Kind: rollout.StepSetWeight, Weight: 1},
				{Kind: rollout.StepPause, Bake: 13*time.Second + time.Nanosecond, MinRequests: 14, MaxDuration: 42 * time.Second, OnMaxDuration: rollout.Hold,
					Gates: []rollout.Gate{{Metric: rollout.SlowRate}}},
				{Kind: rollout.StepPause, Manual: true},
				{Kind: rollout.StepPause, MinRequests: 1},
			},
			Changes: []rollout.Change{{Time: at, Revision: 9, Kind: rollout.EventSetMode, Actor: "ci", Reason: "why", Mode: rollout.ModeCanary, Weight: 1234},
				{Time: at.Add(-time.Hour), Revision: 8, Kind: rollout.EventStart, Actor: "config", Reason: "new", Mode: rollout.ModeShadow}}},
		Progress: rollout.Progress{Entered: 7, Elapsed: 15 * time.Second, Routed: 16, Answered: 17, Pairs: 18},
		Figures: rollout.Figures{
			Champion:   rollout.ArmFigures{Requests: 19, Failures: 20, Latency: rollout.Quantiles{P50: 21, P95: 22, P99: 23}},
			Challenger: rollout.ArmFigures{Requests: 24, Failures: 25, Latency: rollout.Quantiles{P50: 26, P95: 27, P99: 28}},
			Mirror: rollout.MirrorFigures{Sent: 29, Failures: 30, Skipped: map[rollout.Reason]int64{rollout.Shed: 31, rollout.BreakerOpen: 32},
				Compared: 33, Disagreed: 34, Latency: rollout.Quantiles{P50: 35, P95: 36, P99: 37}},
			Fallbacks: 38, Judgement: judgement()},
		WaitingFor: "data", Remaining: 39 * time.Second, Breaker: "half_open", Warnings: []string{"one", "two"},
	}
}

// back is the inverse of toProto, as a client would write it.
func back(t *testing.T, r *adminv1.Rollout) rollout.View {
	t.Helper()
	weight := func(p float64) rollout.Weight {
		w, err := rollout.WeightFromPercent(p)
		if err != nil {
			t.Error(err)
		}
		return w
	}
	spec := func(s *adminv1.ArmSpec) rollout.Spec {
		return rollout.Spec{Target: s.GetTarget(), Model: s.GetModel(), Version: s.GetVersion()}
	}
	arm := func(a *adminv1.ArmFigures) rollout.ArmFigures {
		return rollout.ArmFigures{Requests: a.Requests, Failures: a.Failures,
			Latency: rollout.Quantiles{P50: a.P50.AsDuration(), P95: a.P95.AsDuration(), P99: a.P99.AsDuration()}}
	}
	gates := func(names []string) (out []rollout.Gate) {
		for _, name := range names {
			metric, output, _ := strings.Cut(strings.TrimSuffix(name, ")"), "(")
			out = append(out, rollout.Gate{Metric: rollout.Metric(metric), Output: output})
		}
		return out
	}
	v := rollout.View{WaitingFor: r.WaitingFor, Remaining: r.StepRemaining.AsDuration(), Breaker: r.Breaker, Warnings: r.Warnings}
	v.State = rollout.State{Model: r.Model, Revision: r.Revision, Mode: modeFromProto(r.Mode), Weight: weight(r.WeightPercent), Step: int(r.Step),
		Paused: r.Paused, Champion: spec(r.Champion), Challenger: spec(r.Challenger)}
	for _, s := range r.Plan {
		switch k := s.Step.(type) {
		case *adminv1.Step_Shadow:
			v.Plan = append(v.Plan, rollout.Step{Kind: rollout.StepShadow, Bake: k.Shadow.Bake.AsDuration(), MinRequests: k.Shadow.MinRequests,
				MaxDuration: k.Shadow.MaxDuration.AsDuration(), OnMaxDuration: reactionBack(k.Shadow.OnMaxDuration), Gates: gates(k.Shadow.Gates)})
		case *adminv1.Step_SetWeight:
			v.Plan = append(v.Plan, rollout.Step{Kind: rollout.StepSetWeight, Weight: weight(k.SetWeight)})
		case *adminv1.Step_Pause:
			v.Plan = append(v.Plan, rollout.Step{Kind: rollout.StepPause, Bake: k.Pause.Duration.AsDuration(), MinRequests: k.Pause.MinRequests, Manual: k.Pause.UntilResumed,
				MaxDuration: k.Pause.MaxDuration.AsDuration(), OnMaxDuration: reactionBack(k.Pause.OnMaxDuration), Gates: gates(k.Pause.Gates)})
		}
	}
	for _, e := range r.Events {
		v.Changes = append(v.Changes, rollout.Change{Time: e.Time.AsTime(), Revision: e.Revision, Kind: rollout.EventKind(e.Kind),
			Actor: e.Actor, Reason: e.Reason, Mode: modeFromProto(e.Mode), Weight: weight(e.WeightPercent)})
	}
	v.Progress.Elapsed = r.StepElapsed.AsDuration()
	m := r.MirrorFigures
	v.Figures = rollout.Figures{Champion: arm(r.ChampionFigures), Challenger: arm(r.ChallengerFigures), Fallbacks: r.Fallbacks,
		Mirror: rollout.MirrorFigures{Sent: m.Sent, Failures: m.Failures, Compared: m.Compared, Disagreed: m.Disagreed, Skipped: map[rollout.Reason]int64{},
			Latency: rollout.Quantiles{P50: m.P50.AsDuration(), P95: m.P95.AsDuration(), P99: m.P99.AsDuration()}}}
	for reason, n := range m.Skipped {
		v.Figures.Mirror.Skipped[rollout.Reason(reason)] = n
	}
	return v
}

func TestAViewComesBackFromTheWire(t *testing.T) {
	in := full()
	got := back(t, toProto(in))
	// What the RPC leaves out: other revisions than the current one, and the counts
	// that the current step does not wait for. Explain has the judgement.
	want := in
	want.Rollout, want.Entered, want.Progress = 0, 0, rollout.Progress{Elapsed: in.Progress.Elapsed}
	want.Figures.Judgement = rollout.Judgement{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A field that is added to the message is filled in, or this fails.
func TestEveryFieldIsFilledIn(t *testing.T) {
	var check func(m protoreflect.Message)
	check = func(m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			switch {
			case f.ContainingOneof() != nil || m.Descriptor().ParentFile().Package() == "google.protobuf":
			case !m.Has(f):
				t.Errorf("%s is not filled in", f.FullName())
			case f.Message() != nil && !f.IsList() && !f.IsMap():
				check(m.Get(f).Message())
			}
		}
	}
	check(toProto(full()).ProtoReflect())
	check(toProto(full()).Gates[1].ProtoReflect())
	check(judgementToProto(judgement()).ProtoReflect())
}

func TestStepRequestsAreWhatTheStepWaitsFor(t *testing.T) {
	v := full()
	if got := toProto(v).StepRequests; got != v.Progress.Routed {
		t.Errorf("canary: %d, want the requests routed", got)
	}
	v.Mode = rollout.ModeShadow
	if got := toProto(v).StepRequests; got != v.Progress.Pairs {
		t.Errorf("shadow: %d, want the pairs", got)
	}
}

func TestAModelAloneHasNoChallenger(t *testing.T) {
	out := toProto(rollout.View{State: rollout.State{Model: "spam", Mode: rollout.ModeChampion}})
	if out.Challenger != nil || out.MirrorFigures.Skipped != nil {
		t.Errorf("%v", out)
	}
}

func TestModesHaveTheSameNumbers(t *testing.T) {
	names := maps.Clone(adminv1.Mode_value)
	for m := rollout.ModeChampion; m <= rollout.ModeRolledBack; m++ {
		p := modeToProto(m)
		if want := map[rollout.Mode]string{rollout.ModeChampion: "MODE_CHAMPION", rollout.ModeShadow: "MODE_SHADOW", rollout.ModeCanary: "MODE_CANARY",
			rollout.ModePromoted: "MODE_PROMOTED", rollout.ModeRolledBack: "MODE_ROLLED_BACK"}[m]; p.String() != want {
			t.Errorf("%s: %s, want %s", m, p, want)
		}
		if modeFromProto(p) != m {
			t.Errorf("%s does not come back", m)
		}
		delete(names, p.String())
	}
	if len(names) != 1 {
		t.Errorf("modes of the RPC alone: %v", names)
	}
	if modeToProto(99) != adminv1.Mode_MODE_UNSPECIFIED || modeFromProto(99) != 0 {
		t.Error("an unknown mode has a number")
	}
}
