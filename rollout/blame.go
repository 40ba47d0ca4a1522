package rollout

import "time"

// Blame says whose fault the end of a challenger's call is.
type Blame uint8

const (
	// Nobody is to blame: the call succeeded.
	Nobody Blame = iota
	// OnChallenger counts in breaker and error gate.
	OnChallenger
	// OnCaller counts nowhere: the client went away or sent what no arm takes.
	OnCaller
	// Undecided waits for the champion's answer to the same request; see Settle.
	Undecided
)

// Ending is what is known of a finished call when blame is laid.
type Ending struct {
	Code Code
	// OwnBudget says that the arm's own time was used up while the caller still waited.
	OwnBudget bool
	// CallerGone says that the caller cancelled, or its own deadline passed.
	CallerGone bool
	// Malformed says that the bytes are no well-formed top-level ModelInferResponse.
	Malformed bool
}

// Judge lays the blame for the end of a challenger's call.
func Judge(e Ending) Blame {
	switch {
	case e.CallerGone && (e.Code != OK || e.Malformed):
		return OnCaller
	case e.Malformed, e.OwnBudget:
		return OnChallenger
	}
	switch e.Code {
	case OK:
		return Nobody
	case Unavailable, Internal, Unknown, DataLoss, Unimplemented, ResourceExhausted:
		return OnChallenger
	}
	return Undecided
}

// Absent says in the record's words why a call that ended so gave no response; empty
// where it gave one.
func (e Ending) Absent() Reason {
	switch {
	case e.Malformed:
		return Malformed
	case e.Code == OK:
		return ""
	case e.OwnBudget, e.Code == DeadlineExceeded:
		return Timeout
	case e.Code == Canceled && e.CallerGone:
		return Cancelled
	}
	return Failed
}

// Settle decides an Undecided blame by the champion's answer to the same request:
// where the champion took it, refusing it is the challenger's fault.
func (b Blame) Settle(championAnswered bool) Blame {
	switch {
	case b != Undecided:
		return b
	case championAnswered:
		return OnChallenger
	}
	return OnCaller
}

// Outcome is how one call to one arm ended, or why a request assigned to the
// challenger never reached it.
type Outcome struct {
	// Arm is the arm that the split assigned, except where Mirrored.
	Arm Arm
	// Mirrored marks a copy; its caller is the mirror, not a client. One to the champion asks
	// it a second time, for its own noise.
	Mirrored bool
	// Paired says of a mirrored call that both arms gave a prediction.
	Paired bool
	// Diverted is why the champion served a request assigned to the challenger; empty otherwise.
	Diverted Reason
	Code     Code
	Blame    Blame
	// Latency is 0 where no call was made.
	Latency time.Duration
	// Weight and Entered are those of the moment of routing, of which Stamp keeps the rest.
	Weight  Weight
	Entered uint64
	Stamp   Stamp
	// Age is the time from routing to the client's answer, or of a copy to its end.
	Age time.Duration
	// ID is the gateway's own of the request, and Comparison what its predictions differ in;
	// where Paired only.
	ID         string
	Comparison *Comparison
}
