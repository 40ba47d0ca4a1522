package rollout

import (
	"errors"
	"time"
)

// Ticket is what is known of a request when its answer leaves, and what it takes to count,
// hours later, what then came of the prediction.
type Ticket struct {
	// ID is the gateway's, the UUIDv7 of the record.
	ID    [16]byte
	Model string
	// Rollout names the challenger's life that the request belongs to.
	Rollout uint64
	// At is when it was routed, in whole milliseconds.
	At time.Time
	// Arm is the assigned one, at the step that Entered and Index (in the plan, −1 beside it)
	// name and at its Weight.
	Arm     Arm
	Entered uint64
	Index   int
	Weight  Weight
	// Vote says what the outcome counts for.
	Vote Vote
	// Segments are the request's values for Rules.Segments.
	Segments [MaxSegmentSources]string
}

// Vote says what a request's outcome counts for: each routing key has one vote, for one
// user's habits are one habit.
type Vote uint8

// The votes.
const (
	// Fresh is the first request of its key in canary: it counts for a fail.
	Fresh Vote = 1 << iota
	// First is the first request of its key at the step: it counts for a pass.
	First
)

// Reported is an outcome that was reported for a request, once for each name.
type Reported struct {
	Ticket
	// Sequence rises with each report of a model, in steps of any size, and never repeats.
	Sequence uint64
	// Name and Value are the reporter's, such as "converted" and 1. The value is finite.
	Name  string
	Value float64
}

// ReportResult says what became of a report.
type ReportResult string

// The results of a report.
const (
	// Accepted is stored, and counted by the gates in its time.
	Accepted ReportResult = "accepted"
	// Duplicate came before: the first value stands.
	Duplicate ReportResult = "duplicate"
	// Expired came later after its request than the outcome's horizon.
	Expired ReportResult = "expired"
	// Unmatched names an id that is not known here, or no more.
	Unmatched ReportResult = "unmatched"
)

// Report says what came of a prediction, in a client program's words.
type Report struct {
	// Ticket is what came with the answer, or else ID is the gateway's id of the request.
	// Exactly one is set.
	Ticket, ID string
	// Name and Value are those of Reported.
	Name  string
	Value float64
}

// Why a report is refused. Trying again does not help.
var (
	// ErrMalformed says that a field of it can't be right, and which.
	ErrMalformed = errors.New("malformed report")
	// ErrForged says that its ticket was not signed with the key that is used here.
	ErrForged = errors.New("forged ticket")
	// ErrUnknownOutcome says that no gate of the model judges an outcome of that name.
	ErrUnknownOutcome = errors.New("unknown outcome")
)
