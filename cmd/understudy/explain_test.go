package main

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/admin"
	"github.com/understudy-serving/understudy/admin/admintest"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The gates of the judged models.
var (
	errorRate    = rollout.Gate{Metric: rollout.ErrorRate, Margin: 0.02, Horizon: 5 * time.Second, Share: 0.5, MinRequests: 1000, InShadow: true, InCanary: true, OnFail: rollout.RollBack}
	slowRate     = rollout.Gate{Metric: rollout.SlowRate, Margin: 0.1, Relative: true, SlowerThan: 150 * time.Millisecond, Share: 0.25, InCanary: true, OnFail: rollout.RollBack}
	tailLatency  = rollout.Gate{Metric: rollout.TailLatency, Margin: 0.1, Relative: true, DryRun: true, InCanary: true, OnFail: rollout.RollBack}
	disagreement = rollout.Gate{Metric: rollout.Disagreement, Limit: 0.02, Share: 0.25, MinRequests: 1000, InShadow: true, InCanary: true, OnFail: rollout.RollBack}
	scoreShift   = rollout.Gate{Metric: rollout.ScoreShift, Output: "probability", Limit: 0.05, Range: 1, Share: 0.25, InShadow: true, OnFail: rollout.RollBack}
	drift        = rollout.Gate{Metric: rollout.Drift, Output: "probability", Limit: 0.2, InShadow: true, OnFail: rollout.Hold}
)

// judgedViews are what `explain` has to tell of: one of each kind, by model.
func judgedViews() []rollout.View {
	return []rollout.View{inCanary(), fresh(), shadow(), spam(), void()}
}

// shadow rehearses: some gates pass, one does not apply, and none has failed.
func shadow() rollout.View {
	v := fraud()
	v.Model, v.Mode, v.Weight, v.Step = "shadow", rollout.ModeShadow, 0, 0
	v.Plan[0].MaxDuration, v.Plan[0].OnMaxDuration = 6*time.Hour, rollout.RollBack
	v.Plan[0].Gates = []rollout.Gate{disagreement}
	v.WaitingFor = "disagreement and drift(probability) to pass"
	v.Figures.Judgement = rollout.Judgement{Alpha: 0.01, LogEvidence: -2.1, Rate: 20.4, Uncounted: 1234,
		Gates: []rollout.GateReport{
			{Gate: errorRate, Applies: true, Verdict: rollout.Pass, Why: "the challenger fails no more than 2pp above the champion", LogFail: -7.31, LogPass: 4.9, Prior: 0.5,
				Counts: rollout.GateCounts{Pairs: 11000, ChallengerOnly: 12, ChampionOnly: 3}, Estimate: 0.00082, Low: -0.0015, High: 0.0041},
			{Gate: slowRate, Verdict: rollout.Inconclusive, Why: "judges canary only: the rehearsal's latency is not that of users", Missing: -1, Low: 1},
			{Gate: disagreement, Applies: true, Verdict: rollout.Inconclusive, Why: "1.2% of the pairs disagree, and up to 2.3% are likely; want at most 2%", LogFail: -1.2, LogPass: 2.96, Prior: 0.25,
				Counts: rollout.GateCounts{Pairs: 10988, ChallengerOnly: 132}, Estimate: 0.01201, Low: 0.0094, High: 0.0231, Missing: 12345, Expected: 10*time.Minute + 17*time.Second},
			{Gate: scoreShift, Applies: true, Verdict: rollout.Pass, Why: "scores moved by less than 0.05", LogPass: 51, LogFail: -300, Prior: 0.25,
				Counts: rollout.GateCounts{Pairs: 10988}, Estimate: 0.00312, Low: -0.0021, High: 0.0083},
			{Gate: drift, Applies: true, Verdict: rollout.Fail, Why: "the index is 0.31 (0.01 by chance); want at most 0.2", Counts: rollout.GateCounts{Pairs: 10988}, Estimate: 0.3104, Low: 1, Missing: -1},
		},
		Worst: []rollout.Disagreeing{
			{ID: "01954f5e-5a00-7abc-8def-0123456789ab", Output: "probability", Finding: "values", Difference: 0.8123, Segment: "region=eu"},
			{ID: "01954f5f-0000-7abc-8def-0123456789ab", Output: "label", Finding: "values", Difference: 1, Champion: "fraud", Challenger: "ok"},
			{ID: "01954f60-0000-7abc-8def-0123456789ab", Output: "label", Finding: "shape"},
		}}
	return v
}

var (
	converted = rollout.Gate{Metric: rollout.ReportedOutcome, Outcome: "converted", Margin: 0.01, To: 1, Horizon: 24 * time.Hour, Share: 0.1, InCanary: true, OnFail: rollout.RollBack}
	revenue   = rollout.Gate{Metric: rollout.ReportedOutcome, Outcome: "revenue", Mean: true, Margin: 0.5, To: 500, Horizon: 6 * time.Hour, Share: 0.1, InCanary: true, OnFail: rollout.RollBack}
)

// canary has a cohort that fails while all requests pass, and a gate on trial.
func inCanary() rollout.View {
	v := fraud()
	v.Model, v.WaitingFor = "canary", "error-rate in region=eu and slow-rate to pass"
	cohort := func(name string, verdict rollout.Verdict, bad int64, fail, pass float64) rollout.GateReport {
		return rollout.GateReport{Gate: errorRate, Segment: name, Applies: true, Verdict: verdict, LogFail: fail, LogPass: pass, Prior: 0.05, Missing: -1,
			Counts:   rollout.GateCounts{Champion: 48012, ChampionBad: 41, Challenger: 2512, ChallengerBad: bad},
			Estimate: float64(bad)/2512 - 0.00085, Low: float64(bad)/2512 - 0.01, High: float64(bad)/2512 + 0.02}
	}
	eu := cohort("region=eu", rollout.Fail, 151, 7.9, -3)
	eu.Why = "6.01% of the challenger's requests fail, 0.09% of the champion's; at most 2pp more are allowed"
	us := cohort("region=us", rollout.Inconclusive, 3, 0.4, 1.1)
	us.Missing, us.Expected = 18234, 37*time.Minute+3*time.Second
	small := rollout.GateReport{Gate: errorRate, Segment: "region=mt", Why: "12 requests are too few", Missing: -1, Low: 1, Counts: rollout.GateCounts{Champion: 12}}
	v.Figures.Judgement = rollout.Judgement{Alpha: 0.01, LogEvidence: 4.91, Rate: 8.2,
		Gates: []rollout.GateReport{
			{Gate: errorRate, Applies: true, Verdict: rollout.Pass, Why: "the challenger fails no more than 2pp above the champion", LogFail: 1.4, LogPass: 4.7, Prior: 0.25,
				Counts: rollout.GateCounts{Champion: 152014, ChampionBad: 131, Challenger: 8012, ChallengerBad: 151}, Estimate: 0.01798, Low: 0.0121, High: 0.0199},
			eu, us, cohort("other", rollout.Pass, 0, -2, 5), small,
			{Gate: slowRate, Applies: true, Verdict: rollout.Inconclusive, Why: "neither is shown yet", LogFail: 1.02, LogPass: 0.3, Prior: 0.25, Missing: -1,
				Counts: rollout.GateCounts{Champion: 152014, Challenger: 8012, ChallengerBad: 2}, Estimate: math.Inf(1), Low: 0.71, High: math.Inf(1)},
			{Gate: tailLatency, Applies: true, Verdict: rollout.Fail, Why: "1.9 times as many requests are beyond the champion's 99th percentile", LogFail: 6,
				Counts: rollout.GateCounts{Champion: 152014, ChampionBad: 1498, Challenger: 8012, ChallengerBad: 151}, Estimate: 1.91, Low: 1.42, High: 2.53, Missing: -1},
			{Gate: drift, Verdict: rollout.Inconclusive, Why: "judges shadow only", Missing: -1, Low: 1},
			{Gate: converted, Applies: true, Verdict: rollout.Inconclusive, Why: "not enough evidence either way", LogFail: 0.7, LogPass: 2.2, Prior: 0.1, Missing: 9000, Expected: 25*time.Hour + 4*time.Minute,
				Counts: rollout.GateCounts{Champion: 9012, ChampionBad: 451, Challenger: 482, ChallengerBad: 23}, Estimate: -0.0023, Low: -0.031, High: 0.028},
			{Gate: revenue, Applies: true, Verdict: rollout.Pass, Why: "shown to be no worse than allowed", LogFail: -2, LogPass: 4.9, Prior: 0.1,
				Counts: rollout.GateCounts{Champion: 9012, ChampionMean: 12.418, Challenger: 482, ChallengerMean: 12.7}, Estimate: 0.282, Low: -0.41, High: 1.02},
		},
		Shadow: []rollout.GateReport{
			{Gate: errorRate, Applies: true, Verdict: rollout.Pass, Why: "the challenger fails no more than 2pp above the champion"},
			{Gate: drift, Applies: true, Verdict: rollout.Pass, Why: "the index is 0.04 (0.01 by chance); want at most 0.2"},
		},
		Split: rollout.SplitReport{Why: "keys fall as the weight says", LogEvidence: -1.4, Champion: 19012, Challenger: 1002},
		Inputs: []rollout.InputShift{
			{Feature: "features[0]", Against: rollout.AgainstChampionByKey, PSI: 0.011, Expected: 0.009, Of: 1002, To: 19012, Enough: true},
			{Feature: "amount[0]", Against: rollout.AgainstChampionByKey, Of: 12, To: 190, Hold: true},
			{Feature: "features[0]", Against: rollout.AgainstChampion, PSI: 0.02, Expected: 0.0012, Of: 8012, To: 152014, Enough: true},
			{Feature: "amount[0]", Against: rollout.AgainstChampion, PSI: 0.81, Expected: 0.0012, Of: 8012, To: 152014, Enough: true, Shifted: true, Hold: true},
		},
	}
	for i := range 12 {
		v.Figures.Judgement.Inputs = append(v.Figures.Judgement.Inputs, rollout.InputShift{Feature: fmt.Sprintf("features[%d]", i), Against: rollout.AgainstShadow,
			PSI: 0.01 * float64(i), Expected: 0.001, Of: 160026, To: 98012, Enough: true, Shifted: i == 11})
	}
	return v
}

// void has a split that lost keys.
func void() rollout.View {
	v := inCanary()
	v.Model, v.WaitingFor = "void", "an operator: the split can't be trusted"
	j := v.Figures.Judgement
	j.Gates, j.Shadow, j.LogEvidence = j.Gates[:1], nil, 3.7
	j.Split = rollout.SplitReport{Void: true, Why: "3.1% of the keys fall on the challenger, at 5%", LogEvidence: 12.2, Champion: 19012, Challenger: 602}
	v.Figures.Judgement = j
	return v
}

// fresh has begun a moment ago.
func fresh() rollout.View {
	v := shadow()
	v.Model, v.WaitingFor = "fresh", "1h and 10,000 pairs"
	v.Figures.Judgement = rollout.Judgement{Alpha: 0.01, Gates: []rollout.GateReport{
		{Gate: errorRate, Applies: true, Verdict: rollout.Inconclusive, Why: "no pairs yet", Prior: 1, Missing: -1, Low: 1},
		{Gate: disagreement, Applies: true, Verdict: rollout.Inconclusive, Why: "no pairs yet", Missing: 1000, Low: 1}}}
	return v
}

func TestGatesInShort(t *testing.T) {
	const pass, fail, open = adminv1.Verdict_VERDICT_PASS, adminv1.Verdict_VERDICT_FAIL, adminv1.Verdict_VERDICT_INCONCLUSIVE
	gate := func(name, segment string, v adminv1.Verdict) *adminv1.GateStatus {
		return &adminv1.GateStatus{Gate: name, Segment: segment, Applies: true, Verdict: v}
	}
	trial := gate("c", "", fail)
	trial.DryRun = true
	for want, all := range map[string][]*adminv1.GateStatus{
		"-":                  {trial, {Gate: "d", Verdict: open}},
		"2 pass":             {gate("a", "", pass), gate("b", "", pass), trial},
		"1 pass, 1 ?":        {gate("a", "", pass), gate("a", "x=1", open), gate("b", "", pass)},
		"fail: a":            {gate("a", "", fail), gate("b", "", pass)},
		"fail: b (x=1·\\tx)": {gate("a", "", open), gate("b", "", pass), gate("b", "x=1\n\\tx", fail)},
		"fail: a and 1 more": {gate("a", "", fail), gate("b", "x=1", fail)},
		"fail: a (x=2)":      {gate("a", "", pass), gate("a", "x=2", fail)},
		"3 ?":                {gate("a", "", open), gate("b", "", open), gate("d", "", open)},
	} {
		if got := gatesInShort(&adminv1.Rollout{Gates: all}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Numbers that are none, or what is not there, take nothing else away; names are not
// commands.
func TestExplanationOfVeryLittle(t *testing.T) {
	odd := &adminv1.GateReport{Gate: &adminv1.Gate{Name: "odd", Metric: "odd"}, Applies: true, Verdict: adminv1.Verdict_VERDICT_INCONCLUSIVE,
		Estimate: &adminv1.Estimate{Value: math.NaN()}, ForFail: &adminv1.Evidence{Log: math.NaN(), LogNeeded: 1}, ForPass: &adminv1.Evidence{Log: math.Inf(-1), LogNeeded: 1}}
	for want, j := range map[string]*adminv1.Judgement{
		"Nothing is judged":                   nil,
		"for a fail  ..........   0%, - of 1": {Gates: []*adminv1.GateReport{odd}},
		"a·b·c":                               {WorstPairs: []*adminv1.DisagreeingPair{{Id: "$(reboot)", Segment: "a\tb\nc"}}},
	} {
		if got := explanation(&adminv1.Rollout{Model: "m"}, j); !strings.Contains(got, want) || strings.Contains(got, "kcat") {
			t.Errorf("%s; want %q", got, want)
		}
	}
}

func TestManyCohortsAreNotAllListed(t *testing.T) {
	v := inCanary()
	j := &v.Figures.Judgement
	for i := range 12 {
		more := j.Gates[3]
		more.Segment = fmt.Sprintf("region=%02d", i)
		j.Gates = append(j.Gates[:5:5], append([]rollout.GateReport{more}, j.Gates[5:]...)...)
	}
	url, err := serveAdmin(t.Cleanup, admin.Options{Rollouts: admintest.New(time.Now, v)})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if code := run(t.Context(), []string{"explain", "canary", "--admin", url}, &out, &out); code != exitOK {
		t.Fatalf("exit code %d, said %s", code, &out)
	}
	if got := out.String(); !strings.Contains(got, "  and 8 more; -o json has them all\n") || strings.Contains(got, "region=05") || !strings.Contains(got, "region=08") {
		t.Errorf("%s", got)
	}
}

func TestGateWords(t *testing.T) {
	scale := func(g rollout.Gate) *adminv1.Gate {
		return &adminv1.Gate{Metric: string(g.Metric), AllowedIncrease: g.Margin, Relative: g.Relative, Limit: g.Limit, SlowerThan: durationpb.New(g.SlowerThan)}
	}
	relative := errorRate
	relative.Relative = true
	write := func(g rollout.Gate, x float64) string {
		return estimated(&adminv1.GateReport{Gate: scale(g), Estimate: &adminv1.Estimate{Value: x, Interval: &adminv1.Interval{Low: -x, High: 2 * x}}}).text
	}
	for want, got := range map[string]string{
		"2pp more failures than the champion": allowance(scale(errorRate)), "2% more failures than the champion": allowance(scale(relative)),
		"10% more over 150ms than the champion": allowance(scale(slowRate)), "10% slower than the champion": allowance(scale(tailLatency)),
		"2% of the pairs": allowance(scale(disagreement)), "0.05 up or down": allowance(scale(scoreShift)), "0.2 PSI": allowance(scale(drift)),
		"+1.23pp (-1.23 to +2.47)": write(errorRate, 0.012345), "1.5× (-1.5 to 3)": write(relative, 1.5), "1.2% (-1.2 to 2.4)": write(disagreement, 0.012),
		"+0.1 (-0.1 to +0.2)": write(scoreShift, 0.1), "0.1 PSI (-0.1 to 0.2)": write(drift, 0.1),
		"1e-05": digits(1e-5), "1,234,568": digits(1234567.6), "∞": digits(math.Inf(1)), "-": digits(math.NaN()),
		"99%": way(&adminv1.Evidence{Log: 0.9999, LogNeeded: 1}), "100%": way(&adminv1.Evidence{Log: 2, LogNeeded: 1}), "0%": way(nil),
		"99": count(roughly(99)), "120": count(roughly(123)), "13,000": count(roughly(12500)),
		"1s": about(time.Millisecond), "9m59s": about(10*time.Minute - time.Second), "2h4m": about(2*time.Hour + 3*time.Minute + 40*time.Second),
		"budget of false rollbacks 1%, under 1% of it used": budget(0.01, 0.009), "budget of false rollbacks 5%, 99% of it used": budget(0.05, 0.999),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
