package admin

import (
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// toProto says in the RPC's terms all that an operator sees of a rollout.
func toProto(v rollout.View) *adminv1.Rollout {
	j := v.Figures.Judgement
	out := &adminv1.Rollout{
		Model:             v.Model,
		Revision:          v.Revision,
		Mode:              modeToProto(v.Mode),
		WeightPercent:     v.Weight.Percent(),
		Paused:            v.Paused,
		Step:              int32(v.Step),
		Champion:          specToProto(v.Champion),
		StepElapsed:       durationpb.New(v.Progress.Elapsed),
		StepRequests:      stepRequests(v),
		WaitingFor:        v.WaitingFor,
		StepRemaining:     durationpb.New(v.Remaining),
		ChampionFigures:   armToProto(v.Figures.Champion),
		ChallengerFigures: armToProto(v.Figures.Challenger),
		MirrorFigures:     mirrorToProto(v.Figures.Mirror),
		Fallbacks:         v.Figures.Fallbacks,
		Breaker:           v.Breaker,
		Warnings:          v.Warnings,
		Gates:             statusToProto(j.Gates),
		Alpha:             j.Alpha,
		Evidence:          budgetUsed(j),
		SplitVoid:         j.Split.Void,
		Split:             j.Split.Why,
	}
	if v.HasChallenger() {
		out.Challenger = specToProto(v.Challenger)
	}
	for _, step := range v.Plan {
		out.Plan = append(out.Plan, stepToProto(step))
	}
	for _, c := range v.Changes {
		out.Events = append(out.Events, changeToProto(c))
	}
	return out
}

// stepRequests is what the step's minimum counts: pairs in shadow, else requests routed.
func stepRequests(v rollout.View) int64 {
	if v.Mode == rollout.ModeShadow {
		return v.Progress.Pairs
	}
	return v.Progress.Routed
}

// The domain's modes have the RPC's numbers; a test holds them to it.
func modeToProto(m rollout.Mode) adminv1.Mode {
	if m > rollout.ModeRolledBack {
		return adminv1.Mode_MODE_UNSPECIFIED
	}
	return adminv1.Mode(m)
}

// modeFromProto returns 0 for what is no mode.
func modeFromProto(m adminv1.Mode) rollout.Mode {
	if m < 0 || m > adminv1.Mode_MODE_ROLLED_BACK {
		return 0
	}
	return rollout.Mode(m)
}

func specToProto(s rollout.Spec) *adminv1.ArmSpec {
	return &adminv1.ArmSpec{Target: s.Target, Model: s.Model, Version: s.Version}
}

func stepToProto(s rollout.Step) *adminv1.Step {
	var gates []string
	for _, g := range s.Gates {
		gates = append(gates, g.Name())
	}
	switch s.Kind {
	case rollout.StepShadow:
		return &adminv1.Step{Step: &adminv1.Step_Shadow{Shadow: &adminv1.ShadowStep{
			Bake: durationToProto(s.Bake), MinRequests: s.MinRequests,
			MaxDuration: durationToProto(s.MaxDuration), OnMaxDuration: reactionToProto(s.OnMaxDuration), Gates: gates}}}
	case rollout.StepSetWeight:
		return &adminv1.Step{Step: &adminv1.Step_SetWeight{SetWeight: s.Weight.Percent()}}
	}
	return &adminv1.Step{Step: &adminv1.Step_Pause{Pause: &adminv1.PauseStep{
		Duration: durationToProto(s.Bake), MinRequests: s.MinRequests, UntilResumed: s.Manual,
		MaxDuration: durationToProto(s.MaxDuration), OnMaxDuration: reactionToProto(s.OnMaxDuration), Gates: gates}}}
}

// durationToProto leaves out what is not set.
func durationToProto(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func armToProto(a rollout.ArmFigures) *adminv1.ArmFigures {
	return &adminv1.ArmFigures{Requests: a.Requests, Failures: a.Failures,
		P50: durationpb.New(a.Latency.P50), P95: durationpb.New(a.Latency.P95), P99: durationpb.New(a.Latency.P99)}
}

func mirrorToProto(m rollout.MirrorFigures) *adminv1.MirrorFigures {
	out := &adminv1.MirrorFigures{Sent: m.Sent, Failures: m.Failures, Compared: m.Compared, Disagreed: m.Disagreed,
		P50: durationpb.New(m.Latency.P50), P95: durationpb.New(m.Latency.P95), P99: durationpb.New(m.Latency.P99)}
	if len(m.Skipped) > 0 {
		out.Skipped = make(map[string]int64, len(m.Skipped))
		for reason, n := range m.Skipped {
			out.Skipped[string(reason)] = n
		}
	}
	return out
}

func changeToProto(c rollout.Change) *adminv1.Event {
	return &adminv1.Event{Time: timestamppb.New(c.Time), Revision: c.Revision, Kind: string(c.Kind), Actor: c.Actor,
		Reason: c.Reason, Mode: modeToProto(c.Mode), WeightPercent: c.Weight.Percent()}
}
