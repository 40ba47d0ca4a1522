package rollout

import "testing"

func TestJudge(t *testing.T) {
	blames := map[Blame][]Ending{
		Nobody: {{Code: OK}, {Code: OK, CallerGone: true}},
		OnChallenger: {
			{Code: Unavailable}, {Code: Internal}, {Code: Unknown}, {Code: DataLoss}, {Code: Unimplemented}, {Code: ResourceExhausted},
			{Code: DeadlineExceeded, OwnBudget: true}, {Code: Canceled, OwnBudget: true}, {Code: OK, Malformed: true},
		},
		OnCaller: {
			{Code: Canceled, CallerGone: true}, {Code: DeadlineExceeded, CallerGone: true}, {Code: Unavailable, CallerGone: true},
			{Code: DeadlineExceeded, OwnBudget: true, CallerGone: true}, {Code: OK, Malformed: true, CallerGone: true},
		},
		Undecided: {
			{Code: InvalidArgument}, {Code: NotFound}, {Code: FailedPrecondition}, {Code: PermissionDenied}, {Code: Unauthenticated},
			{Code: AlreadyExists}, {Code: Aborted}, {Code: OutOfRange}, {Code: Canceled}, {Code: DeadlineExceeded}, {Code: 99},
		},
	}
	for want, endings := range blames {
		for _, e := range endings {
			if got := Judge(e); got != want {
				t.Errorf("%+v: blame %d, want %d", e, got, want)
			}
		}
	}
}

func TestSettle(t *testing.T) {
	for _, b := range []Blame{Nobody, OnChallenger, OnCaller} {
		if b.Settle(true) != b || b.Settle(false) != b {
			t.Errorf("blame %d was settled already and changed", b)
		}
	}
	if Undecided.Settle(true) != OnChallenger || Undecided.Settle(false) != OnCaller {
		t.Error("an undecided blame goes by the champion's answer")
	}
}
