package sink

import (
	"crypto/sha256"
	"slices"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// The fields of the Open Inference Protocol's messages that redaction knows. Others
// do not get into a redacted record: nobody can say what is in them.
const (
	inferParameters protowire.Number = 4
	inferTensors    protowire.Number = 5
	requestAsked    protowire.Number = 6
	requestRaw      protowire.Number = 7
	responseRaw     protowire.Number = 6

	tensorName       protowire.Number = 1
	tensorDatatype   protowire.Number = 2
	tensorDims       protowire.Number = 3
	tensorParameters protowire.Number = 4
	tensorContents   protowire.Number = 5

	askedName       protowire.Number = 1
	askedParameters protowire.Number = 2
	entryKey        protowire.Number = 1
)

// policies are the models' record policies that leave something out, by model.
type policies struct {
	byModel atomic.Pointer[map[string]*rollout.RecordPolicy]
}

// of returns the model's policy; nil where all is recorded.
func (p *policies) of(model string) *rollout.RecordPolicy {
	if p == nil {
		return nil
	}
	all := p.byModel.Load()
	if all == nil {
		return nil
	}
	return (*all)[model]
}

// SetPolicies says what of the payloads is recorded, by model, from the next record
// on. Models that it does not name keep what they had: records of theirs may still be
// on their way.
func (s *Sink) SetPolicies(byModel map[string]rollout.RecordPolicy) {
	next := map[string]*rollout.RecordPolicy{}
	if old := s.policies.byModel.Load(); old != nil {
		for model, policy := range *old {
			next[model] = policy
		}
	}
	for model, policy := range byModel {
		if delete(next, model); !policy.Everything() {
			next[model] = &policy
		}
	}
	if len(next) == 0 {
		s.policies.byModel.Store(nil)
		return
	}
	s.policies.byModel.Store(&next)
}

// sampleSeed makes the sample of records another one than that of copies.
const sampleSeed = 0x7265636f7264 // "record"

// inSample tells whether the record of this id has payloads: always the same for it.
func inSample(id string, share rollout.Weight) bool {
	if share >= rollout.FullWeight {
		return true
	}
	var d xxhash.Digest
	d.ResetWithSeed(sampleSeed)
	_, _ = d.WriteString(id) // a Digest's writes never fail
	return rollout.Weight(d.Sum64()%uint64(rollout.FullWeight)) < share
}

// redacted is an exchange as its record may show it.
type redacted struct {
	exchange rollout.Exchange
	// bad payloads can't be redacted, and only their sizes are told.
	bad   places
	found [payloads]*recordv1.Digest
	note  []byte // the serialized Redaction; nil where nothing was left out
}

// unsampled is the note of a record that lost its payloads, and nothing else.
var unsampled, _ = proto.Marshal(&recordv1.Redaction{Unsampled: true})

// redact applies a policy to x, which stays as it is.
func (r *redacted) redact(policy *rollout.RecordPolicy, x *rollout.Exchange) {
	*r = redacted{exchange: *x}
	y := &r.exchange
	if !inSample(x.ID, policy.Sample) {
		r.note = unsampled
		y.Request, y.Champion.Response, y.Challenger.Response = nil, nil, nil
		r.silence(&rollout.RecordPolicy{Inputs: rollout.Drop, Outputs: rollout.Drop})
	} else if policy.Strict() {
		var note recordv1.Redaction
		w := rewriter{policy: policy, hit: make([]bool, len(policy.RedactParameters))}
		y.Request, note.Request = r.payload(&w, inRequest, y.Request)
		y.Champion.Response, note.ChampionResponse = r.payload(&w, inChampion, y.Champion.Response)
		y.Challenger.Response, note.ChallengerResponse = r.payload(&w, inChallenger, y.Challenger.Response)
		note.Parameters = w.parameters()
		if b, _ := proto.Marshal(&note); len(b) > 0 { // its strings were decodable
			r.note = b
		}
		r.silence(policy)
	}
	y.Segments = slices.DeleteFunc(slices.Clone(x.Segments), func(s rollout.Segment) bool { return s.Parameter && policy.Redacts(s.Name) })
}

// silence takes out what quotes payloads: labels, and the words of model servers.
func (r *redacted) silence(policy *rollout.RecordPolicy) {
	x := &r.exchange
	x.Champion.Status.Message, x.Challenger.Status.Message = "", ""
	x.Comparison = withoutLabels(policy, x.Comparison)
}

// payload returns p rewritten, and the tensors that lost their contents.
func (r *redacted) payload(w *rewriter, place int, p *rollout.Payload) (*rollout.Payload, []*recordv1.RedactedTensor) {
	if p == nil {
		return nil, nil
	}
	as := inferResponse
	if place == inRequest {
		as = inferRequest
	}
	b := p.Bytes()
	if !decodable(b, as) {
		r.bad[place] = true
		r.found[place] = &recordv1.Digest{Bytes: uint64(len(b))}
		return p, nil
	}
	out, tensors := w.rewrite(b, place == inRequest)
	return rollout.NewPayload([][]byte{out}, nil), tensors
}

// withoutLabels returns c without the class labels of outputs that are left out: they
// are such an output's values.
func withoutLabels(policy *rollout.RecordPolicy, c *rollout.Comparison) *rollout.Comparison {
	if c == nil {
		return nil
	}
	if !slices.ContainsFunc(c.Outputs, labelled) {
		return c
	}
	out := *c
	out.Outputs = slices.Clone(c.Outputs)
	for i := range out.Outputs {
		if o := &out.Outputs[i]; policy.Tensor(o.Output, false) != rollout.Include {
			o.ChampionClass, o.ChallengerClass = "", ""
		}
	}
	return &out
}

func labelled(o rollout.OutputComparison) bool {
	return o.ChampionClass != "" || o.ChallengerClass != ""
}

// rewriter writes messages anew without what a policy leaves out.
type rewriter struct {
	policy *rollout.RecordPolicy
	hit    []bool // by the policy's parameters: one was left out for it
}

// parameters lists the policy's parameters that something was left out for.
func (w *rewriter) parameters() (names []string) {
	for i, name := range w.policy.RedactParameters {
		if w.hit[i] {
			names = append(names, name)
		}
	}
	return names
}

// treated is a tensor of a message, and what becomes of it.
type treated struct {
	name string
	as   rollout.Treatment
	// contents are typed, as they stand on the wire.
	contents []byte
}

// rewrite returns a ModelInferRequest or ModelInferResponse, which is decodable,
// without what the policy leaves out.
func (w *rewriter) rewrite(b []byte, request bool) (out []byte, list []*recordv1.RedactedTensor) {
	rawField := responseRaw
	if request {
		rawField = requestRaw
	}
	tensors, raw := w.survey(b, request, rawField)
	// Where raw contents do not match the tensors, no element is known to be harmless.
	aligned := len(raw) == len(tensors)
	keepAll := aligned || w.keepsContents(request)
	for i, t := range tensors {
		if t.as == rollout.Include {
			continue
		}
		keepAll = false
		entry := &recordv1.RedactedTensor{Name: t.name}
		if t.as == rollout.Digest {
			switch {
			case aligned && len(raw[i]) > 0:
				entry.Sha256 = sum(raw[i])
			case len(t.contents) > 0:
				entry.Sha256 = sum(t.contents)
			}
		}
		list = append(list, entry)
	}
	out = make([]byte, 0, len(b))
	tensor, element := 0, 0
	eachBytes(b, func(field protowire.Number, v []byte) {
		switch {
		case field < inferParameters:
			out = appendBytes(out, field, v)
		case field == inferParameters:
			out = w.appendEntry(out, field, v)
		case field == inferTensors:
			out = appendBytes(out, field, w.tensor(v, tensors[tensor].as == rollout.Include))
			tensor++
		case field == rawField:
			if !keepAll && (!aligned || tensors[element].as != rollout.Include) {
				v = nil
			}
			out = appendBytes(out, field, v)
			element++
		case field == requestAsked:
			out = appendBytes(out, field, w.asked(v))
		}
	})
	return out, list
}

// keepsContents tells whether no tensor of any name is left out.
func (w *rewriter) keepsContents(request bool) bool {
	for _, t := range w.policy.Tensors {
		if t.As != rollout.Include {
			return false
		}
	}
	return w.policy.Tensor("", request) == rollout.Include
}

// survey lists a message's tensors, with their treatment, and its raw contents.
func (w *rewriter) survey(b []byte, request bool, rawField protowire.Number) (tensors []treated, raw [][]byte) {
	eachBytes(b, func(field protowire.Number, v []byte) {
		switch field {
		case inferTensors:
			t := treated{}
			eachBytes(v, func(field protowire.Number, v []byte) {
				switch field {
				case tensorName:
					t.name = string(v)
				case tensorContents:
					t.contents = append(t.contents, v...)
				}
			})
			t.as = w.policy.Tensor(t.name, request)
			tensors = append(tensors, t)
		case rawField:
			raw = append(raw, v)
		}
	})
	return tensors, raw
}

// tensor returns a tensor with its contents or without.
func (w *rewriter) tensor(b []byte, contents bool) (out []byte) {
	var name []byte
	eachField(b, func(field protowire.Number, typ protowire.Type, v []byte) {
		switch {
		case field == tensorDims && typ == protowire.VarintType:
			out = append(protowire.AppendTag(out, field, typ), v...)
		case typ != protowire.BytesType:
		case field == tensorName:
			name = v // the last one counts
		case field == tensorDatatype, field == tensorDims, field == tensorContents && contents:
			out = appendBytes(out, field, v)
		case field == tensorParameters:
			out = w.appendEntry(out, field, v)
		}
	})
	if name != nil {
		out = appendBytes(out, tensorName, name)
	}
	return out
}

// asked returns a requested output.
func (w *rewriter) asked(b []byte) (out []byte) {
	eachBytes(b, func(field protowire.Number, v []byte) {
		switch field {
		case askedName:
			out = appendBytes(out, field, v)
		case askedParameters:
			out = w.appendEntry(out, field, v)
		}
	})
	return out
}

// appendEntry appends an entry of a map of parameters, unless it is left out.
func (w *rewriter) appendEntry(out []byte, field protowire.Number, entry []byte) []byte {
	key := ""
	eachBytes(entry, func(field protowire.Number, v []byte) {
		if field == entryKey {
			key = string(v)
		}
	})
	if !w.policy.Redacts(key) {
		return appendBytes(out, field, entry)
	}
	i := slices.Index(w.policy.RedactParameters, key)
	if i < 0 {
		i = slices.Index(w.policy.RedactParameters, "*")
	}
	w.hit[i] = true
	return out
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}
