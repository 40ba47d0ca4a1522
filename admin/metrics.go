package admin

import (
	"context"
	"path"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the server's own.
type metrics struct {
	calls   *prometheus.CounterVec
	refused *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_admin_requests_total",
			Help: "Admin RPCs answered, by method and code; those of callers that were not let in are in understudy_admin_refused_total alone."}, []string{"method", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "understudy_admin_refused_total",
			Help: "Callers and changes refused, by code."}, []string{"code"}),
	}
	for _, c := range []prometheus.Collector{m.calls, m.refused} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// interceptor counts RPCs by method and code; both are bounded, for only known methods
// get here.
func (m *metrics) interceptor() connect.Interceptor { return counter{m} }

type counter struct{ m *metrics }

func (c counter) count(procedure string, err error) {
	code := "OK"
	if err != nil {
		code = codeName(connect.CodeOf(err))
	}
	c.m.calls.WithLabelValues(path.Base(procedure), code).Inc()
}

// WrapUnary implements connect.Interceptor.
func (c counter) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, r)
		c.count(r.Spec().Procedure, err)
		return res, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (c counter) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		c.count(conn.Spec().Procedure, err)
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor; there are no clients here.
func (c counter) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
