package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/understudy-serving/understudy/admin"
	"github.com/understudy-serving/understudy/admin/admintest"
	"github.com/understudy-serving/understudy/rollout"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

// TestMain lets scripts run this binary as the command.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"understudy": main})
}

type leakChecked struct{ *testing.M }

// Run implements testscript.TestingM.
func (l leakChecked) Run() int {
	code := l.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

const operatorSecret = "operator-secret-of-32-characters-"

// Each script has three gateways: ADMIN lets this machine in, GUARDED wants a token, and
// JUDGED has gates.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"code": exitCode, "fill": fillSpool, "damage": damageSpool},
		Setup: func(e *testscript.Env) error {
			open, err := fakeGateway(e.Defer, nil)
			if err != nil {
				return err
			}
			guarded, err := fakeGateway(e.Defer, []admin.Token{
				{Name: "ci", Role: admin.RoleOperator, Secret: operatorSecret},
				{Name: "eve", Role: admin.RoleViewer, Secret: "viewer-secret-of-32-characters-00"},
			})
			if err != nil {
				return err
			}
			judged, err := serveAdmin(e.Defer, admin.Options{Rollouts: admintest.New(func() time.Time { return noon }, judgedViews()...)})
			if err != nil {
				return err
			}
			e.Setenv("JUDGED", judged)
			e.Setenv("ADMIN", open)
			e.Setenv("GUARDED", guarded)
			e.Setenv("UNDERSTUDY_ADMIN", open)
			e.Setenv("TZ", "UTC")
			e.Setenv("GORACE", "atexit_sleep_ms=10") // else the race detector adds a second a command
			return nil
		},
	})
}

// exitCode runs a command that must exit with a code: `code 2 understudy check`.
func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("%v; want exit code %s", err, args[0])
	}
}

// fakeGateway is a real admin server over rollouts that only operators move.
func fakeGateway(atEnd func(func()), tokens []admin.Token) (url string, err error) {
	rollouts := admintest.New(func() time.Time { return noon }, fraud(), ranking(), spam())
	return serveAdmin(atEnd, admin.Options{Rollouts: rollouts, Outcomes: fakeDesk{}, Tokens: tokens, Version: "test"})
}

// fakeDesk takes a ticket for the result that it shall have, and knows no id.
type fakeDesk struct{}

// Report implements admin.Outcomes.
func (fakeDesk) Report(_ context.Context, r rollout.Report) (rollout.ReportResult, error) {
	switch {
	case r.ID != "":
		return rollout.Unmatched, nil
	case r.Ticket == "forged":
		return "", fmt.Errorf("%w: ticket: not of this key", rollout.ErrForged)
	}
	return rollout.ReportResult(r.Ticket), nil
}

func serveAdmin(atEnd func(func()), opts admin.Options) (url string, err error) {
	opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := admin.New(opts)
	if err != nil {
		return "", err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(lis)
	}()
	atEnd(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		<-done
	})
	return "http://" + lis.Addr().String(), nil
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fraud is at 5 % canary, with all there is to show.
func fraud() rollout.View {
	ms := time.Millisecond
	return rollout.View{
		State: rollout.State{Model: "fraud", Revision: 7, Rollout: 5, Entered: 7, Mode: rollout.ModeCanary, Weight: 500, Step: 2,
			Champion:   rollout.Spec{Target: "dns:///fraud-v1:8081", Model: "fraud", Version: "1"},
			Challenger: rollout.Spec{Target: "dns:///fraud-v2:8081", Model: "fraud", Version: "2"},
			Plan: rollout.Plan{
				{Kind: rollout.StepShadow, Bake: time.Hour, MinRequests: 10000},
				{Kind: rollout.StepSetWeight, Weight: 500},
				{Kind: rollout.StepPause, Bake: 30 * time.Minute, MinRequests: 20000},
				{Kind: rollout.StepSetWeight, Weight: 2550},
				{Kind: rollout.StepPause, Manual: true},
			},
			Changes: []rollout.Change{
				{Time: noon.Add(-10 * time.Minute), Revision: 7, Kind: rollout.EventAdvance, Actor: "gateway", Reason: "step is over", Mode: rollout.ModeCanary, Weight: 500},
				{Time: noon.Add(-2 * time.Hour), Revision: 5, Kind: rollout.EventStart, Actor: "config", Reason: "challenger changed\x1b[2J to fraud:2", Mode: rollout.ModeShadow},
			}},
		Progress: rollout.Progress{Entered: 7, Elapsed: 10 * time.Minute, Routed: 8120},
		Figures: rollout.Figures{
			Champion:   rollout.ArmFigures{Requests: 1204512, Failures: 3, Latency: rollout.Quantiles{P50: 1234567, P95: 8 * ms, P99: 12*ms + 345678}},
			Challenger: rollout.ArmFigures{Requests: 640, Failures: 2, Latency: rollout.Quantiles{P50: 980000, P95: 5 * ms, P99: 123*ms + 456789}},
			Mirror: rollout.MirrorFigures{Sent: 11000, Failures: 12, Compared: 10988, Disagreed: 132, Skipped: map[rollout.Reason]int64{rollout.Shed: 31, rollout.BreakerOpen: 2},
				Latency: rollout.Quantiles{P50: 990000, P95: 6 * ms, P99: 1500 * ms}},
			Fallbacks: 2},
		WaitingFor: "20m0s and 11,880 requests", Remaining: 20 * time.Minute, Breaker: "closed",
	}
}

// ranking was rolled back.
func ranking() rollout.View {
	v := fraud()
	v.Model, v.Mode, v.Weight, v.Revision = "ranking", rollout.ModeRolledBack, 0, 9
	v.Changes = []rollout.Change{{Time: noon, Revision: 9, Kind: rollout.EventRollback, Actor: "gateway", Reason: "breaker: 10 failures in a row", Mode: rollout.ModeRolledBack}}
	v.Figures, v.Progress, v.Remaining = rollout.Figures{}, rollout.Progress{}, 0
	v.WaitingFor, v.Breaker = "an operator: retry, or another challenger", "open"
	v.Warnings = []string{"the rollback is not stored yet: disk full"}
	return v
}

// spam has a champion alone.
func spam() rollout.View {
	return rollout.View{State: rollout.State{Model: "spam", Revision: 1, Mode: rollout.ModeChampion,
		Champion: rollout.Spec{Target: "dns:///spam:8081", Model: "spam"}}}
}
