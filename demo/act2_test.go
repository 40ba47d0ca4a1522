package demo

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/understudy-serving/understudy/demo/modelserver"
)

func TestFallCounts(t *testing.T) {
	arms, err := startArms("m")
	if err != nil {
		t.Fatal(err)
	}
	defer arms.close()
	broke := time.Now()
	f := fall{brokeAt: broke, trippedAt: broke.Add(2 * time.Second), act: act{answers: []answer{
		{sent: broke.Add(-2 * time.Second), done: broke.Add(-time.Second), err: errors.New("before")},
		{sent: broke, done: broke.Add(time.Second), err: errors.New("during")},
		{sent: broke, done: broke.Add(3 * time.Second)},
	}}}
	f.count(arms.challenger)
	if f.grace != time.Second { // the answer of before the fault
		t.Errorf("grace %v", f.grace)
	}
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
