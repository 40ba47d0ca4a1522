package rollout

import "time"

// Exchange is one eligible request with all that became of it. It is handed from the
// gateway to the mirror to the sink; whoever holds it owns it, payloads included.
type Exchange struct {
	// ID is the gateway's own, a UUIDv7 in text form.
	ID string
	// RequestID is the client's `id`.
	RequestID string
	// Key is the routing key: the split's and the sampling's input. Not recorded.
	Key string
	// Metadata is the client's request metadata. Not recorded.
	Metadata Metadata

	Model    string
	Revision uint64
	Entered  uint64
	// Stamp is the evidence's. Not recorded.
	Stamp  Stamp
	Mode   Mode
	Weight Weight
	// Assigned is the split's choice; Served answered the client.
	Assigned, Served Arm
	Diverted         Reason
	ReceivedAt       time.Time
	// Segments are the request's cohorts, one of each source that it has a value for.
	Segments []Segment

	// Request is the client's message, public names and all.
	Request              *Payload
	Champion, Challenger Call
	// Comparison is nil where either prediction is missing.
	Comparison *Comparison
}

// Segment is a request's value of a segment source.
type Segment struct {
	// Parameter says that the source is a request parameter; else it is a header.
	Parameter   bool
	Name, Value string
}

// MaxSegmentValue bounds Segment.Value, in bytes: clients choose it.
const MaxSegmentValue = 64

// Size returns the bytes of payload that the exchange holds in memory.
func (x *Exchange) Size() int64 {
	return int64(x.Request.Len() + x.Champion.Response.Len() + x.Challenger.Response.Len())
}

// Free gives the payloads back. The exchange is not to be used afterwards.
func (x *Exchange) Free() {
	x.Request.Free()
	x.Champion.Response.Free()
	x.Challenger.Response.Free()
	x.Request, x.Champion.Response, x.Challenger.Response = nil, nil, nil
}

// Comparison is what two predictions for the same request differ in.
type Comparison struct {
	// Agree says that every compared output agrees.
	Agree   bool
	Outputs []OutputComparison
	// Error says why nothing could be compared; empty otherwise. Agree is false then.
	Error string
}

// CompareKind is how an output is compared.
type CompareKind string

// The kinds.
const (
	CompareScore  CompareKind = "score"
	CompareClass  CompareKind = "class"
	CompareExact  CompareKind = "exact"
	CompareIgnore CompareKind = "ignore"
)

// CompareRule says how one output is compared.
type CompareRule struct {
	Output string
	Kind   CompareKind
	// ATol and RTol are a score's tolerances: values agree where
	// |challenger − champion| ≤ ATol + RTol·|champion|.
	ATol, RTol float64
}

// Finding is what two outputs differ in.
type Finding string

// The findings; the empty one is none.
const (
	DiffersInValues    Finding = "values"
	DiffersInShape     Finding = "shape"
	DiffersInDatatype  Finding = "datatype"
	MissingOutput      Finding = "missing"    // the challenger has no such output
	UnexpectedOutput   Finding = "unexpected" // the champion has no such output
	MalformedOutput    Finding = "malformed"  // contents do not fit datatype and shape
	UncomparableOutput Finding = "datatype_unsupported"
)

// OutputComparison compares one output tensor.
type OutputComparison struct {
	Output  string
	Kind    CompareKind
	Agree   bool
	Finding Finding
	// Elements were compared (rows, for CompareClass); Differing of them differ.
	Elements, Differing uint64
	// MaxAbsDiff and MeanAbsDiff run over elements where both sides are finite.
	MaxAbsDiff, MeanAbsDiff float64
	// Scores are the first pairs of finite elements, for CompareScore; at most MaxScores.
	// Not recorded.
	Scores []ScorePair
	// NonFinite counts elements where the sides are not equally NaN or infinite.
	NonFinite uint64
	// ChampionClass and ChallengerClass are the first row's labels, for CompareClass.
	ChampionClass, ChallengerClass string
}

// MaxScores bounds OutputComparison.Scores: a batch of thousands must not outvote others.
const MaxScores = 32

// ScorePair is one element of a score output, as both arms have it.
type ScorePair struct{ Champion, Challenger float64 }
