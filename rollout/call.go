package rollout

import (
	"fmt"
	"time"
)

// Code is a gRPC status code. It is defined here so that the infer path needs no
// transport's types.
type Code uint32

// The status codes of gRPC.
const (
	OK                 Code = 0
	Canceled           Code = 1
	Unknown            Code = 2
	InvalidArgument    Code = 3
	DeadlineExceeded   Code = 4
	NotFound           Code = 5
	AlreadyExists      Code = 6
	PermissionDenied   Code = 7
	ResourceExhausted  Code = 8
	FailedPrecondition Code = 9
	Aborted            Code = 10
	OutOfRange         Code = 11
	Unimplemented      Code = 12
	Internal           Code = 13
	Unavailable        Code = 14
	DataLoss           Code = 15
	Unauthenticated    Code = 16
)

var codeNames = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
	"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// String returns the code's name as gRPC's documentation writes it, or "CODE_n" for a
// number that gRPC does not know.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("CODE_%d", uint32(c))
}

// Label returns the code's name for a metric: numbers that gRPC does not know are one.
func (c Code) Label() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "OTHER"
}

// Status is how a call ended.
type Status struct {
	Code    Code
	Message string
	// Details is the serialized google.rpc.Status that the server sent along, or nil.
	Details []byte
}

// Metadata is gRPC metadata: lower-case keys, values of `-bin` keys as raw bytes.
type Metadata map[string][]string

// Get returns the first value of key, which must be lower-case.
func (m Metadata) Get(key string) (string, bool) {
	if v := m[key]; len(v) > 0 {
		return v[0], true
	}
	return "", false
}

// Reply is a model server's whole answer to one unary call. The receiver owns Payload,
// which is nil unless Status.Code is OK.
type Reply struct {
	Status  Status
	Payload *Payload
	Header  Metadata
	Trailer Metadata
}

// Reason says, in one word of a bounded set, why something did not happen.
type Reason string

// Why an arm was not called, ...
const (
	NotSampled    Reason = "not_sampled"
	NotCalled     Reason = "not_called" // the other arm served the request, and this one gets no copies
	Shed          Reason = "shed"
	BreakerOpen   Reason = "breaker_open"
	Cap           Reason = "cap"
	ShortDeadline Reason = "short_deadline"
)

// ... why a call gave no response, ...
const (
	Timeout   Reason = "timeout"
	Failed    Reason = "failed"
	Malformed Reason = "malformed"
	Cancelled Reason = "cancelled"
)

// Fallback says that the champion answered after the challenger had failed.
const Fallback Reason = "fallback"

// Call is what one arm said to a request.
type Call struct {
	Spec    Spec
	Status  Status
	Latency time.Duration
	// Response is the answer as the arm sent it; nil where Absent says why.
	Response *Payload
	Absent   Reason
}

// Answered tells whether there is a prediction.
func (c Call) Answered() bool { return c.Absent == "" }
