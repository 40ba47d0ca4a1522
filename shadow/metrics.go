package shadow

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/rollout"
)

// Metrics are the collectors that all mirrors of a process share.
type Metrics struct {
	inFlight, bytes                     *prometheus.GaugeVec
	copies, skipped, compared, failures *prometheus.CounterVec
	shed, repeats, unread               *prometheus.CounterVec
}

// NewMetrics registers the mirrors' collectors.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"model"})
		reg.MustRegister(v)
		return v
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"model"}, labels...))
		reg.MustRegister(v)
		return v
	}
	return &Metrics{
		inFlight: gauge("understudy_mirror_in_flight", "Copies on their way to the challenger."),
		bytes:    gauge("understudy_mirror_in_flight_bytes", "Payload bytes held for copies on their way."),
		copies:   counter("understudy_mirrored_total", "Copies that ended, by the challenger's status code.", "code"),
		failures: counter("understudy_mirror_failures_total", "Copies that the challenger failed by its own fault."),
		skipped:  counter("understudy_mirror_skipped_total", "Requests that were not copied, by reason.", "reason"),
		shed:     counter("understudy_mirror_answers_shed_total", "Answers of the challenger to copies that were thrown away, for they did not fit in shadow.maxBytes."),
		repeats:  counter("understudy_mirror_repeats_total", "Requests that the champion was asked a second time, by result: agree, disagree, error, failed, shed.", "result"),
		unread:   counter("understudy_input_unread_total", "Inputs of requests that were to be compared and were not read, by reason: shed, missing, not_numeric, malformed.", "reason"),
		compared: counter("understudy_comparisons_total", "Pairs of predictions compared, by result: agree, disagree, error.", "result"),
	}
}

// modelMetrics are one model's children, resolved once.
type modelMetrics struct {
	all             *Metrics
	model           string
	inFlight, bytes prometheus.Gauge
	shed            prometheus.Counter
}

func (m *Metrics) forModel(model string) modelMetrics {
	return modelMetrics{all: m, model: model, inFlight: m.inFlight.WithLabelValues(model), bytes: m.bytes.WithLabelValues(model),
		shed: m.shed.WithLabelValues(model)}
}

func (m modelMetrics) skipped(why rollout.Reason) {
	m.all.skipped.WithLabelValues(m.model, string(why)).Inc()
}

func (m modelMetrics) ended(o rollout.Outcome) {
	m.all.copies.WithLabelValues(m.model, o.Code.Label()).Inc()
	if o.Blame == rollout.OnChallenger {
		m.all.failures.WithLabelValues(m.model).Inc()
	}
}

func (m modelMetrics) compared(c *rollout.Comparison) {
	m.all.compared.WithLabelValues(m.model, resultOf(c)).Inc()
}

func (m modelMetrics) repeated(result string) { m.all.repeats.WithLabelValues(m.model, result).Inc() }

func (m modelMetrics) unreadable(reason string) { m.all.unread.WithLabelValues(m.model, reason).Inc() }

func resultOf(c *rollout.Comparison) string {
	switch {
	case c.Error != "":
		return "error"
	case c.Agree:
		return "agree"
	}
	return "disagree"
}
