package rollout

import (
	"math"
	"time"
)

// Verdict is what a gate says.
type Verdict string

// The verdicts.
const (
	// Pass says that the challenger is shown to be no worse than the margin.
	Pass Verdict = "pass"
	// Fail says that it is shown to be worse.
	Fail Verdict = "fail"
	// Inconclusive says that neither is shown yet.
	Inconclusive Verdict = "inconclusive"
)

// Judgement is all that the gates say of a rollout.
type Judgement struct {
	// Entered names the step that it is about; the judgement of another is void.
	Entered uint64 `json:"-"`
	// Alpha is the budget of false alarms, Rules.Alpha.
	Alpha float64 `json:"alpha"`
	// LogEvidence is the natural logarithm of the evidence against the challenger, all
	// gates and cohorts together; at ln(1/Alpha) it is rolled back.
	LogEvidence float64 `json:"log_evidence"`
	// Gates has each gate for all requests, in the order of the rules, and behind it its
	// cohorts, the worst first.
	Gates []GateReport `json:"gates,omitempty"`
	// Shadow has the gates for all requests as the rehearsal left them; empty before canary.
	Shadow []GateReport `json:"shadow,omitempty"`
	Split  SplitReport  `json:"split"`
	// Uncounted requests found no room to wait for their judgement. They are left out
	// before anything is known of them, so verdicts stay true.
	Uncounted int64 `json:"uncounted,omitempty"`
	// Worst are the pairs that disagree most, at most MaxWorst, worst first.
	Worst []Disagreeing `json:"worst,omitempty"`
	// Inputs has each watched input against each base that there is. It rolls nothing back.
	Inputs []InputShift `json:"inputs,omitempty"`
	// Rate is the requests a second that were counted lately.
	Rate float64 `json:"rate"`
}

// MaxWorst bounds Judgement.Worst.
const MaxWorst = 10

// Decisive returns the gate that rolls the challenger back; ok is false where none does.
func (j Judgement) Decisive() (r GateReport, ok bool) {
	if j.Split.Void {
		return r, false
	}
	for _, r := range j.Gates {
		if r.Verdict == Fail && r.Gate.OnFail == RollBack && !r.Gate.DryRun {
			return r, true
		}
	}
	return r, false
}

// Holding returns the gates and cohorts whose verdict a pass of the step still lacks.
func (j Judgement) Holding() (reports []GateReport) {
	for _, r := range j.Gates {
		if r.Applies && !r.Gate.DryRun && r.Verdict != Pass {
			reports = append(reports, r)
		}
	}
	return reports
}

// GateReport is one gate's verdict for all requests or for one cohort, with its evidence.
type GateReport struct {
	Gate Gate `json:"gate"`
	// Segment is the cohort, such as "region=eu"; empty for all requests.
	Segment string `json:"segment,omitempty"`
	// Applies is false where the gate does not judge this mode, or where a cohort has too few
	// requests to pass and has not failed: then it neither holds nor passes anything.
	Applies bool    `json:"applies"`
	Verdict Verdict `json:"verdict"`
	// Why says it in one sentence.
	Why string `json:"why"`
	// LogFail is the natural logarithm of the evidence for a fail since the rollout began,
	// Prior its share of the budget: alone it fails at ln(1/(Prior·Alpha)). LogPass is the
	// evidence for a pass at this step, which passes at ln(1/Alpha).
	LogFail float64 `json:"log_fail"`
	LogPass float64 `json:"log_pass"`
	Prior   float64 `json:"prior"`
	// Counts are those of the step.
	Counts GateCounts `json:"counts"`
	// Estimate is of what the gate judges: a difference of rates or means, a ratio of
	// rates, a rate, an index. It lies between Low and High at 1 − Alpha, however often one
	// looks; Low > High where there is no interval.
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	// Missing is how many more requests (or pairs) a pass takes if all goes on as it has at
	// this step; negative where none is in sight. Expected is the time at the current traffic.
	Missing  int64         `json:"missing"`
	Expected time.Duration `json:"expected"`
}

// GateCounts are what a gate has counted.
type GateCounts struct {
	// Champion and Challenger requests were judged live, as assigned; Bad ones failed or
	// were slow, or for ReportedOutcome have it.
	Champion      int64 `json:"champion,omitempty"`
	ChampionBad   int64 `json:"champion_bad,omitempty"`
	Challenger    int64 `json:"challenger,omitempty"`
	ChallengerBad int64 `json:"challenger_bad,omitempty"`
	// Pairs are requests with both arms' results. In ChallengerOnly of them the challenger
	// alone was bad (or, for Disagreement, they disagree), in ChampionOnly the champion, in
	// Both each.
	Pairs          int64 `json:"pairs,omitempty"`
	ChallengerOnly int64 `json:"challenger_only,omitempty"`
	ChampionOnly   int64 `json:"champion_only,omitempty"`
	Both           int64 `json:"both,omitempty"`
	// ChampionMean and ChallengerMean are of reported values.
	ChampionMean   float64 `json:"champion_mean,omitempty"`
	ChallengerMean float64 `json:"challenger_mean,omitempty"`
}

// SplitReport says whether the split itself can be trusted.
type SplitReport struct {
	// Void says that it can't: no verdict counts, and the rollout holds.
	Void bool   `json:"void"`
	Why  string `json:"why"`
	// LogEvidence is the natural logarithm of the evidence that keys (or missing results)
	// do not fall on the arms as the weight says; void at ln 1000.
	LogEvidence float64 `json:"log_evidence"`
	// Champion and Challenger count the keys first seen in canary, by arm.
	Champion   int64 `json:"champion"`
	Challenger int64 `json:"challenger"`
}

// Disagreeing is a pair of predictions that disagree.
type Disagreeing struct {
	// ID is the gateway's, the record's key on the topic.
	ID      string `json:"id"`
	Output  string `json:"output"`
	Finding string `json:"finding"`
	// Difference is the largest absolute difference of an element.
	Difference float64 `json:"difference"`
	// Champion and Challenger are class labels, where the output is compared as classes.
	Champion   string `json:"champion,omitempty"`
	Challenger string `json:"challenger,omitempty"`
	Segment    string `json:"segment,omitempty"`
}

// Worst returns what c differs in most, without id and segment, and its rank among
// disagreements: another form of answer comes before another value, and of scores the
// one that is further off. Where the predictions agree ok is false.
func (c *Comparison) Worst() (d Disagreeing, rank float64, ok bool) {
	if c.Error != "" {
		return Disagreeing{Finding: c.Error}, math.Inf(1), true
	}
	for i := range c.Outputs {
		o := &c.Outputs[i]
		if r := o.rank(); !o.Agree && (!ok || r > rank) {
			rank, ok = r, true
			d = Disagreeing{Output: o.Output, Finding: string(o.Finding), Difference: o.MaxAbsDiff, Champion: o.ChampionClass, Challenger: o.ChallengerClass}
		}
	}
	return d, rank, ok
}

func (o *OutputComparison) rank() float64 {
	switch {
	case o.Finding != DiffersInValues, o.NonFinite > 0:
		return math.Inf(1)
	case o.Kind == CompareScore:
		return o.MaxAbsDiff
	}
	return 1
}

// Routing is a request at the moment when its arm was chosen.
type Routing struct {
	// At is when the request came.
	At time.Time
	// Key is the routing key. Keyed is false where the request has none of its own and is
	// spread by the gateway's id.
	Key   string
	Keyed bool
	// Segments are the request's values for Rules.Segments, in that order; empty where
	// it has none.
	Segments [MaxSegmentSources]string
	// Hasty requests have too little time left for the challenger to be asked, whatever the
	// split says: they are no evidence, on either arm.
	Hasty   bool
	Arm     Arm
	Weight  Weight
	Entered uint64
}

// Stamp says where a routed request waits for its judgement, and what its outcome counts
// for; 0 is nowhere, and for nothing.
type Stamp uint64

// The vote is in the stamp's highest bits, above places for millions of years.
const voteShift = 62

// NewStamp returns the stamp of a place, from 1.
func NewStamp(place uint64, v Vote) Stamp { return Stamp(place | uint64(v)<<voteShift) }

// Place is where the request waits; 0 is nowhere.
func (s Stamp) Place() uint64 { return uint64(s) & (1<<voteShift - 1) }

// Vote is what the request's outcome counts for.
func (s Stamp) Vote() Vote { return Vote(s >> voteShift) }
