package report

import (
	"math"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Result is a report. Its JSON is a contract: docs/report.md names the fields. Times are in
// seconds, rates and shares from 0 to 1.
type Result struct {
	// Summary says it in a sentence for each rollout.
	Summary []string `json:"summary"`
	// Source is where the records came from.
	Source string `json:"source"`
	// Complete says that all was read that there was when the report began.
	Complete bool `json:"complete"`
	// Removed messages were gone from the topic before they were read.
	Removed  int64     `json:"removed"`
	Messages Messages  `json:"messages"`
	Rollouts []Rollout `json:"rollouts"`
}

// Rollout is what was found about one challenger of one model.
type Rollout struct {
	Summary    string       `json:"summary"`
	Model      string       `json:"model"`
	Champion   rollout.Spec `json:"champion"`
	Challenger rollout.Spec `json:"challenger"`
	// Rules are "config", or "defaults" where the model's rules were not given.
	Rules    string     `json:"rules"`
	Records  int64      `json:"records"`
	First    *time.Time `json:"first,omitempty"`
	Last     *time.Time `json:"last,omitempty"`
	Agree    Agreement  `json:"agreement"`
	Arms     Arms       `json:"arms"`
	Missing  []Count    `json:"missing"`
	Diverted []Count    `json:"diverted"`
	Outputs  []Output   `json:"outputs"`
	Segments []Segment  `json:"segments"`
	Gates    []Step     `json:"gates"`
	// Revisions of the rollout, ascending.
	Revisions []Revision `json:"revisions"`
	// Worst are the records that differ most, worst first.
	Worst    []rollout.Disagreeing `json:"worst"`
	Timeline []Moment              `json:"timeline"`
}

// Count is how often something was.
type Count struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// Rate is a share with an interval that holds it at 1 − Alpha, however often one looks.
type Rate struct {
	Rate float64 `json:"rate"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Agreement is what the comparisons of pairs of predictions said.
type Agreement struct {
	// Compared = Agree + Disagree; of those, Recomputed from the payloads, and Recorded as
	// the record says because its payloads are cut or redacted.
	Compared   int64 `json:"compared"`
	Agree      int64 `json:"agree"`
	Disagree   int64 `json:"disagree"`
	Recomputed int64 `json:"recomputed"`
	Recorded   int64 `json:"recorded"`
	// Otherwise were judged otherwise by the record's own comparison.
	Otherwise int64 `json:"otherwise"`
	// NotCompared are records without a comparison, by reason.
	NotCompared []Count `json:"notCompared"`
	// Disagreement is Disagree of Compared.
	Disagreement Rate    `json:"disagreement"`
	Alpha        float64 `json:"alpha"`
}

// Arms are what each arm did.
type Arms struct {
	Champion   Arm `json:"champion"`
	Challenger Arm `json:"challenger"`
}

// Arm is what one arm did.
type Arm struct {
	Calls    int64 `json:"calls"`
	Answered int64 `json:"answered"`
	// Failed are failures by the arm's own fault.
	Failed int64   `json:"failed"`
	Codes  []Count `json:"codes"`
	// Latency is in seconds, of all calls; Live of those that a client waited for, for the
	// challenger.
	Latency *Quantiles `json:"latencySeconds,omitempty"`
	Live    *Quantiles `json:"liveLatencySeconds,omitempty"`
}

// Quantiles are within 1 % of the value.
type Quantiles struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

// Output is what was found about one output tensor.
type Output struct {
	Name      string  `json:"name"`
	Kind      string  `json:"kind"`
	Compared  int64   `json:"compared"`
	Disagree  int64   `json:"disagree"`
	Findings  []Count `json:"findings"`
	Elements  uint64  `json:"elements"`
	Differing uint64  `json:"differing"`
	NonFinite uint64  `json:"nonFinite"`
	MaxAbs    float64 `json:"maxAbsDifference"`
	// Differences are of scores, challenger − champion, element by element.
	Differences *Differences `json:"differences,omitempty"`
	Drift       *Drift       `json:"drift,omitempty"`
	// Histogram is of both arms' scores.
	Histogram []Bin      `json:"histogram,omitempty"`
	Confusion *Confusion `json:"confusion,omitempty"`
}

// Differences are what the scores of pairs differ in, challenger − champion.
type Differences struct {
	Count     int64   `json:"count"`
	Mean      float64 `json:"mean"`
	MeanAbs   float64 `json:"meanAbs"`
	Deviation float64 `json:"standardDeviation"`
	Min       float64 `json:"min"`
	P01       float64 `json:"p01"`
	P05       float64 `json:"p05"`
	P25       float64 `json:"p25"`
	P50       float64 `json:"p50"`
	P75       float64 `json:"p75"`
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
	Histogram []Bin   `json:"histogram"`
}

// Bin counts values from Low up to High: Count is the champion's where a histogram is of both
// arms.
type Bin struct {
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Count      int64   `json:"count"`
	Challenger int64   `json:"challenger,omitempty"`
}

// Drift is how far the challenger's scores lie from the champion's, as distributions.
type Drift struct {
	// PSI is the population stability index, Expected what it is by chance where nothing
	// drifts.
	PSI      float64 `json:"psi"`
	Expected float64 `json:"psiExpected"`
	// JensenShannon divergence is in bits, Wasserstein in the champion's standard deviations.
	JensenShannon float64 `json:"jensenShannonBits"`
	Wasserstein   float64 `json:"wassersteinDeviations"`
	// Champion and Challenger are the scores' quantiles.
	Champion   Quantiles `json:"champion"`
	Challenger Quantiles `json:"challenger"`
}

// Confusion counts pairs of classes: a row is a class of the champion's, a column one of the
// challenger's, of the first row of each request.
type Confusion struct {
	Labels []string  `json:"labels"`
	Counts [][]int64 `json:"counts"`
}

// Segment is a cohort of requests.
type Segment struct {
	Name             string `json:"name"`
	Records          int64  `json:"records"`
	Compared         int64  `json:"compared"`
	Disagree         int64  `json:"disagree"`
	Disagreement     Rate   `json:"disagreement"`
	ChampionErrors   int64  `json:"championFailed"`
	ChallengerErrors int64  `json:"challengerFailed"`
}

// Step is the gates' judgement of all records of one mode and weight, with the evidence of
// those before it.
type Step struct {
	Mode   rollout.Mode `json:"mode"`
	Weight float64      `json:"weightPercent"`
	Gates  []Gate       `json:"gates"`
}

// Gate is what one gate says.
type Gate struct {
	Name    string          `json:"name"`
	Segment string          `json:"segment,omitempty"`
	Verdict rollout.Verdict `json:"verdict"`
	Why     string          `json:"why"`
	// Estimate is of what the gate judges; Low and High are absent where it has no interval.
	Estimate float64  `json:"estimate"`
	Low      *float64 `json:"low,omitempty"`
	High     *float64 `json:"high,omitempty"`
}

// Revision is what was found at one revision of the rollout.
type Revision struct {
	Revision     uint64     `json:"revision"`
	Mode         string     `json:"mode"`
	Weight       float64    `json:"weightPercent"`
	First        *time.Time `json:"first,omitempty"`
	Last         *time.Time `json:"last,omitempty"`
	Records      int64      `json:"records"`
	Compared     int64      `json:"compared"`
	Disagree     int64      `json:"disagree"`
	Disagreement Rate       `json:"disagreement"`
}

// Moment is what was found in a span of time.
type Moment struct {
	Time     time.Time `json:"time"`
	Seconds  int64     `json:"seconds"`
	Records  int64     `json:"records"`
	Compared int64     `json:"compared"`
	Disagree int64     `json:"disagree"`
}

func share(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// clean returns v, or 0 where JSON has no such number.
func clean(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
