package gateway

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/rollout"
)

// metrics are the data plane's collectors. Labels: `model` is a routed model's public
// name or empty, `arm` the arm that answered, `code` a gRPC code's name.
type metrics struct {
	requests  *prometheus.CounterVec   // model, arm, code
	duration  *prometheus.HistogramVec // model, arm
	fallbacks *prometheus.CounterVec   // model, reason
	diverted  *prometheus.CounterVec   // model, reason
	refused   prometheus.Counter
	unrouted  codeCounters
}

func newMetrics(reg prometheus.Registerer, table func() *Table) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_requests_total",
			Help: "ModelInfer requests by the arm that answered and the gRPC code that the client got. An empty model: refused before it was routed."},
			[]string{"model", "arm", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "understudy_request_duration_seconds",
			Help:    "Time from a ModelInfer request's arrival to its answer, fallback included, by the arm that answered.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}},
			[]string{"model", "arm"}),
		fallbacks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_fallbacks_total",
			Help: "Failures of the challenger that the champion's good answer hid from the client, by what the challenger did: a gRPC code, TIMEOUT (its own budget) or MALFORMED. Requests that both arms failed or refused are not among them."},
			[]string{"model", "reason"}),
		diverted: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_diverted_total",
			Help: "Requests assigned to the challenger that the champion served without asking it: cap, short_deadline or breaker_open."},
			[]string{"model", "reason"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "understudy_connections_refused_total",
			Help: "Client connections closed at once because the maximum was reached."}),
	}
	m.unrouted = codeCounters{vec: m.requests, arm: rollout.NoArm}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.fallbacks, m.diverted, m.refused, newInFlightCollector(table)} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("gateway metrics: %w", err)
		}
	}
	return m, nil
}

// routeMetrics holds one model's label children, so that the hot path looks none up.
type routeMetrics struct {
	requests  [rollout.Challenger + 1]codeCounters
	duration  [rollout.Challenger + 1]atomic.Pointer[prometheus.Observer]
	diverted  map[rollout.Reason]prometheus.Counter
	fallbacks *prometheus.CounterVec
	durations *prometheus.HistogramVec
	model     string
}

func (m *metrics) forRoute(model string, canary bool) *routeMetrics {
	out := &routeMetrics{model: model, fallbacks: m.fallbacks, durations: m.duration}
	for arm := range out.requests {
		out.requests[arm] = codeCounters{vec: m.requests, model: model, arm: rollout.Arm(arm)}
	}
	if canary {
		out.diverted = make(map[rollout.Reason]prometheus.Counter, 3)
		for _, why := range []rollout.Reason{rollout.ShortDeadline, rollout.Cap, rollout.BreakerOpen} {
			out.diverted[why] = m.diverted.WithLabelValues(model, string(why))
		}
	}
	return out
}

func (m *routeMetrics) answered(served rollout.Arm, code rollout.Code, took time.Duration) {
	m.requests[served].inc(code)
	if served == rollout.NoArm {
		return
	}
	o := m.duration[served].Load()
	if o == nil {
		child := m.durations.WithLabelValues(m.model, served.String())
		o = &child
		m.duration[served].Store(o)
	}
	(*o).Observe(took.Seconds())
}

// hid counts a failure that no client saw.
func (m *routeMetrics) hid(e rollout.Ending) {
	reason := e.Code.Label()
	switch {
	case e.Malformed:
		reason = "MALFORMED"
	case e.OwnBudget:
		reason = "TIMEOUT"
	}
	m.fallbacks.WithLabelValues(m.model, reason).Inc()
}

// codeCounters are the counters of one model and arm. A child comes into being with its
// first request, so that /metrics is not full of zeros.
type codeCounters struct {
	vec   *prometheus.CounterVec
	model string
	arm   rollout.Arm
	child [otherCode + 1]atomic.Pointer[prometheus.Counter]
}

// otherCode stands for all codes that gRPC does not define.
const otherCode = rollout.Unauthenticated + 1

func (c *codeCounters) inc(code rollout.Code) {
	slot := &c.child[min(code, otherCode)]
	counter := slot.Load()
	if counter == nil {
		child := c.vec.WithLabelValues(c.model, c.arm.String(), code.Label())
		counter = &child
		slot.Store(counter)
	}
	(*counter).Inc()
}

// inFlightCollector reads the counters that the current routes share.
type inFlightCollector struct {
	table func() *Table
	desc  *prometheus.Desc
}

func newInFlightCollector(table func() *Table) *inFlightCollector {
	return &inFlightCollector{table, prometheus.NewDesc("understudy_challenger_in_flight",
		"The challenger's live calls under way.", []string{"model"}, nil)}
}

func (c *inFlightCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c *inFlightCollector) Collect(ch chan<- prometheus.Metric) {
	for model, r := range c.table().routes {
		if r.ChallengerInFlight == nil {
			continue
		}
		m, err := prometheus.NewConstMetric(c.desc, prometheus.GaugeValue, float64(r.ChallengerInFlight.Current()), model)
		if err != nil {
			m = prometheus.NewInvalidMetric(c.desc, err)
		}
		ch <- m
	}
}
