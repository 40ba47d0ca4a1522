package app

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
	"github.com/understudy-serving/understudy/rollout"
)

// reporter is a client of a's admin port.
func reporter(t *testing.T, a *App) adminv1connect.OutcomeServiceClient {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return adminv1connect.NewOutcomeServiceClient(&http.Client{Transport: transport}, "http://"+a.AdminAddr().String())
}

// Reports reach the desk by the admin port, count once, and are there after a restart.
func TestOutcomes(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	cfg := parse(t, state, "127.0.0.1:1", fmt.Sprintf("outcomes: {dir: %q}", dir))
	cfg.Models[0].Rules.Gates = []rollout.Gate{{Metric: rollout.ReportedOutcome, Outcome: "converted", Horizon: time.Hour}}
	ticket := ""
	for _, want := range []adminv1.OutcomeResult{adminv1.OutcomeResult_OUTCOME_RESULT_ACCEPTED, adminv1.OutcomeResult_OUTCOME_RESULT_DUPLICATE} {
		t.Run(want.String(), func(t *testing.T) {
			a := run(t, cfg)
			if ticket == "" {
				ticket = a.outcomes.Issue(rollout.Ticket{ID: uuid.Must(uuid.NewV7()), Model: "risk", At: time.Now()})
			}
			got, err := reporter(t, a).ReportOutcome(t.Context(), &adminv1.ReportOutcomeRequest{
				Request: &adminv1.ReportOutcomeRequest_Ticket{Ticket: ticket}, Name: "converted", Value: 1})
			if err != nil || got.Result != want {
				t.Errorf("%v, %v; want %s", got, err, want)
			}
			if found, err := a.outcomes.After("risk", 0, 10); err != nil || len(found) != 1 {
				t.Errorf("%+v, %v", found, err)
			}
		})
	}
}

func TestWithoutOutcomes(t *testing.T) {
	a := run(t, parse(t, t.TempDir(), "127.0.0.1:1", ""))
	_, err := reporter(t, a).ReportOutcome(t.Context(), &adminv1.ReportOutcomeRequest{})
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("%v; want FAILED_PRECONDITION", err)
	}
}

// A reload tells the desk which outcomes are judged now.
func TestOutcomesFollowReloads(t *testing.T) {
	dir := t.TempDir()
	extra := fmt.Sprintf("outcomes: {dir: %q}", t.TempDir())
	a := run(t, parse(t, dir, "127.0.0.1:1", extra))
	cfg := parse(t, dir, "127.0.0.1:1", extra)
	cfg.Models[0].Rules.Gates = []rollout.Gate{{Metric: rollout.ReportedOutcome, Outcome: "clicked", Horizon: time.Hour}}
	request := &adminv1.ReportOutcomeRequest{Name: "clicked", Request: &adminv1.ReportOutcomeRequest_Ticket{
		Ticket: a.outcomes.Issue(rollout.Ticket{ID: uuid.Must(uuid.NewV7()), Model: "risk", At: time.Now()})}}
	if _, err := reporter(t, a).ReportOutcome(t.Context(), request); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("before: %v; want INVALID_ARGUMENT", err)
	}
	if err := a.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if got, err := reporter(t, a).ReportOutcome(t.Context(), request); err != nil || got.Result != adminv1.OutcomeResult_OUTCOME_RESULT_ACCEPTED {
		t.Errorf("after: %v, %v", got, err)
	}
}
