package sink

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// The fields of understudy.record.v1.Prediction, ...
const (
	fieldID         protowire.Number = 1
	fieldRequestID  protowire.Number = 2
	fieldModel      protowire.Number = 3
	fieldRevision   protowire.Number = 4
	fieldMode       protowire.Number = 5
	fieldWeight     protowire.Number = 6
	fieldAssigned   protowire.Number = 7
	fieldServed     protowire.Number = 8
	fieldReceivedAt protowire.Number = 9
	fieldSegments   protowire.Number = 10
	fieldRequest    protowire.Number = 11
	fieldChampion   protowire.Number = 12
	fieldChallenger protowire.Number = 13
	fieldComparison protowire.Number = 14
	fieldDiverted   protowire.Number = 15
	fieldCut        protowire.Number = 16
	fieldRedaction  protowire.Number = 17
)

// ... of its ArmResult, ...
const (
	armTarget   protowire.Number = 1
	armModel    protowire.Number = 2
	armVersion  protowire.Number = 3
	armResponse protowire.Number = 4
	armCode     protowire.Number = 5
	armMessage  protowire.Number = 6
	armLatency  protowire.Number = 7
	armAbsent   protowire.Number = 8
)

// ... and the places of the three payloads, in the order of the record.
const (
	inRequest = iota
	inChampion
	inChallenger
	payloads
)

// places is a set of them.
type places [payloads]bool

func (p places) any() bool { return p != places{} }

// encoder makes records of exchanges. It reuses its buffers, so that a record costs no
// allocation, and serves one goroutine.
type encoder struct {
	// limit is the largest record in bytes.
	limit    int
	policies *policies
	redacted redacted
	head     []byte
	arms     [payloads][]byte // what stands beside each payload; nothing for the request
	tail     []byte
	specs    [payloads]wireSpec
	part     []byte
	records  []byte // those since the last reset
}

// The buffer of records: what it begins with, and how large it may stay.
const (
	recordsLeast = 64 << 10
	recordsMost  = 4 << 20
)

// reset says that nobody needs the records any more that encode has returned.
func (e *encoder) reset() {
	if e.records = e.records[:0]; cap(e.records) > recordsMost {
		e.records = nil
	}
}

// room returns an empty slice of capacity n.
func (e *encoder) room(n int) []byte {
	used := len(e.records)
	if n > cap(e.records)-used {
		e.records, used = make([]byte, 0, max(n, recordsLeast, 2*cap(e.records))), 0
	}
	e.records = e.records[:used+n]
	return e.records[used : used : used+n]
}

// encode returns x as a record of at most limit bytes, without what the model's policy
// leaves out, and whether payloads were replaced by digests: those that a consumer could not decode, and the largest ones
// of a record over the limit. x stays the caller's; the record is good until reset.
func (e *encoder) encode(x *rollout.Exchange) (record []byte, cut bool) {
	var bad places
	var found [payloads]*recordv1.Digest
	var note []byte
	if policy := e.policies.of(x.Model); policy != nil {
		r := &e.redacted
		r.redact(policy, x)
		defer func() { *r = redacted{} }() // it holds payloads
		x, bad, found, note = &r.exchange, r.bad, r.found, r.note
	}
	in := [payloads]*rollout.Payload{x.Request, x.Champion.Response, x.Challenger.Response}
	e.head = appendHead(e.head[:0], x)
	e.tail = e.appendTail(e.tail[:0], x)
	if note != nil {
		e.tail = appendBytes(e.tail, fieldRedaction, note)
	}
	for {
		e.arms[inChampion] = e.appendArm(inChampion, &x.Champion, bad[inChampion])
		e.arms[inChallenger] = e.appendArm(inChallenger, &x.Challenger, bad[inChallenger])
		out, digests := e.fit(in, bad, &found)
		var worse places
		if record, worse = e.assemble(in, out, digests); !worse.any() {
			cut = out.any()
			break
		}
		for i := range worse {
			bad[i] = bad[i] || worse[i]
		}
	}
	if len(record) > e.limit {
		if smaller, err := recut(record, true); err == nil {
			return smaller, true
		}
	}
	return record, cut
}

// fit decides which payloads to leave out besides bad ones, the largest first, and
// returns the serialized Cut that stands for them, nil where all stay.
func (e *encoder) fit(in [payloads]*rollout.Payload, bad places, found *[payloads]*recordv1.Digest) (out places, cut []byte) {
	original := e.size(in, places{}, nil)
	out = bad
	for {
		if cut = nil; out.any() {
			cut = appendCut(original, in, out, found)
		}
		if e.size(in, out, cut) <= e.limit {
			return out, cut
		}
		largest := -1
		for i, p := range in {
			if !out[i] && p.Len() > 0 && (largest < 0 || p.Len() > in[largest].Len()) {
				largest = i
			}
		}
		if largest < 0 {
			return out, cut
		}
		out[largest] = true
	}
}

func appendCut(original int, in [payloads]*rollout.Payload, out places, found *[payloads]*recordv1.Digest) []byte {
	cut := &recordv1.Cut{OriginalBytes: uint64(original)}
	for i, p := range in {
		if !out[i] {
			continue
		}
		if found[i] == nil {
			found[i] = digest(p.Bytes())
		}
		setDigest(cut, i, found[i])
	}
	// Strings are made valid before they get into a digest: nothing is left to fail.
	b, _ := proto.Marshal(cut)
	return b
}

// size returns the length of the record without the payloads in out, with cut.
func (e *encoder) size(in [payloads]*rollout.Payload, out places, cut []byte) int {
	n := len(e.head) + len(e.tail)
	if in[inRequest] != nil && !out[inRequest] {
		n += protowire.SizeTag(fieldRequest) + protowire.SizeBytes(in[inRequest].Len())
	}
	for i, field := range armFields {
		if field != 0 {
			n += protowire.SizeTag(field) + protowire.SizeBytes(e.armSize(i, in[i], out[i]))
		}
	}
	if cut != nil {
		n += protowire.SizeTag(fieldCut) + protowire.SizeBytes(len(cut))
	}
	return n
}

var armFields = [payloads]protowire.Number{inChampion: fieldChampion, inChallenger: fieldChallenger}

func (e *encoder) armSize(i int, response *rollout.Payload, out bool) int {
	n := len(e.arms[i])
	if response != nil && !out {
		n += protowire.SizeTag(armResponse) + protowire.SizeBytes(response.Len())
	}
	return n
}

// assemble writes the record without the payloads in out, and tells which of the
// others no consumer could decode; the record is void then.
func (e *encoder) assemble(in [payloads]*rollout.Payload, out places, cut []byte) (record []byte, bad places) {
	b := e.room(e.size(in, out, cut))
	b = append(b, e.head...)
	if in[inRequest] != nil && !out[inRequest] {
		b, bad[inRequest] = splice(b, fieldRequest, in[inRequest], inferRequest)
	}
	for i, field := range armFields {
		if field == 0 {
			continue
		}
		b = protowire.AppendTag(b, field, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(e.armSize(i, in[i], out[i])))
		b = append(b, e.arms[i]...)
		if in[i] != nil && !out[i] {
			b, bad[i] = splice(b, armResponse, in[i], inferResponse)
		}
	}
	b = append(b, e.tail...)
	if cut != nil {
		b = protowire.AppendTag(b, fieldCut, protowire.BytesType)
		b = protowire.AppendBytes(b, cut)
	}
	return b, bad
}

// splice appends p as it was received. It is checked where it then stands in one
// piece, for as received it may lie in many.
func splice(b []byte, field protowire.Number, p *rollout.Payload, as shape) (_ []byte, bad bool) {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(p.Len()))
	start := len(b)
	b = p.AppendTo(b)
	return b, !decodable(b[start:], as)
}

func appendHead(b []byte, x *rollout.Exchange) []byte {
	b = appendString(b, fieldID, x.ID)
	b = appendString(b, fieldRequestID, x.RequestID)
	b = appendString(b, fieldModel, x.Model)
	b = appendUint(b, fieldRevision, x.Revision)
	b = appendUint(b, fieldMode, uint64(x.Mode)) // the record's numbers are the domain's
	b = appendUint(b, fieldWeight, uint64(x.Weight))
	b = appendUint(b, fieldAssigned, uint64(x.Assigned))
	b = appendUint(b, fieldServed, uint64(x.Served))
	if !x.ReceivedAt.IsZero() {
		b = appendSeconds(b, fieldReceivedAt, x.ReceivedAt.Unix(), x.ReceivedAt.Nanosecond())
	}
	for _, s := range x.Segments {
		name, value := valid(s.Name), valid(s.Value)
		b = protowire.AppendTag(b, fieldSegments, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(2+protowire.SizeBytes(len(name))+protowire.SizeBytes(len(value))))
		b = appendEntry(b, name, value)
	}
	return b
}

// appendEntry appends an entry of a map of strings; both are there, be they empty.
func appendEntry(b []byte, key, value string) []byte {
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), key)
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), value)
}

// wireSpec is a spec as records have it: most have the one of the record before.
type wireSpec struct {
	of    rollout.Spec
	bytes []byte
}

func (w *wireSpec) encode(spec rollout.Spec) []byte {
	if w.of != spec {
		b := appendString(w.bytes[:0], armTarget, spec.Target)
		b = appendString(b, armModel, spec.Model)
		w.of, w.bytes = spec, appendString(b, armVersion, spec.Version)
	}
	return w.bytes
}

// appendArm writes all of an arm's result but its response, whose absence it explains
// where the bytes were no response.
func (e *encoder) appendArm(place int, c *rollout.Call, bad bool) []byte {
	b := append(e.arms[place][:0], e.specs[place].encode(c.Spec)...)
	b = appendUint(b, armCode, uint64(c.Status.Code))
	b = appendString(b, armMessage, c.Status.Message)
	if c.Latency != 0 {
		b = appendSeconds(b, armLatency, int64(c.Latency/time.Second), int(c.Latency%time.Second))
	}
	absent := c.Absent
	if bad {
		absent = rollout.Malformed
	}
	return appendString(b, armAbsent, string(absent))
}

func (e *encoder) appendTail(b []byte, x *rollout.Exchange) []byte {
	if c := x.Comparison; c != nil {
		inner := appendBool(e.part[:0], 1, c.Agree)
		for i := range c.Outputs {
			inner = appendOutput(inner, &c.Outputs[i])
		}
		inner = appendString(inner, 3, c.Error)
		e.part = inner
		b = protowire.AppendTag(b, fieldComparison, protowire.BytesType)
		b = protowire.AppendBytes(b, inner)
	}
	return appendString(b, fieldDiverted, string(x.Diverted))
}

// appendOutput appends o as a field 2 of a Comparison. The length in front of it is
// patched in behind: it takes one byte mostly, and a shift where it takes more.
func appendOutput(b []byte, o *rollout.OutputComparison) []byte {
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	at := len(b)
	b = appendString(append(b, 0), 1, o.Output)
	b = appendString(b, 2, string(o.Kind))
	b = appendBool(b, 3, o.Agree)
	b = appendString(b, 4, string(o.Finding))
	b = appendUint(b, 5, o.Elements)
	b = appendUint(b, 6, o.Differing)
	b = appendDouble(b, 7, o.MaxAbsDiff)
	b = appendDouble(b, 8, o.MeanAbsDiff)
	b = appendUint(b, 9, o.NonFinite)
	b = appendString(b, 10, o.ChampionClass)
	b = appendString(b, 11, o.ChallengerClass)
	n := len(b) - at - 1
	if extra := protowire.SizeVarint(uint64(n)) - 1; extra > 0 {
		b = append(b, make([]byte, extra)...)
		copy(b[at+1+extra:], b[at+1:at+1+n])
	}
	protowire.AppendVarint(b[:at], uint64(n))
	return b
}
