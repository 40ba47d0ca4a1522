package admin

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// judgement has another value in every field.
func judgement() rollout.Judgement {
	errorRate := rollout.Gate{Metric: rollout.ErrorRate, Margin: 0.5, Relative: true, Horizon: 51 * time.Second, Share: 0.52, MinRequests: 53,
		DryRun: true, InShadow: true, InCanary: true, OnFail: rollout.RollBack}
	shift := rollout.Gate{Metric: rollout.ScoreShift, Output: "probability", Limit: 0.54, Range: 0.55, SlowerThan: 56 * time.Second,
		Horizon: 57 * time.Second, OnFail: rollout.Hold}
	return rollout.Judgement{
		Alpha: 0.01, LogEvidence: 3,
		Gates: []rollout.GateReport{
			{Gate: errorRate, Applies: true, Verdict: rollout.Pass, Why: "good", LogFail: 58, LogPass: 59, Prior: 0.6, Estimate: 61, Low: 60, High: 62,
				Counts:  rollout.GateCounts{Champion: 63, ChampionBad: 64, Challenger: 65, ChallengerBad: 66, Pairs: 67, ChallengerOnly: 68, ChampionOnly: 69},
				Missing: 70, Expected: 71 * time.Second},
			{Gate: errorRate, Segment: "region=eu", Applies: true, Verdict: rollout.Fail, Why: "bad", Missing: -1, High: math.Inf(1)},
			{Gate: shift, Verdict: rollout.Inconclusive, Why: "not in canary", Low: 1, High: 0},
		},
		Shadow: []rollout.GateReport{{Gate: shift, Applies: true, Verdict: rollout.Pass, Why: "rehearsed"}},
		Split:  rollout.SplitReport{Void: true, Why: "lost keys", LogEvidence: 72, Champion: 73, Challenger: 74}, Uncounted: 75,
		Worst:  []rollout.Disagreeing{{ID: "id", Output: "probability", Finding: "values", Difference: 76, Champion: "cat", Challenger: "dog", Segment: "region=us"}},
		Rate:   77,
		Inputs: []rollout.InputShift{{Feature: "features[3]", Against: rollout.AgainstShadow, PSI: 78, Expected: 79, Of: 80, To: 81, Enough: true, Shifted: true, Hold: true}},
	}
}

// judgementBack is the inverse of judgementToProto, as a client would write it.
func judgementBack(j *adminv1.Judgement) rollout.Judgement {
	out := rollout.Judgement{Alpha: j.Alpha, LogEvidence: j.AgainstChallenger.Log, Gates: reportsBack(j.Gates), Shadow: reportsBack(j.Rehearsal),
		Split: rollout.SplitReport{Void: j.Split.Void, Why: j.Split.Why, LogEvidence: j.Split.OfMismatch.Log,
			Champion: j.Split.ChampionKeys, Challenger: j.Split.ChallengerKeys},
		Uncounted: j.UncountedRequests, Rate: j.RequestsPerSecond}
	for _, p := range j.WorstPairs {
		out.Worst = append(out.Worst, rollout.Disagreeing{ID: p.Id, Output: p.Output, Finding: p.Finding, Difference: p.Difference,
			Champion: p.Champion, Challenger: p.Challenger, Segment: p.Segment})
	}
	for _, s := range j.Inputs {
		out.Inputs = append(out.Inputs, rollout.InputShift{Feature: s.Feature, Against: rollout.Base(s.Against), PSI: s.Psi, Expected: s.PsiExpected,
			Of: s.Requests, To: s.BaseRequests, Enough: s.Enough, Shifted: s.Shifted, Hold: s.Hold})
	}
	return out
}

func reportsBack(reports []*adminv1.GateReport) []rollout.GateReport {
	var out []rollout.GateReport
	for _, r := range reports {
		c, g := r.Counts, r.Gate
		back := rollout.GateReport{Segment: r.Segment, Applies: r.Applies, Verdict: verdictBack(r.Verdict), Why: r.Why,
			LogFail: r.ForFail.Log, LogPass: r.ForPass.Log, Prior: r.Prior, Estimate: r.Estimate.Value, Low: 1, High: 0, Missing: -1,
			Counts: rollout.GateCounts{Champion: c.Champion, ChampionBad: c.ChampionBad, Challenger: c.Challenger, ChallengerBad: c.ChallengerBad,
				Pairs: c.Pairs, ChallengerOnly: c.ChallengerOnlyBad, ChampionOnly: c.ChampionOnlyBad},
			Gate: rollout.Gate{Metric: rollout.Metric(g.Metric), Output: g.Output, Margin: g.AllowedIncrease, Relative: g.Relative, Limit: g.Limit, Range: g.Range,
				SlowerThan: g.SlowerThan.AsDuration(), Horizon: g.Horizon.AsDuration(), Share: g.Share, MinRequests: g.MinRequests, DryRun: g.DryRun,
				InShadow: g.InShadow, InCanary: g.InCanary, OnFail: reactionBack(g.OnFail)}}
		if i := r.Estimate.Interval; i != nil {
			back.Low, back.High = i.Low, i.High
		}
		if p := r.ToPass; p != nil {
			back.Missing, back.Expected = p.Requests, p.Time.AsDuration()
		}
		out = append(out, back)
	}
	return out
}

func verdictBack(v adminv1.Verdict) rollout.Verdict {
	return rollout.Verdict(strings.ToLower(strings.TrimPrefix(v.String(), "VERDICT_")))
}

func reactionBack(r adminv1.Reaction) rollout.Reaction {
	if r == adminv1.Reaction_REACTION_UNSPECIFIED {
		return ""
	}
	return rollout.Reaction(strings.ToLower(strings.TrimPrefix(r.String(), "REACTION_")))
}

func TestAJudgementComesBackFromTheWire(t *testing.T) {
	want := judgement()
	out := judgementToProto(want)
	if got := judgementBack(out); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := out.Gates[0].Gate.Name + " " + out.Gates[2].Gate.Name; got != "error-rate score-shift(probability)" {
		t.Errorf("gates %s", got)
	}
	// Together 1/alpha is needed; of a gate its share of that; and of one without a share nothing decides.
	for name, c := range map[string]struct{ got, want float64 }{
		"rollback":                 {out.AgainstChallenger.LogNeeded, math.Log(100)},
		"a gate's fail":            {out.Gates[0].ForFail.LogNeeded, math.Log(100 / 0.6)},
		"a gate's pass":            {out.Gates[0].ForPass.LogNeeded, math.Log(100)},
		"a fail without a share":   {out.Gates[1].ForFail.LogNeeded, 0},
		"a split that can't be so": {out.Split.OfMismatch.LogNeeded, math.Log(1000)},
	} {
		if math.Abs(c.got-c.want) > 1e-9 {
			t.Errorf("%s needs %v, want %v", name, c.got, c.want)
		}
	}
}

func TestWithoutGatesThereIsNoJudgement(t *testing.T) {
	if j := judgementToProto(rollout.Judgement{}); j != nil {
		t.Errorf("%v", j)
	}
	v := full()
	v.Figures.Judgement = rollout.Judgement{}
	if out := toProto(v); out.Alpha != 0 || out.Evidence != 0 || out.Gates != nil || out.SplitVoid || out.Split != "" {
		t.Errorf("%v", out)
	}
	b, err := json.Marshal(evidenceOf(v.Figures))
	if err != nil || strings.Contains(string(b), "alpha") || strings.Contains(string(b), "gates") || strings.Contains(string(b), "log_evidence") {
		t.Errorf("%s, %v", b, err)
	}
}

func TestTheStatusNamesCohortsThatAreWorse(t *testing.T) {
	report := func(metric rollout.Metric, segment string, v rollout.Verdict) rollout.GateReport {
		return rollout.GateReport{Gate: rollout.Gate{Metric: metric}, Segment: segment, Applies: v != "", Verdict: v}
	}
	const none = rollout.Verdict("")
	for name, c := range map[string]struct {
		reports []rollout.GateReport
		want    string
	}{
		"all pass":                      {[]rollout.GateReport{report("a", "", rollout.Pass), report("a", "x=1", rollout.Pass)}, "a"},
		"a cohort fails":                {[]rollout.GateReport{report("a", "", rollout.Pass), report("a", "x=1", rollout.Fail), report("a", "x=2", rollout.Fail)}, "a a/x=1"},
		"a cohort is not there yet":     {[]rollout.GateReport{report("a", "", rollout.Pass), report("a", "x=1", rollout.Inconclusive)}, "a a/x=1"},
		"nobody is there yet":           {[]rollout.GateReport{report("a", "", rollout.Inconclusive), report("a", "x=1", rollout.Inconclusive)}, "a"},
		"all fail, and a cohort":        {[]rollout.GateReport{report("a", "", rollout.Fail), report("a", "x=1", rollout.Fail)}, "a"},
		"a cohort too small":            {[]rollout.GateReport{report("a", "", rollout.Pass), report("a", "x=1", none)}, "a"},
		"a gate that does not apply":    {[]rollout.GateReport{report("a", "", none), report("b", "", rollout.Fail)}, "a b"},
		"each gate begins on its own":   {[]rollout.GateReport{report("a", "", rollout.Fail), report("b", "", rollout.Pass), report("b", "x=1", rollout.Fail)}, "a b b/x=1"},
		"inconclusive, a cohort failed": {[]rollout.GateReport{report("a", "", rollout.Inconclusive), report("a", "x=1", rollout.Fail), report("a", "x=2", rollout.Inconclusive)}, "a a/x=1"},
	} {
		var got []string
		for _, s := range statusToProto(c.reports) {
			name := s.Gate
			if s.Segment != "" {
				name += "/" + s.Segment
			}
			got = append(got, name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestTheBudgetIsUsedUpAtMostOnce(t *testing.T) {
	for log, want := range map[float64]float64{math.Inf(-1): 0, 0: 0.01, math.Log(50): 0.5, math.Log(100): 1, 1000: 1} {
		if got := budgetUsed(rollout.Judgement{Alpha: 0.01, LogEvidence: log}); math.Abs(got-want) > 1e-9 {
			t.Errorf("e^%v: %v of the budget, want %v", log, got, want)
		}
	}
}

// A number that JSON can't write must not keep an entry out of the audit log.
func TestAuditedGates(t *testing.T) {
	j := judgement()
	j.Gates[0].LogFail, j.Gates[0].Estimate = math.Inf(-1), math.NaN()
	j.LogEvidence = math.Inf(1)
	j.Gates = append(j.Gates, rollout.GateReport{Gate: j.Gates[0].Gate, Segment: "region=us", Applies: true, Verdict: rollout.Pass})
	got, err := json.Marshal(evidenceOf(rollout.Figures{Judgement: j}))
	if err != nil {
		t.Fatal(err)
	}
	want := `"fallbacks":0,"alpha":0.01,"gates":[` +
		`{"name":"error-rate","dry_run":true,"verdict":"pass","why":"good","counts":{"champion":63,"champion_bad":64,"challenger":65,"challenger_bad":66,` +
		`"pairs":67,"challenger_only":68,"champion_only":69},"low":60,"high":62,"log_pass":59},` +
		`{"name":"error-rate","segment":"region=eu","dry_run":true,"verdict":"fail","why":"bad","counts":{},"estimate":0,"low":0,"log_fail":0,"log_pass":0}],` +
		`"split":"lost keys"}`
	if !strings.HasSuffix(string(got), want) {
		t.Errorf("got  %s\nwant …%s", got, want)
	}
}
