package demo

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/understudy-serving/understudy/demo/modelserver"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// good is a summary of a run in which everything held.
func good() *Summary {
	users := clientFigures{Requests: 1200, Answered: 1200, ByChallenger: 300, P50: 3 * time.Millisecond, P99: 8 * time.Millisecond}
	return &Summary{
		Requests: 2400, RecordsExpected: 1900, RecordsOnTopic: 1900, Promoted: true, RolledBack: true, RollbackMS: 0.4, rollbacks: 1,
		first: act{model: act1Model, users: users, topic: topicFigures{1100, 1000, 41}, rollout: &adminv1.Rollout{Mode: promoted}},
		second: fall{act: act{model: act2Model, users: users, topic: topicFigures{records: 800}, rollout: &adminv1.Rollout{Mode: rolledBack}},
			decidedAt: time.Now(), failedCalls: 4, hungCalls: 30, slowest: 253 * time.Millisecond},
	}
}

func TestCheckNamesWhatDoesNotHold(t *testing.T) {
	if err := good().Check(); err != nil {
		t.Fatalf("all holds, and Check says %v", err)
	}
	cases := map[string]func(*Summary){
		"no client":                     func(m *Summary) { m.Requests = 0 },
		"client_errors 2":               func(m *Summary) { m.ClientErrors = 2 },
		"records_on_topic 1899":         func(m *Summary) { m.RecordsOnTopic-- },
		"records_on_topic 1901":         func(m *Summary) { m.RecordsOnTopic++ },
		"records_on_topic 0":            func(m *Summary) { m.RecordsOnTopic, m.RecordsExpected = 0, 0 },
		"promoted":                      func(m *Summary) { m.Promoted = false },
		"rolled_back":                   func(m *Summary) { m.RolledBack = false },
		"challenger_calls_after_trip 1": func(m *Summary) { m.ChallengerCallsAfterTrip = 1 },
		"rollback_ms 101":               func(m *Summary) { m.RollbackMS = 101 },
		rollbackMetric + " has 0":       func(m *Summary) { m.rollbacks = 0 },
		"user_errors_during_rollback 3": func(m *Summary) { m.UserErrorsDuringRollback = 3 },
		"10 failures in a row":          func(m *Summary) { m.second.decidedAt = time.Time{} },
		"failed 0 calls":                func(m *Summary) { m.second.failedCalls = 0 },
		"let 0 hang":                    func(m *Summary) { m.second.hungCalls = 0 },
		"a doubt":                       func(m *Summary) { m.doubts = []error{nil, errors.New("a doubt")} },
	}
	for want, spoil := range cases {
		m := good()
		spoil(m)
		if err := m.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestSummaryIsTheContractsObject(t *testing.T) {
	text, err := json.MarshalIndent(good(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "summary.json", string(text)+"\n")
}

func TestTable(t *testing.T) {
	bad := good()
	bad.ClientErrors, bad.ChallengerCallsAfterTrip = 1, 1
	bad.first.users.FirstError = errors.New("gone")
	golden(t, "table.txt", strings.Join(append(good().table(&Screen{}), bad.table(&Screen{})...), "\n")+"\n")
}

func TestReconcile(t *testing.T) {
	end := time.Now()
	in := func(id string, sent, done time.Duration) answer {
		return answer{id: id, sent: end.Add(sent), done: end.Add(done)}
	}
	failed := in("failed", -2*time.Second, -time.Second)
	failed.err = errors.New("x")
	a := act{model: "m", recordedUntil: end, answers: []answer{
		in("before", -2*time.Second, -time.Second),
		in("across, recorded", -time.Second, time.Second),
		in("across, not recorded", -time.Second, time.Second),
		in("at the swap", time.Millisecond, time.Second),
		in("after", time.Second, 2*time.Second),
		failed,
	}}
	m := recordFigures{model: "m"}
	right := func() map[string]recordFigures {
		return map[string]recordFigures{"before": m, "across, recorded": m, "at the swap": m}
	}
	if err := reconcile(right(), a); err != nil {
		t.Errorf("a right topic: %v", err)
	}
	for want, spoil := range map[string]func(map[string]recordFigures){
		"misses 1":               func(r map[string]recordFigures) { delete(r, "before") },
		"misses 1 ":              func(r map[string]recordFigures) { r["before"] = recordFigures{model: "other"} },
		"has 1 of after":         func(r map[string]recordFigures) { r["after"] = m },
		"1 that no client sent":  func(r map[string]recordFigures) { r["foreign"] = m },
		"1 that no client sent ": func(r map[string]recordFigures) { r[""] = m },
	} {
		records := right()
		spoil(records)
		if err := reconcile(records, a); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestFallCounts(t *testing.T) {
	arms, err := startArms("m")
	if err != nil {
		t.Fatal(err)
	}
	defer arms.close()
	broke := time.Now()
	f := fall{brokeAt: broke, act: act{answers: []answer{
		{sent: broke.Add(-2 * time.Second), done: broke.Add(-time.Second), err: errors.New("before")},
		{sent: broke, done: broke.Add(time.Second), err: errors.New("during")},
		{sent: broke, done: broke.Add(3 * time.Second)},
	}}}
	f.count(arms.challenger)
	if f.userErrors != 1 || f.slowest != 3*time.Second || f.failedCalls+f.hungCalls+f.after.Total() != 0 {
		t.Errorf("%+v", f)
	}
}

func TestDecisiveFailureIsTheTenthInARow(t *testing.T) {
	begin := time.Now()
	at := func(i int) time.Time { return begin.Add(time.Duration(i) * time.Second) }
	var calls []modelserver.Call
	end := func(i int, code codes.Code) { calls = append(calls, modelserver.Call{Ended: at(i), Code: code}) }
	calls = append(calls, modelserver.Call{}) // in flight
	for i := range 9 {
		end(i, codes.Internal)
	}
	if got := decisive(calls); !got.IsZero() {
		t.Errorf("nine failures: %v", got)
	}
	end(9, codes.OK)
	for i := 30; i >= 10; i-- { // noted in another order than they ended
		end(i, codes.DeadlineExceeded)
	}
	if got := decisive(calls); got != at(19) {
		t.Errorf("%v after the beginning, want 19s", got.Sub(begin))
	}
}

func TestCountRecordsOfOneModel(t *testing.T) {
	records := map[string]recordFigures{"a": {model: "m", pair: true, disagrees: true}, "b": {model: "m", pair: true}, "c": {model: "m"}, "d": {model: "n", pair: true}}
	if got := countRecords(records, "m"); got != (topicFigures{3, 2, 1}) {
		t.Errorf("%+v", got)
	}
}
