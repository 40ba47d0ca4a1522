package outcome

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/rollout"
)

type metrics struct {
	outcomes     *prometheus.CounterVec
	unremembered prometheus.Counter
	disk         prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_outcomes_total",
			Help: "Outcomes that were reported, by what became of the report."}, []string{"model", "outcome", "result"}),
		unremembered: prometheus.NewCounter(prometheus.CounterOpts{Name: "understudy_outcomes_unremembered_total",
			Help: "Requests whose outcomes can't be reported by id, only by ticket: the disk did not keep up, or failed."}),
		disk: prometheus.NewGauge(prometheus.GaugeOpts{Name: "understudy_outcomes_disk_bytes",
			Help: "What outcomes take on disk. The file does not shrink; free pages are used again."}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.outcomes, m.unremembered, m.disk} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// other stands for models and names that are not configured: reporters choose them.
const other = "other"

// count counts a settled report. One that could not be stored comes again, and is counted
// then.
func (d *Desk) count(e *entry) {
	result := string(e.result)
	switch {
	case errors.Is(e.err, rollout.ErrForged):
		result = "forged"
	case errors.Is(e.err, rollout.ErrMalformed):
		result = "malformed"
	case errors.Is(e.err, rollout.ErrUnknownOutcome):
		result = "unknown"
	case e.err != nil:
		return
	}
	model, name := e.ticket.Model, e.name
	horizons := d.opts.Horizons(model)
	if horizons == nil {
		model = other
	}
	if _, known := horizons[name]; !known {
		name = other
	}
	d.metrics.outcomes.WithLabelValues(model, name, result).Inc()
}
