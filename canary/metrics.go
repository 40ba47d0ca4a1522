package canary

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/rollout"
)

// conductorMetrics are what the Conductor counts. What can be read off the states at
// any time is collected when asked for; see Collect.
type conductorMetrics struct {
	conductor       *Conductor
	rollbacks       *prometheus.CounterVec
	storeFailures   *prometheus.CounterVec
	rollbackSeconds prometheus.Histogram
	// uncountedOutcomes came for requests that are not known any more.
	uncountedOutcomes *prometheus.CounterVec

	mode, weight, revision, breaker, unfinished, unstored *prometheus.Desc
	verdict, evidence, void, uncounted, inputs            *prometheus.Desc
}

func newConductorMetrics(c *Conductor, reg prometheus.Registerer) *conductorMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"model"}, labels...), nil)
	}
	m := &conductorMetrics{
		conductor: c,
		rollbacks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_rollbacks_total",
			Help: "Rollbacks decided here, by trigger: breaker, gate, max_duration, operator."}, []string{"model", "trigger"}),
		storeFailures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_store_failures_total",
			Help: "Visits to the store that failed, by operation."}, []string{"operation"}),
		rollbackSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "understudy_rollback_seconds",
			Help:    "Time from the breaker's trip to the routes without the challenger.",
			Buckets: []float64{1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1}}),
		uncountedOutcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_outcomes_uncounted_total",
			Help: "Reported outcomes of requests that no gate knows any more: routed in the seconds before a crash, or settled."}, []string{"model"}),
		mode:       desc("understudy_rollout_mode", "1 for the model's mode, 0 for the others.", "mode"),
		weight:     desc("understudy_rollout_weight_ratio", "The challenger's share of live traffic, 0 to 1."),
		revision:   desc("understudy_rollout_revision", "The revision of the model's state."),
		breaker:    desc("understudy_breaker_state", "1 for the state of the challenger's breaker, 0 for the others.", "state"),
		unfinished: desc("understudy_promotion_unfinished", "1 where a promoted challenger is not yet the file's champion."),
		unstored:   desc("understudy_rollout_unstored", "1 where the state is unknown to the store, or the store's unknown here."),
		verdict:    desc("understudy_gate_verdict", "1 for the verdict of a gate on all requests at this step, 0 for the others.", "gate", "verdict"),
		evidence:   desc("understudy_gates_evidence_ratio", "Evidence of all gates against the challenger, over what rolls it back."),
		void:       desc("understudy_split_void", "1 where requests do not fall on the arms as the weight says, so that no verdict counts."),
		uncounted:  desc("understudy_evidence_uncounted_total", "Requests of the current rollout that no gate could count, for too many waited for their judgement."),
		inputs:     desc("understudy_input_shift_psi", "Population stability index of a watched input: the challenger's against the champion's, canary's against shadow's.", "input", "against"),
	}
	if reg != nil {
		reg.MustRegister(m, m.uncountedOutcomes, m.rollbacks, m.storeFailures, m.rollbackSeconds)
	}
	return m
}

// Describe lists the collected metrics.
func (m *conductorMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.mode, m.weight, m.revision, m.breaker, m.unfinished, m.unstored,
		m.verdict, m.evidence, m.void, m.uncounted, m.inputs} {
		ch <- d
	}
}

// Collect reads the models' states.
func (m *conductorMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, one := range m.conductor.all() {
		one.mu.Lock()
		s, breaker := one.live.State, one.breakerState()
		withdrawn := one.withdrawn
		unfinished := s.Unfinished(one.conf.Configured)
		unstored := !one.loaded || one.owed != nil
		j := one.judgement
		one.mu.Unlock()
		if withdrawn || s.Model == "" {
			continue
		}
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{s.Model}, labels...)...)
		}
		for mode := rollout.ModeChampion; mode <= rollout.ModeRolledBack; mode++ {
			gauge(m.mode, truth(s.Mode == mode), mode.String())
		}
		gauge(m.weight, float64(s.Weight)/float64(rollout.FullWeight))
		gauge(m.revision, float64(s.Revision))
		gauge(m.unfinished, truth(unfinished))
		gauge(m.unstored, truth(unstored))
		m.collectJudgement(ch, s, j)
		m.collectInputs(ch, s, j)
		if breaker == "" {
			continue
		}
		for _, state := range []string{BreakerClosed, BreakerOpen, BreakerHalfOpen} {
			gauge(m.breaker, truth(state == breaker), state)
		}
	}
}

// collectJudgement tells what the gates said last of the current step.
func (m *conductorMetrics) collectJudgement(ch chan<- prometheus.Metric, s rollout.State, j rollout.Judgement) {
	if j.Entered != s.Entered || len(j.Gates) == 0 {
		return
	}
	tell := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, append([]string{s.Model}, labels...)...)
	}
	tell(m.evidence, prometheus.GaugeValue, math.Exp(j.LogEvidence)*j.Alpha)
	tell(m.void, prometheus.GaugeValue, truth(j.Split.Void))
	tell(m.uncounted, prometheus.CounterValue, float64(j.Uncounted))
	for _, r := range j.Gates {
		if r.Segment != "" {
			continue
		}
		for _, v := range []rollout.Verdict{rollout.Pass, rollout.Fail, rollout.Inconclusive} {
			tell(m.verdict, prometheus.GaugeValue, truth(r.Verdict == v), r.Gate.Name(), string(v))
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
