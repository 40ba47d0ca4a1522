package demo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const exposition = `# TYPE understudy_records_eligible_total counter
understudy_records_eligible_total{model="a"} 3
understudy_records_eligible_total{model="b"} 4
# TYPE understudy_rollback_seconds histogram
understudy_rollback_seconds_bucket{model="a",le="+Inf"} 2
understudy_rollback_seconds_sum{model="a"} 0.5
understudy_rollback_seconds_count{model="a"} 2
`

func TestMetric(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(exposition))
	}))
	defer server.Close()
	o := newOperator(strings.TrimPrefix(server.URL, "http://"))
	defer o.close()
	for _, c := range []struct {
		family, model string
		want          sample
	}{
		{eligibleMetric, "", sample{Sum: 7}},
		{eligibleMetric, "b", sample{Sum: 4}},
		{eligibleMetric, "c", sample{}},
		{rollbackMetric, "a", sample{Sum: 0.5, Count: 2}},
	} {
		if got, err := o.metric(t.Context(), c.family, c.model); err != nil || got != c.want {
			t.Errorf("%s of %q: %+v, %v; want %+v", c.family, c.model, got, err, c.want)
		}
	}
	if _, err := o.metric(t.Context(), "understudy_nothing", ""); err == nil {
		t.Error("a metric that is not there reads as zero")
	}
	o.base += "/elsewhere"
	if _, err := o.metric(t.Context(), eligibleMetric, ""); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v, want the HTTP status", err)
	}
	if _, err := o.rollout(t.Context(), act1Model); err == nil || !strings.Contains(err.Error(), act1Model) {
		t.Errorf("%v, want an error that names the model", err)
	}
}

func TestMetricsOfNobody(t *testing.T) {
	o := newOperator("127.0.0.1:1")
	if _, err := o.metric(t.Context(), eligibleMetric, ""); err == nil {
		t.Error("no error")
	}
}
