package sink

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/understudy-serving/understudy/spool"
)

// figures gathers every series of r by name and reason.
func figures(t *testing.T, r prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += "/" + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				out[name] = m.Counter.GetValue()
			case dto.MetricType_GAUGE:
				out[name] = m.Gauge.GetValue()
			case dto.MetricType_HISTOGRAM:
				out[name] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return out
}

func failReasons(t *testing.T, m *metrics) (out []string) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m.errors)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range families[0].Metric {
		out = append(out, series.Label[0].GetValue())
	}
	return out
}

func TestMetricsAreTheLedger(t *testing.T) {
	kafka := cluster(t)
	r := prometheus.NewPedanticRegistry()
	now := time.Now()
	var c tally
	var l logs
	waiting := spool.NewMemory(1 << 20)
	old := exchange(t, &c, id(0))
	found, _ := (&encoder{limit: defaultRecordBytes}).encode(old)
	old.Free()
	if _, _, err := waiting.Append([][]byte{found}, now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	s := open(t, &l, kafka.ListenAddrs(), func(o *Options) {
		o.Registerer, o.Spool, o.Clock = r, waiting, func() time.Time { return now }
	})
	record(t, s, &c, 1, 10)
	eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 10 })
	if err := closeIn(t, s, time.Second); err != nil {
		t.Fatal(err)
	}
	s.Accept()
	s.Record(exchange(t, &c, id(10)))
	s.Accept()
	got := figures(t, r)
	for name, want := range map[string]float64{
		"understudy_records_eligible_total":              11,
		"understudy_records_recovered_total":             1,
		"understudy_records_delivered_total":             10,
		"understudy_records_dropped_total/shutdown":      1,
		"understudy_records_dropped_total/intake_full":   0,
		"understudy_records_dropped_total/spool_full":    0,
		"understudy_records_dropped_total/rejected":      0,
		"understudy_records_dropped_total/corrupt":       0,
		"understudy_records_in_flight":                   1,
		"understudy_records_spooled":                     0,
		"understudy_records_cut_total":                   0,
		"understudy_sink_spooled_bytes":                  0,
		"understudy_sink_oldest_record_age_seconds":      0,
		"understudy_sink_kafka_up":                       1,
		"understudy_sink_topic_up":                       1,
		"understudy_sink_produce_errors_total/too_large": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", name, v, ok, want)
		}
	}
	if got["understudy_sink_produce_seconds"] == 0 {
		t.Error("no produce time")
	}
	if _, err := New(Options{Kafka: KafkaOptions{Brokers: kafka.ListenAddrs(), Topic: topic}, Registerer: r}); err == nil {
		t.Error("a second sink on the same registry")
	}
	c.check(t)
}
