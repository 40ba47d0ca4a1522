package sink

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the sink's collectors. What the ledger, the spool and health know is
// read from them at each scrape, so that it can't differ; the rest is counted here.
type metrics struct {
	cut     prometheus.Counter
	errors  *prometheus.CounterVec
	produce prometheus.Histogram

	eligible, recovered, delivered, dropped, inFlight, spooled *prometheus.Desc
	spooledBytes, oldestAge, kafkaUp, topicUp                  *prometheus.Desc
}

func newMetrics() *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("understudy_"+name, help, labels, nil)
	}
	m := &metrics{
		cut: prometheus.NewCounter(prometheus.CounterOpts{Name: "understudy_records_cut_total",
			Help: "Cuts of records: payloads replaced by digests. One that is cut again, harder, counts again."}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_sink_produce_errors_total",
			Help: "Tries to produce a record that failed, by reason; most are tried again."}, []string{"reason"}),
		produce: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "understudy_sink_produce_seconds",
			Help: "Time from handing a batch of records to the Kafka client to the end of its last record.", Buckets: prometheus.ExponentialBuckets(0.002, 3, 10)}),

		eligible:     desc("records_eligible_total", "Requests accepted in shadow or canary; each is to become one record."),
		recovered:    desc("records_recovered_total", "Records found in the spool at the start."),
		delivered:    desc("records_delivered_total", "Records that Kafka confirmed."),
		dropped:      desc("records_dropped_total", "Records that were given up, by reason.", "reason"),
		inFlight:     desc("records_in_flight", "Requests accepted that are no record yet."),
		spooled:      desc("records_spooled", "Records that wait for Kafka's confirmation."),
		spooledBytes: desc("sink_spooled_bytes", "What the spool holds, bookkeeping included."),
		oldestAge:    desc("sink_oldest_record_age_seconds", "Age of the oldest record in the spool, 0 where it is empty."),
		kafkaUp:      desc("sink_kafka_up", "1 while Kafka takes records."),
		topicUp:      desc("sink_topic_up", "1 while the topic is known to exist."),
	}
	for _, reason := range []string{failUnreachable, failTimeout, failTLS, failUnauthorized, failTopic,
		failLeader, failReplicas, failTooLarge, failRefused, failBroker} {
		m.errors.WithLabelValues(reason)
	}
	return m
}

// register puts everything on r, or nothing.
func (m *metrics) register(r prometheus.Registerer, s *Sink, h *health) error {
	all := []prometheus.Collector{m.cut, m.errors, m.produce, &collector{m, s, h}}
	for i, c := range all {
		if err := r.Register(c); err != nil {
			for _, done := range all[:i] {
				r.Unregister(done)
			}
			return fmt.Errorf("register the sink's metrics: %w", err)
		}
	}
	return nil
}

// collector exports the ledger as one consistent set.
type collector struct {
	*metrics
	sink   *Sink
	health *health
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.eligible, c.recovered, c.delivered, c.dropped, c.inFlight, c.spooled,
		c.spooledBytes, c.oldestAge, c.kafkaUp, c.topicUp} {
		ch <- d
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	counts := c.sink.Snapshot()
	send(c.eligible, prometheus.CounterValue, float64(counts.Eligible))
	send(c.recovered, prometheus.CounterValue, float64(counts.Recovered))
	send(c.delivered, prometheus.CounterValue, float64(counts.Delivered))
	for _, why := range dropReasons {
		send(c.dropped, prometheus.CounterValue, float64(counts.Dropped[why]), string(why))
	}
	send(c.inFlight, prometheus.GaugeValue, float64(counts.InFlight))
	send(c.spooled, prometheus.GaugeValue, float64(counts.Spooled))

	stats := c.sink.spool.Stats()
	send(c.spooledBytes, prometheus.GaugeValue, float64(stats.Bytes))
	age := 0.0
	if !stats.Oldest.IsZero() {
		age = max(0, c.sink.opts.Clock().Sub(stats.Oldest).Seconds())
	}
	send(c.oldestAge, prometheus.GaugeValue, age)
	kafka, topic := c.health.up()
	send(c.kafkaUp, prometheus.GaugeValue, indicator(kafka))
	send(c.topicUp, prometheus.GaugeValue, indicator(topic))
}

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
