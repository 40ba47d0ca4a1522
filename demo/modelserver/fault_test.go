package modelserver

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestFaults(t *testing.T) {
	s, client := start(t)
	cases := map[string]struct {
		fault Fault
		want  codes.Code
	}{
		"healthy":   {Healthy(), codes.OK},
		"errors":    {Errors(codes.DataLoss), codes.DataLoss},
		"hang":      {Hang(), codes.DeadlineExceeded},
		"slow":      {Slow(time.Minute), codes.DeadlineExceeded},
		"a bit":     {Slow(time.Millisecond), codes.OK},
		"garbage":   {Garbage(), codes.Internal},   // the client's decoder refuses it
		"truncated": {Truncated(), codes.Internal}, // likewise
	}
	for name, c := range cases {
		s.SetFault(c.fault)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if c.want == codes.DeadlineExceeded {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
		}
		if _, err := client.ModelInfer(ctx, raw(heldOut(t, 1))); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		cancel()
	}
}

func TestFaultsLeaveABadRequestAlone(t *testing.T) {
	s, client := start(t)
	s.SetFault(Truncated())
	r := typed(heldOut(t, 1))
	r.Inputs[0].Datatype = "BOOL"
	if _, err := client.ModelInfer(t.Context(), r); status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v, want INVALID_ARGUMENT", err)
	}
}

func TestScriptRunsByCalls(t *testing.T) {
	s, client := start(t)
	s.SetScript(Phase{2, Errors(codes.Internal)}, Phase{1, Errors(codes.Unavailable)}, Phase{0, Errors(codes.Unknown)})
	for i, want := range []codes.Code{codes.Internal, codes.Internal, codes.Unavailable, codes.Unknown, codes.Unknown} {
		if _, err := client.ModelInfer(t.Context(), typed(heldOut(t, 1))); status.Code(err) != want {
			t.Errorf("call %d: %v, want %v", i, err, want)
		}
	}
	s.SetFault(Healthy())
	if _, err := client.ModelInfer(t.Context(), typed(heldOut(t, 1))); err != nil {
		t.Errorf("healthy again: %v", err)
	}
}

func TestCloseEndsHangingCalls(t *testing.T) {
	s, client := start(t)
	s.SetFault(Hang())
	done := make(chan error, 1)
	go func() {
		_, err := client.ModelInfer(context.Background(), typed(heldOut(t, 1)))
		done <- err
	}()
	for s.Counts().Total() == 0 {
		time.Sleep(time.Millisecond)
	}
	s.Close()
	if err := <-done; status.Code(err) != codes.Unavailable {
		t.Errorf("hanging call: %v, want UNAVAILABLE", err)
	}
}

func TestJournalIsBoundedAndCountsOn(t *testing.T) {
	var j journal
	n := 0
	for range keptCalls + 10 {
		n = j.received(t.Context())
	}
	if j.counts.Total() != keptCalls+10 || len(j.calls) > keptCalls {
		t.Errorf("counted %d, kept %d", j.counts.Total(), len(j.calls))
	}
	j.ended(0, codes.OK) // dropped long ago
	j.ended(n, codes.Aborted)
	if last := j.calls[len(j.calls)-1]; last.Code != codes.Aborted || last.Ended.IsZero() {
		t.Errorf("last call %+v", last)
	}
}
