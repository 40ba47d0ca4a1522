package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// Of many operators who saw the same revision one wins; the others are told.
func TestConcurrentOperators(t *testing.T) {
	const operators = 24
	th := open(t, stub(t), nil)
	seen := th.rollout().Revision
	won, stale := 0, 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range operators {
		wg.Go(func() {
			_, err := th.admin.SetMode(context.Background(), &adminv1.SetModeRequest{Model: "risk",
				Mode: adminv1.Mode_MODE_CANARY, WeightPercent: float64(i), ExpectedRevision: seen, Reason: "race"})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case connect.CodeOf(err) == connect.CodeAborted && strings.Contains(err.Error(), "revision 2"):
				stale++
			default:
				t.Errorf("got %v, want ABORTED that names the current revision", err)
			}
		})
	}
	wg.Wait()
	if won != 1 || stale != operators-1 {
		t.Errorf("%d won and %d were stale, want 1 and %d", won, stale, operators-1)
	}
	if got := th.rollout().Revision; got != seen+1 {
		t.Errorf("revision %d, want %d", got, seen+1)
	}
}

// A rollback beats whatever else operators want at the same time.
func TestRollbackBeatsPromote(t *testing.T) {
	th := open(t, stub(t), nil)
	th.canary(10)
	seen := th.rollout().Revision
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, _ = th.admin.Promote(context.Background(), &adminv1.PromoteRequest{Model: "risk", Full: true, ExpectedRevision: seen, Reason: "race"})
		})
	}
	wg.Go(func() {
		if _, err := th.admin.Rollback(context.Background(), &adminv1.RollbackRequest{Model: "risk", Reason: "race"}); err != nil {
			t.Errorf("rollback: %v", err)
		}
	})
	wg.Wait()
	if got := th.rollout().Mode; got != adminv1.Mode_MODE_ROLLED_BACK {
		t.Errorf("mode %s, want rolled back", got)
	}
}

// What happens to a rollout, whoever does it, is in the audit log with its evidence.
func TestAuditTellsTheStory(t *testing.T) {
	th := open(t, stub(t), nil)
	th.mustServe(0, 50)
	th.canary(50)
	faults["errors"](th)
	th.eventually("rollback", func() bool {
		th.mustServe(0, 50)
		return th.rollout().Mode == adminv1.Mode_MODE_ROLLED_BACK
	})
	_, err := th.admin.Pause(context.Background(), &adminv1.PauseRequest{Model: "risk", ExpectedRevision: th.rollout().Revision, Reason: "too late"})
	if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "retry") {
		t.Errorf("pause behind a rollback: %v, want FAILED_PRECONDITION that allows retry", err)
	}
	if err := th.stop(); err != nil {
		t.Fatal(err)
	}
	var story []string
	for _, e := range auditLines(t, th.path("audit.jsonl")) {
		story = append(story, e.Actor+" "+e.Event+" "+e.Outcome)
		if e.Event == "rollback" && (e.Evidence == nil || !strings.Contains(e.Reason, "consecutive failures")) {
			t.Errorf("the rollback's line lacks its evidence: %+v", e)
		}
	}
	want := []string{"local set_mode accepted", "breaker rollback accepted", "local pause refused"}
	if got := strings.Join(story, "\n"); !strings.HasSuffix(got, strings.Join(want, "\n")) {
		t.Errorf("the audit log tells\n%s\nwant at its end\n%s", got, strings.Join(want, "\n"))
	}
}

type auditLine struct {
	Actor, Event, Reason, Outcome string
	Evidence                      json.RawMessage
}

func auditLines(t *testing.T, path string) (out []auditLine) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e auditLine
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		out = append(out, e)
	}
	return out
}

// The ledger adds up while traffic flows and modes change.
func TestLedgerAddsUp(t *testing.T) {
	th := open(t, stub(t), nil)
	th.mustServe(0, 500)
	th.canary(30)
	th.mustServe(500, 500)
	th.eventually("all records are delivered", func() bool { return th.metric("understudy_records_delivered_total") == 1000 })
	sum := th.metric("understudy_records_delivered_total") + th.metric("understudy_records_spooled") +
		th.metric("understudy_records_in_flight") + th.metric("understudy_records_dropped_total")
	if eligible := th.metric("understudy_records_eligible_total"); eligible != 1000 || sum != eligible {
		t.Errorf("eligible %v, accounted for %v, want 1000 of each", eligible, sum)
	}
	if got := len(th.records()); got != 1000 {
		t.Errorf("%d records on the topic, want 1000", got)
	}
}
