package admin_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"github.com/understudy-serving/understudy/admin"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// wants checks an error's code and words.
func wants(t *testing.T, err error, code connect.Code, words ...string) {
	t.Helper()
	if connect.CodeOf(err) != code || err == nil {
		t.Fatalf("%v; want code %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v; want it to say %q", err, w)
		}
	}
}

func TestEveryChange(t *testing.T) {
	w := newWorld(t, admin.Options{})
	c, ctx := w.direct(), context.Background()
	steps := []struct {
		name string
		call func(revision uint64) (*adminv1.Rollout, error)
		want string // mode weight paused
	}{
		{"set_mode", func(rev uint64) (*adminv1.Rollout, error) {
			r, err := c.SetMode(ctx, &adminv1.SetModeRequest{Model: "fraud", Mode: adminv1.Mode_MODE_CANARY, WeightPercent: 12.34, ExpectedRevision: rev, Reason: "try"})
			return r.GetRollout(), err
		}, "MODE_CANARY 12.34 true"},
		{"resume", func(rev uint64) (*adminv1.Rollout, error) {
			r, err := c.Resume(ctx, &adminv1.ResumeRequest{Model: "fraud", ExpectedRevision: rev, Reason: "go on"})
			return r.GetRollout(), err
		}, "MODE_CANARY 5 false"},
		{"pause", func(rev uint64) (*adminv1.Rollout, error) {
			r, err := c.Pause(ctx, pauseRequest(rev))
			return r.GetRollout(), err
		}, "MODE_CANARY 5 true"},
		{"promote", func(rev uint64) (*adminv1.Rollout, error) {
			r, err := c.Promote(ctx, &adminv1.PromoteRequest{Model: "fraud", Full: true, ExpectedRevision: rev, Reason: "good"})
			return r.GetRollout(), err
		}, "MODE_PROMOTED 100 false"},
		{"rollback", func(uint64) (*adminv1.Rollout, error) {
			r, err := c.Rollback(ctx, &adminv1.RollbackRequest{Model: "fraud", Reason: "bad after all"})
			return r.GetRollout(), err
		}, "MODE_ROLLED_BACK 0 false"},
		{"retry", func(rev uint64) (*adminv1.Rollout, error) {
			r, err := c.Retry(ctx, &adminv1.RetryRequest{Model: "fraud", ExpectedRevision: rev, Reason: "repaired"})
			return r.GetRollout(), err
		}, "MODE_SHADOW 0 false"},
	}
	revision := uint64(3)
	for i, s := range steps {
		got, err := s.call(revision)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if have := fmt.Sprint(got.Mode, " ", got.WeightPercent, " ", got.Paused); have != s.want || got.Revision != revision+1 {
			t.Fatalf("%s: %s at revision %d; want %s at %d", s.name, have, got.Revision, s.want, revision+1)
		}
		e := w.entries(t)[i]
		if e.Event != s.name || e.Before.Revision != revision || e.After.Revision != revision+1 || e.Reason == "" || e.Evidence.Champion.Requests != 42 || len(e.Evidence.Gates) != 1 {
			t.Fatalf("%s: audit entry %+v", s.name, e)
		}
		revision = got.Revision
	}
}

func TestBadArguments(t *testing.T) {
	w := newWorld(t, admin.Options{})
	c, ctx := w.direct(), context.Background()
	setMode := func(m adminv1.Mode, percent float64) error {
		_, err := c.SetMode(ctx, &adminv1.SetModeRequest{Model: "fraud", Mode: m, WeightPercent: percent, ExpectedRevision: 3, Reason: "try"})
		return err
	}
	pause := func(model string, revision uint64, reason string) error {
		_, err := c.Pause(ctx, &adminv1.PauseRequest{Model: model, ExpectedRevision: revision, Reason: reason})
		return err
	}
	_, get := c.GetRollout(ctx, &adminv1.GetRolloutRequest{})
	_, explain := c.Explain(ctx, &adminv1.ExplainRequest{})
	_, back := c.Rollback(ctx, &adminv1.RollbackRequest{Model: "fraud"})
	for want, err := range map[string]error{
		"model: is empty; name one":                       get,
		"model: is empty; name one, as":                   explain,
		"model: is empty":                                 pause("", 3, "x"),
		"reason: is empty; say why":                       pause("fraud", 3, ""),
		"reason: is empty":                                pause("fraud", 3, " \t\n"),
		"reason: has 1025 characters; at most 1024":       pause("fraud", 3, strings.Repeat("ä", 1025)),
		"expected_revision: is missing; send":             pause("fraud", 0, "x"),
		"reason: is empty; say why, for":                  back,
		"weight_percent: weight 101":                      setMode(adminv1.Mode_MODE_CANARY, 101),
		"weight_percent: weight -1":                       setMode(adminv1.Mode_MODE_CANARY, -1),
		"weight_percent: weight 0.001":                    setMode(adminv1.Mode_MODE_CANARY, 0.001),
		"weight_percent: weight NaN":                      setMode(adminv1.Mode_MODE_CANARY, math.NaN()),
		"only MODE_CANARY has a weight":                   setMode(adminv1.Mode_MODE_SHADOW, 5),
		"MODE_CHAMPION; only MODE_CANARY":                 setMode(adminv1.Mode_MODE_CHAMPION, 5),
		"mode: MODE_UNSPECIFIED can't be set; want MODE_": setMode(adminv1.Mode_MODE_UNSPECIFIED, 0),
		"mode: MODE_PROMOTED can't":                       setMode(adminv1.Mode_MODE_PROMOTED, 0),
		"mode: 77 can't":                                  setMode(77, 0),
		"mode: -1 can't":                                  setMode(-1, 0),
	} {
		wants(t, err, connect.CodeInvalidArgument, want)
		if strings.Contains(err.Error(), "bad argument") {
			t.Errorf("%v: the code says that already", err)
		}
	}
	if v, _ := w.rollouts.Get("fraud"); v.Revision != 3 {
		t.Errorf("revision %d: a refused change changed something", v.Revision)
	}
	for _, e := range w.entries(t) {
		if e.Outcome != admin.Refused || e.Code != "INVALID_ARGUMENT" || len([]rune(e.Reason)) > 1024 {
			t.Errorf("audit: %+v", e)
		}
	}
}

func TestAReasonOfFullLengthIsTaken(t *testing.T) {
	w := newWorld(t, admin.Options{})
	reason := strings.Repeat("ä", 1024)
	_, err := w.direct().Pause(context.Background(), &adminv1.PauseRequest{Model: "fraud", ExpectedRevision: 3, Reason: " " + reason + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.entries(t)[0].Reason; got != reason {
		t.Errorf("audit has %d characters", len([]rune(got)))
	}
}

func TestRefusalsSayWhatWouldBeRight(t *testing.T) {
	w := newWorld(t, admin.Options{})
	c, ctx := w.direct(), context.Background()

	_, err := c.GetRollout(ctx, &adminv1.GetRolloutRequest{Model: "frod"})
	wants(t, err, connect.CodeNotFound, `unknown model "frod"`, "fraud, spam")
	_, err = c.Explain(ctx, &adminv1.ExplainRequest{Model: "frod"})
	wants(t, err, connect.CodeNotFound, "fraud, spam")
	_, err = c.Rollback(ctx, &adminv1.RollbackRequest{Model: "frod", Reason: "x"})
	wants(t, err, connect.CodeNotFound, "fraud, spam")

	_, err = c.Pause(ctx, pauseRequest(2))
	wants(t, err, connect.CodeAborted, "at revision 3, not 2")
	if got := meta(err).Get(admin.RevisionHeader); got != "3" {
		t.Errorf("%s: %q, want 3", admin.RevisionHeader, got)
	}
	if e := last(w.entries(t)); e.Code != "ABORTED" || e.Before.Revision != 3 || e.Evidence == nil || e.Model != "fraud" {
		t.Errorf("audit: %+v", e)
	}

	_, err = c.Resume(ctx, &adminv1.ResumeRequest{Model: "fraud", ExpectedRevision: 3, Reason: "x"})
	wants(t, err, connect.CodeFailedPrecondition, "resume in mode shadow", "allowed: set_mode, promote, rollback, pause")
	_, err = c.SetMode(ctx, &adminv1.SetModeRequest{Model: "spam", Mode: adminv1.Mode_MODE_CANARY, WeightPercent: 5, ExpectedRevision: 1, Reason: "x"})
	wants(t, err, connect.CodeFailedPrecondition, "spam has no challenger")
	if e := last(w.entries(t)); e.Asked != "canary 5%" || e.Event != "set_mode" {
		t.Errorf("audit: %+v", e)
	}
}

func TestCodesOfOtherFailures(t *testing.T) {
	w := newWorld(t, admin.Options{})
	for _, c := range []struct {
		err  error
		code connect.Code
	}{
		{fmt.Errorf("%w: disk full", rollout.ErrUnavailable), connect.CodeUnavailable},
		{context.DeadlineExceeded, connect.CodeDeadlineExceeded},
		{context.Canceled, connect.CodeCanceled},
		{errors.New("boom"), connect.CodeInternal},
	} {
		w.rollouts.Fail(c.err)
		_, err := w.direct().Pause(context.Background(), pauseRequest(3))
		wants(t, err, c.code, c.err.Error())
	}
	// A store that knows no more than that it is stale.
	w.rollouts.Fail(fmt.Errorf("compare-and-swap: %w", rollout.ErrStale))
	_, err := w.direct().Pause(context.Background(), pauseRequest(3))
	wants(t, err, connect.CodeAborted, "at revision 3")
	if got := meta(err).Get(admin.RevisionHeader); got != "3" {
		t.Errorf("%s: %q, want 3", admin.RevisionHeader, got)
	}
}

func TestManyModelsAreNotAllNamed(t *testing.T) {
	w := newWorld(t, admin.Options{})
	for i := range 30 {
		v := spam()
		v.Model = fmt.Sprintf("model-%02d", i)
		w.rollouts.Put(v)
	}
	_, err := w.direct().GetRollout(context.Background(), &adminv1.GetRolloutRequest{Model: strings.Repeat("x", 5000)})
	wants(t, err, connect.CodeNotFound, "and 12 more", "…")
	if len(err.Error()) > 600 {
		t.Errorf("%d bytes of error", len(err.Error()))
	}
}

// Of many who saw the same revision one wins, and a rollback needs none.
func TestConcurrentChangesWithOneRevision(t *testing.T) {
	w := newWorld(t, admin.Options{})
	var wg sync.WaitGroup
	codes := make(chan connect.Code, 20)
	for range 20 {
		wg.Go(func() {
			_, err := w.direct().Pause(context.Background(), pauseRequest(3))
			if err == nil {
				codes <- 0
				return
			}
			codes <- connect.CodeOf(err)
		})
	}
	wg.Wait()
	close(codes)
	got := map[connect.Code]int{}
	for c := range codes {
		got[c]++
	}
	if got[0] != 1 || got[connect.CodeAborted] != 19 {
		t.Fatalf("%v; want one accepted and 19 aborted", got)
	}
	if _, err := w.direct().Rollback(context.Background(), &adminv1.RollbackRequest{Model: "fraud", Reason: "enough"}); err != nil {
		t.Fatal(err)
	}
	if n := len(w.entries(t)); n != 21 {
		t.Errorf("%d audit entries, want 21", n)
	}
}

// hangingUp cancels its caller before it applies, as a client that goes away does.
type hangingUp struct {
	admin.Rollouts
	cancel context.CancelFunc
	done   chan error
}

func (h hangingUp) Apply(ctx context.Context, model string, e rollout.Event, expected *uint64) (rollout.View, error) {
	h.cancel()
	v, err := h.Rollouts.Apply(ctx, model, e, expected)
	h.done <- err
	return v, err
}

func TestARollbackOutlivesItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	base := newWorld(t, admin.Options{}).rollouts
	h := hangingUp{base, cancel, make(chan error, 1)}
	w := newWorld(t, admin.Options{Rollouts: h})
	_, _ = w.direct().Rollback(ctx, &adminv1.RollbackRequest{Model: "fraud", Reason: "now"})
	if err := <-h.done; err != nil {
		t.Fatal(err)
	}
	_, _ = w.direct().Retry(ctx, &adminv1.RetryRequest{Model: "fraud", ExpectedRevision: 4, Reason: "again"})
	if v, _ := base.Get("fraud"); v.Mode != rollout.ModeRolledBack {
		t.Errorf("mode %s: a change of a caller that was gone went through", v.Mode)
	}
}

type panicking struct{ admin.Rollouts }

func (panicking) List() []rollout.View { panic("no list") }

func TestAPanicIsAnInternalError(t *testing.T) {
	w := newWorld(t, admin.Options{Rollouts: panicking{}})
	_, err := w.direct().ListRollouts(context.Background(), &adminv1.ListRolloutsRequest{})
	wants(t, err, connect.CodeInternal, "no list")
	if !strings.Contains(w.log.String(), "this is a bug") {
		t.Errorf("log: %s", w.log)
	}
}

func TestARequestIsBounded(t *testing.T) {
	w := newWorld(t, admin.Options{})
	status, body := post(w.Handler(), "127.0.0.1:1", pause, `{"model":"fraud","reason":"`+strings.Repeat("x", 70<<10)+`"}`, nil)
	if status != 429 || !strings.Contains(body, "resource_exhausted") {
		t.Errorf("%d %s", status, body)
	}
	status, body = post(w.Handler(), "127.0.0.1:1", pause, `{"model":"fraud","why":"x"}`, nil)
	if status != 200 && !strings.Contains(body, "invalid_argument") {
		t.Errorf("%d %s", status, body)
	}
}

func meta(err error) interface{ Get(string) string } {
	var e *connect.Error
	if !errors.As(err, &e) {
		return nil
	}
	return e.Meta()
}

func last(entries []admin.Entry) admin.Entry { return entries[len(entries)-1] }
