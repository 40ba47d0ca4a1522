package admin_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/understudy-serving/understudy/admin"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
	"github.com/understudy-serving/understudy/rollout"
)

// reports answers each report alike, and keeps the last one.
type reports struct {
	result rollout.ReportResult
	err    error
	last   rollout.Report
}

func (r *reports) Report(_ context.Context, last rollout.Report) (rollout.ReportResult, error) {
	r.last = last
	return r.result, r.err
}

const (
	report         = adminv1connect.OutcomeServiceReportOutcomeProcedure
	reportBody     = `{"ticket":"abc","name":"converted","value":1}`
	reporterSecret = "reporter-secret-of-32-characters"
)

func TestReportOutcome(t *testing.T) {
	desk := &reports{}
	w := newWorld(t, admin.Options{Outcomes: desk})
	for _, c := range []struct {
		name   string
		result rollout.ReportResult
		err    error
		status int
		say    string
	}{
		{"accepted", rollout.Accepted, nil, 200, `"OUTCOME_RESULT_ACCEPTED"`},
		{"duplicate", rollout.Duplicate, nil, 200, `"OUTCOME_RESULT_DUPLICATE"`},
		{"expired", rollout.Expired, nil, 200, `"OUTCOME_RESULT_EXPIRED"`},
		{"unmatched", rollout.Unmatched, nil, 200, `"OUTCOME_RESULT_UNMATCHED"`},
		{"malformed", "", fmt.Errorf("%w: value: is NaN", rollout.ErrMalformed), 400, "value: is NaN"},
		{"forged", "", fmt.Errorf("%w: ticket: not ours", rollout.ErrForged), 400, "ticket: not ours"},
		{"unknown", "", fmt.Errorf("%w: name: there are: clicked", rollout.ErrUnknownOutcome), 400, "there are: clicked"},
		{"disk", "", fmt.Errorf("%w: file", rollout.ErrUnavailable), 503, "unavailable"},
	} {
		desk.result, desk.err = c.result, c.err
		if status, body := post(w.Handler(), "127.0.0.1:1", report, reportBody, nil); status != c.status || !strings.Contains(body, c.say) {
			t.Errorf("%s: %d %s; want %d with %s", c.name, status, body, c.status, c.say)
		}
	}
	if want := (rollout.Report{Ticket: "abc", Name: "converted", Value: 1}); desk.last != want {
		t.Errorf("reported %+v, want %+v", desk.last, want)
	}
	post(w.Handler(), "127.0.0.1:1", report, `{"id":"4711","name":"clicked","value":-0.5}`, nil)
	if want := (rollout.Report{ID: "4711", Name: "clicked", Value: -0.5}); desk.last != want {
		t.Errorf("reported %+v, want %+v", desk.last, want)
	}
	if got := w.entries(t); len(got) != 0 {
		t.Errorf("reports are in the audit log: %+v", got)
	}
}

func TestReportOutcomeWithoutADesk(t *testing.T) {
	w := newWorld(t, admin.Options{})
	if status, body := post(w.Handler(), "127.0.0.1:1", report, reportBody, nil); status != 400 || !strings.Contains(body, "failed_precondition") || !strings.Contains(body, "outcomes: {window: 24h}") {
		t.Errorf("%d %s; want FAILED_PRECONDITION that says what to set", status, body)
	}
	if status, _ := post(w.Handler(), "192.0.2.7:1", report, reportBody, nil); status != 403 {
		t.Errorf("from another machine without tokens: %d, want 403", status)
	}
}

// A reporter may report and nothing else.
func TestReporters(t *testing.T) {
	w := newWorld(t, admin.Options{Outcomes: &reports{result: rollout.Accepted},
		Tokens: append([]admin.Token{{Name: "shop", Role: admin.RoleReporter, Secret: reporterSecret}}, tokens...)})
	for _, c := range []struct {
		secret  string
		status  int
		refusal string
	}{
		{"", 401, "no token"},
		{viewerSecret, 403, "role reporter or operator is needed to report outcomes (token eve is a viewer)"},
		{reporterSecret, 200, ""},
		{operatorSecret, 200, ""},
	} {
		var header map[string]string
		if c.secret != "" {
			header = map[string]string{"Authorization": "Bearer " + c.secret}
		}
		if status, body := post(w.Handler(), "192.0.2.7:1", report, reportBody, header); status != c.status || !strings.Contains(body, c.refusal) {
			t.Errorf("%q: %d %s; want %d with %q", c.secret, status, body, c.status, c.refusal)
		}
	}
	if got := w.entries(t); len(got) != 2 || got[0].Event != "report" || got[1].Actor != "eve" {
		t.Errorf("audited refusals: %+v", got)
	}
	shop := map[string]string{"Authorization": "Bearer " + reporterSecret}
	methods := adminv1.File_understudy_admin_v1_admin_proto.Services().ByName("RolloutService").Methods()
	paths := []string{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}
	for i := range methods.Len() {
		paths = append(paths, "/"+adminv1connect.RolloutServiceName+"/"+string(methods.Get(i).Name()))
	}
	for _, path := range paths {
		if status, body := post(w.Handler(), "192.0.2.7:1", path, `{}`, shop); status != 403 || !strings.Contains(body, "token shop is a reporter") {
			t.Errorf("%s: %d %s; want 403", path, status, body)
		}
	}
	if services := adminv1.File_understudy_admin_v1_outcome_proto.Services(); services.Len() != 1 || services.Get(0).Methods().Len() != 1 {
		t.Error("the service of outcomes has a new RPC: who may call it?")
	}
}
