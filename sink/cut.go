package sink

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

// Bounds on what stands for a payload, and, cut harder, on all the rest of a record:
// together they keep it under minRecordBytes.
const (
	headBytes     = 256
	digestTensors = 32
	digestDims    = 32
	clippedBytes  = 256
	keptOutputs   = 8
)

// digest describes a payload that is left out. It makes do with what is well-formed.
func digest(payload []byte) *recordv1.Digest {
	sum := sha256.Sum256(payload)
	return &recordv1.Digest{
		Bytes:   uint64(len(payload)),
		Sha256:  sum[:],
		Tensors: tensorShapes(payload),
		Head:    bytes.Clone(payload[:min(len(payload), headBytes)]),
	}
}

func setDigest(c *recordv1.Cut, place int, d *recordv1.Digest) {
	switch place {
	case inRequest:
		c.Request = d
	case inChampion:
		c.ChampionResponse = d
	case inChallenger:
		c.ChallengerResponse = d
	}
}

// tensorShapes lists the tensors of a ModelInferRequest or a ModelInferResponse:
// both have them in field 5.
func tensorShapes(payload []byte) []*recordv1.TensorShape {
	var out []*recordv1.TensorShape
	eachBytes(payload, func(field protowire.Number, v []byte) {
		if field == 5 && len(out) < digestTensors {
			out = append(out, tensorShape(v))
		}
	})
	return out
}

func tensorShape(tensor []byte) *recordv1.TensorShape {
	t := &recordv1.TensorShape{}
	eachField(tensor, func(field protowire.Number, typ protowire.Type, v []byte) {
		switch {
		case field == 1 && typ == protowire.BytesType:
			t.Name = clip(valid(string(v)))
		case field == 2 && typ == protowire.BytesType:
			t.Datatype = clip(valid(string(v)))
		case field == 3 && (typ == protowire.BytesType || typ == protowire.VarintType): // packed or not
			for len(v) > 0 && len(t.Shape) < digestDims {
				dim, n := protowire.ConsumeVarint(v)
				if n < 0 {
					return
				}
				t.Shape = append(t.Shape, int64(dim))
				v = v[n:]
			}
		}
	})
	return t
}

// eachField calls do for every field up to the first fault: with the contents of a
// length-delimited one, else with the value as it stands on the wire.
func eachField(b []byte, do func(protowire.Number, protowire.Type, []byte)) {
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(field, typ, b); n < 0 {
			return
		}
		v := b[:n]
		if typ == protowire.BytesType {
			v, _ = protowire.ConsumeBytes(b)
		}
		do(field, typ, v)
		b = b[n:]
	}
}

// eachBytes is eachField for length-delimited fields only.
func eachBytes(b []byte, do func(protowire.Number, []byte)) {
	eachField(b, func(field protowire.Number, typ protowire.Type, v []byte) {
		if typ == protowire.BytesType {
			do(field, v)
		}
	})
}

// recut replaces all payloads of a record by digests. hard cuts what is left as well:
// heads, tensors, long strings and most of the comparison.
func recut(record []byte, hard bool) ([]byte, error) {
	var p recordv1.Prediction
	if err := proto.Unmarshal(record, &p); err != nil {
		return nil, fmt.Errorf("cut a record: %w", err)
	}
	if p.Cut == nil {
		p.Cut = &recordv1.Cut{OriginalBytes: uint64(len(record))}
	}
	for i, payload := range splicedIn(record) {
		if payload != nil {
			setDigest(p.Cut, i, digest(payload))
		}
	}
	p.Request = nil
	for _, arm := range []*recordv1.ArmResult{p.Champion, p.Challenger} {
		if arm != nil {
			arm.Response = nil
		}
	}
	if hard {
		clipAll(&p)
	}
	return proto.Marshal(&p)
}

// splicedIn finds a record's payloads, byte for byte as they were received.
func splicedIn(record []byte) (in [payloads][]byte) {
	response := func(arm []byte) (v []byte) {
		eachBytes(arm, func(field protowire.Number, b []byte) {
			if field == armResponse {
				v = b
			}
		})
		return v
	}
	eachBytes(record, func(field protowire.Number, v []byte) {
		switch field {
		case fieldRequest:
			in[inRequest] = v
		case fieldChampion:
			in[inChampion] = response(v)
		case fieldChallenger:
			in[inChallenger] = response(v)
		}
	})
	return in
}

func clipAll(p *recordv1.Prediction) {
	p.RequestId, p.Model, p.Diverted = clip(p.RequestId), clip(p.Model), clip(p.Diverted)
	for _, arm := range []*recordv1.ArmResult{p.Champion, p.Challenger} {
		if arm != nil {
			arm.Target, arm.Model, arm.Version = clip(arm.Target), clip(arm.Model), clip(arm.Version)
			arm.Message = clip(arm.Message)
		}
	}
	segments := map[string]string{}
	for name, value := range p.Segments { // few, and their values short
		segments[clip(name)] = value
	}
	p.Segments = segments
	for _, d := range []*recordv1.Digest{p.Cut.Request, p.Cut.ChampionResponse, p.Cut.ChallengerResponse} {
		if d != nil {
			d.Head, d.Tensors = nil, nil
		}
	}
	if r := p.Redaction; r != nil { // with the payloads gone, it has nothing to explain
		r.Request, r.ChampionResponse, r.ChallengerResponse = nil, nil, nil
		r.Parameters = nil
	}
	if c := p.Comparison; c != nil {
		c.Error = clip(c.Error)
		c.Outputs = c.Outputs[:min(len(c.Outputs), keptOutputs)]
		for _, o := range c.Outputs {
			o.Output, o.ChampionClass, o.ChallengerClass = clip(o.Output), clip(o.ChampionClass), clip(o.ChallengerClass)
		}
	}
}

// clip shortens s to clippedBytes without breaking a character.
func clip(s string) string {
	if len(s) <= clippedBytes {
		return s
	}
	return strings.ToValidUTF8(s[:clippedBytes], "")
}
