package admin

import (
	"math"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
	"google.golang.org/protobuf/types/known/durationpb"
)

// splitVoidAt is the evidence at which rollout.SplitReport is void.
const splitVoidAt = 1000

// judged tells whether there is a judgement to show.
func judged(j rollout.Judgement) bool { return j.Alpha > 0 || len(j.Worst) > 0 }

// judgementToProto returns nil where nothing is judged.
func judgementToProto(j rollout.Judgement) *adminv1.Judgement {
	if !judged(j) {
		return nil
	}
	out := &adminv1.Judgement{
		Alpha:             j.Alpha,
		AgainstChallenger: evidenceToProto(j.LogEvidence, j.Alpha),
		Gates:             reportsToProto(j.Gates, j.Alpha),
		Rehearsal:         reportsToProto(j.Shadow, j.Alpha),
		Split: &adminv1.SplitReport{Void: j.Split.Void, Why: j.Split.Why, OfMismatch: evidenceToProto(j.Split.LogEvidence, 1.0/splitVoidAt),
			ChampionKeys: j.Split.Champion, ChallengerKeys: j.Split.Challenger},
		UncountedRequests: j.Uncounted,
		RequestsPerSecond: j.Rate,
	}
	for _, d := range j.Worst {
		out.WorstPairs = append(out.WorstPairs, &adminv1.DisagreeingPair{Id: d.ID, Output: d.Output, Finding: d.Finding,
			Difference: d.Difference, Champion: d.Champion, Challenger: d.Challenger, Segment: d.Segment})
	}
	for _, s := range j.Inputs {
		out.Inputs = append(out.Inputs, &adminv1.InputShift{Feature: s.Feature, Against: string(s.Against), Psi: s.PSI, PsiExpected: s.Expected,
			Requests: s.Of, BaseRequests: s.To, Enough: s.Enough, Shifted: s.Shifted, Hold: s.Hold})
	}
	return out
}

// evidenceToProto has the evidence that decides at 1/budget.
func evidenceToProto(log, budget float64) *adminv1.Evidence {
	out := &adminv1.Evidence{Log: log}
	if budget > 0 {
		out.LogNeeded = -math.Log(budget)
	}
	return out
}

func reportsToProto(reports []rollout.GateReport, alpha float64) []*adminv1.GateReport {
	var out []*adminv1.GateReport
	for _, r := range reports {
		out = append(out, reportToProto(r, alpha))
	}
	return out
}

func reportToProto(r rollout.GateReport, alpha float64) *adminv1.GateReport {
	c := r.Counts
	out := &adminv1.GateReport{Gate: gateToProto(r.Gate), Segment: r.Segment, Applies: r.Applies, Verdict: verdictToProto(r.Verdict), Why: r.Why,
		ForFail: evidenceToProto(r.LogFail, r.Prior*alpha), ForPass: evidenceToProto(r.LogPass, alpha), Prior: r.Prior,
		Counts: &adminv1.GateCounts{Champion: c.Champion, ChampionBad: c.ChampionBad, Challenger: c.Challenger, ChallengerBad: c.ChallengerBad,
			Pairs: c.Pairs, ChallengerOnlyBad: c.ChallengerOnly, ChampionOnlyBad: c.ChampionOnly, BothBad: c.Both,
			ChampionMean: c.ChampionMean, ChallengerMean: c.ChallengerMean},
		Estimate: &adminv1.Estimate{Value: r.Estimate}}
	if r.Low <= r.High {
		out.Estimate.Interval = &adminv1.Interval{Low: r.Low, High: r.High}
	}
	if r.Missing >= 0 {
		out.ToPass = &adminv1.Outlook{Requests: r.Missing, Time: durationpb.New(r.Expected)}
	}
	return out
}

func gateToProto(g rollout.Gate) *adminv1.Gate {
	return &adminv1.Gate{Name: g.Name(), Metric: string(g.Metric), Output: g.Output, AllowedIncrease: g.Margin, Relative: g.Relative,
		Limit: g.Limit, Range: g.Range, SlowerThan: durationToProto(g.SlowerThan), Horizon: durationToProto(g.Horizon), Share: g.Share,
		MinRequests: g.MinRequests, DryRun: g.DryRun, InShadow: g.InShadow, InCanary: g.InCanary, OnFail: reactionToProto(g.OnFail),
		Outcome: g.Outcome, Mean: g.Mean, Fewer: g.Fewer, ReportedOnly: g.ReportedOnly, From: g.From, To: g.To}
}

// statusToProto has each gate for all requests and, behind it, the worst cohort where
// that one is worse.
func statusToProto(reports []rollout.GateReport) []*adminv1.GateStatus {
	var out []*adminv1.GateStatus
	worst := 0
	for _, r := range reports {
		if r.Segment != "" && severity(r) <= worst {
			continue
		}
		worst = severity(r)
		out = append(out, &adminv1.GateStatus{Gate: r.Gate.Name(), Segment: r.Segment, Applies: r.Applies, Verdict: verdictToProto(r.Verdict),
			Why: r.Why, DryRun: r.Gate.DryRun, OnFail: reactionToProto(r.Gate.OnFail)})
	}
	return out
}

// severity orders reports by how much they stand in a rollout's way.
func severity(r rollout.GateReport) int {
	switch {
	case !r.Applies, r.Verdict == rollout.Pass:
		return 0
	case r.Verdict == rollout.Fail:
		return 2
	}
	return 1
}

// budgetUsed is the share of the budget of false alarms that the evidence has used.
func budgetUsed(j rollout.Judgement) float64 {
	return min(1, math.Exp(j.LogEvidence)*j.Alpha)
}

func verdictToProto(v rollout.Verdict) adminv1.Verdict {
	switch v {
	case rollout.Pass:
		return adminv1.Verdict_VERDICT_PASS
	case rollout.Fail:
		return adminv1.Verdict_VERDICT_FAIL
	case rollout.Inconclusive:
		return adminv1.Verdict_VERDICT_INCONCLUSIVE
	}
	return adminv1.Verdict_VERDICT_UNSPECIFIED
}

func reactionToProto(r rollout.Reaction) adminv1.Reaction {
	switch r {
	case rollout.RollBack:
		return adminv1.Reaction_REACTION_ROLLBACK
	case rollout.Hold:
		return adminv1.Reaction_REACTION_HOLD
	}
	return adminv1.Reaction_REACTION_UNSPECIFIED
}
