package sink

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the sink's collectors. What the ledger, the spool and health know is
// read from them at each scrape, so that it can't differ; the rest is counted here.
type metrics struct {
	cut     prometheus.Counter
	errors  *prometheus.CounterVec
	produce prometheus.Histogram
	fsync   prometheus.Histogram

	eligible, recovered, delivered, dropped, inFlight, spooled *prometheus.Desc
	spooledBytes, oldestAge, backlog, kafkaUp, topicUp         *prometheus.Desc
	durable, segments, corrupt, abandoned, syncAge, diskFree   *prometheus.Desc
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
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "understudy_sink_spool_fsync_seconds",
			Help: "Time of each fsync of the spool, of files and of its folder.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10)}),

		eligible:     desc("records_eligible_total", "Requests accepted in shadow or canary; each is to become one record."),
		recovered:    desc("records_recovered_total", "Records found in the spool at the start."),
		delivered:    desc("records_delivered_total", "Records that Kafka confirmed."),
		dropped:      desc("records_dropped_total", "Records that were given up, by reason.", "reason"),
		inFlight:     desc("records_in_flight", "Requests accepted that are no record yet."),
		spooled:      desc("records_spooled", "Records that wait for Kafka's confirmation."),
		spooledBytes: desc("sink_spooled_bytes", "What the spool holds, bookkeeping included."),
		oldestAge:    desc("sink_oldest_record_age_seconds", "Age of the oldest record in the spool, 0 where it is empty."),
		backlog:      desc("sink_backlog_seconds", "Time between the oldest and the newest record in the spool."),
		durable:      desc("sink_spool_durable", "1 while records are on disk, 0 while they wait in memory."),
		segments:     desc("sink_spool_segments", "Files of the spool."),
		corrupt:      desc("sink_spool_corrupt_records_total", "Records that the spool's disk has damaged."),
		abandoned:    desc("sink_spool_abandoned_segments_total", "Files of the spool that were given up because a write or an fsync failed."),
		syncAge:      desc("sink_spool_sync_age_seconds", "Time since the last successful round of fsyncs began: what a power loss would cost. 0 without a spool on disk."),
		diskFree:     desc("sink_spool_disk_free_bytes", "What the file system of the spool's folder has free for this process. None without a spool on disk."),
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
	all := []prometheus.Collector{m.cut, m.errors, m.produce, m.fsync, &collector{m, s, h}}
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
		c.spooledBytes, c.oldestAge, c.backlog, c.durable, c.segments, c.corrupt, c.abandoned, c.syncAge, c.diskFree, c.kafkaUp, c.topicUp} {
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

	c.collectSpool(send)
	kafka, topic := c.health.up()
	send(c.kafkaUp, prometheus.GaugeValue, indicator(kafka))
	send(c.topicUp, prometheus.GaugeValue, indicator(topic))
}

func (c *collector) collectSpool(send func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) {
	stats, now := c.sink.spool.Stats(), c.sink.opts.Clock()
	age, backlog, syncAge := 0.0, 0.0, 0.0
	if !stats.Oldest.IsZero() {
		age = max(0, now.Sub(stats.Oldest).Seconds())
		backlog = max(0, time.Unix(0, c.sink.newest.Load()).Sub(stats.Oldest).Seconds())
	}
	if !stats.LastSync.IsZero() {
		syncAge = max(0, now.Sub(stats.LastSync).Seconds())
	}
	send(c.spooledBytes, prometheus.GaugeValue, float64(stats.Bytes))
	send(c.oldestAge, prometheus.GaugeValue, age)
	send(c.backlog, prometheus.GaugeValue, backlog)
	send(c.durable, prometheus.GaugeValue, indicator(durable(c.sink.spool)))
	send(c.segments, prometheus.GaugeValue, float64(stats.Segments))
	send(c.corrupt, prometheus.CounterValue, float64(stats.Corrupt))
	send(c.abandoned, prometheus.CounterValue, float64(stats.Abandoned))
	send(c.syncAge, prometheus.GaugeValue, syncAge)
	if stats.DiskFree >= 0 {
		send(c.diskFree, prometheus.GaugeValue, float64(stats.DiskFree))
	}
}

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
