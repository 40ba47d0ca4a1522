package demo

import (
	"context"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
)

// operator looks at the gateway as one from outside: by the admin RPC and /metrics.
type operator struct {
	rollouts adminv1connect.RolloutServiceClient
	http     *http.Client
	base     string
}

// newOperator talks to the admin port at addr.
func newOperator(addr string) *operator {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	base := "http://" + addr
	return &operator{rollouts: adminv1connect.NewRolloutServiceClient(client, base), http: client, base: base}
}

func (o *operator) close() { o.http.CloseIdleConnections() }

// rollout returns the model's rollout.
func (o *operator) rollout(ctx context.Context, name string) (*adminv1.Rollout, error) {
	response, err := o.rollouts.GetRollout(ctx, &adminv1.GetRolloutRequest{Model: name})
	if err != nil {
		return nil, fmt.Errorf("admin RPC GetRollout of %s: %w", name, err)
	}
	return response.GetRollout(), nil
}

// sample is one or more series of a metric added up.
type sample struct {
	// Sum is a counter's or gauge's value, or the sum of a histogram's observations.
	Sum float64
	// Count is the number of a histogram's observations; 0 for other kinds.
	Count uint64
}

// metric reads a metric family at /metrics and adds up its series, those of one model
// if name is not empty. A family that is not there is an error: it would read as zero.
func (o *operator) metric(ctx context.Context, family, name string) (sample, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.base+"/metrics", nil)
	if err != nil {
		return sample{}, err
	}
	response, err := o.http.Do(request)
	if err != nil {
		return sample{}, fmt.Errorf("/metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	if response.StatusCode != http.StatusOK {
		return sample{}, fmt.Errorf("/metrics: %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return sample{}, fmt.Errorf("/metrics: %w", err)
	}
	found, ok := families[family]
	if !ok {
		return sample{}, fmt.Errorf("/metrics: no %s", family)
	}
	return addUp(found, name), nil
}

func addUp(family *dto.MetricFamily, name string) sample {
	var s sample
	for _, m := range family.GetMetric() {
		if name != "" && label(m, "model") != name {
			continue
		}
		s.Sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum() + m.GetSummary().GetSampleSum()
		s.Count += m.GetHistogram().GetSampleCount() + m.GetSummary().GetSampleCount()
	}
	return s
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
