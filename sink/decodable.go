package sink

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// kind is what a decoder checks in a field. It checks a field only where the wire
// type is the declared one; another makes it an unknown field, which is skipped.
type kind uint8

const (
	opaque kind = iota // bytes, or a number: well-formed on the wire is enough
	text
	message
	packedVarints
	packedFixed32
	packedFixed64
)

// shape is a message type as far as decoding can fail in it, by field number.
type shape []check

type check struct {
	kind  kind
	shape shape // of a message
}

// The Open Inference Protocol's messages, see proto/inference.
var (
	parameter = shape{3: {kind: text}}
	entry     = shape{1: {kind: text}, 2: {message, parameter}}
	contents  = shape{1: {kind: packedVarints}, 2: {kind: packedVarints}, 3: {kind: packedVarints}, 4: {kind: packedVarints},
		5: {kind: packedVarints}, 6: {kind: packedFixed32}, 7: {kind: packedFixed64}}
	tensor = shape{1: {kind: text}, 2: {kind: text}, 3: {kind: packedVarints}, 4: {message, entry}, 5: {message, contents}}
	asked  = shape{1: {kind: text}, 2: {message, entry}}

	inferRequest  = shape{1: {kind: text}, 2: {kind: text}, 3: {kind: text}, 4: {message, entry}, 5: {message, tensor}, 6: {message, asked}}
	inferResponse = shape{1: {kind: text}, 2: {kind: text}, 3: {kind: text}, 4: {message, entry}, 5: {message, tensor}}
)

// decodable tells whether every protobuf decoder takes b as a message of the shape s,
// however deep the fault lies. Raw contents are stepped over, not read.
//
// Groups, which the protocol has nowhere, count as faults: decoders differ in how
// deep they follow unknown ones.
func decodable(b []byte, s shape) bool {
	for len(b) > 0 {
		tag, n := varint(b)
		field, typ := protowire.Number(tag>>3), protowire.Type(tag&7)
		if n < 0 || tag>>3 > uint64(protowire.MaxValidNumber) || field < protowire.MinValidNumber {
			return false
		}
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			_, n = varint(b)
		case protowire.Fixed32Type:
			_, n = protowire.ConsumeFixed32(b)
		case protowire.Fixed64Type:
			_, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			size, k := varint(b)
			if k < 0 || size > uint64(len(b)-k) || !s.takes(field, b[k:k+int(size)]) {
				return false
			}
			n = k + int(size)
		default:
			return false
		}
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

func (s shape) takes(field protowire.Number, v []byte) bool {
	if int(field) >= len(s) {
		return true
	}
	switch c := &s[field]; c.kind {
	case text:
		return utf8.Valid(v)
	case message:
		return decodable(v, c.shape)
	case packedVarints:
		return varints(v)
	case packedFixed32:
		return len(v)%4 == 0
	case packedFixed64:
		return len(v)%8 == 0
	}
	return true
}

// varint is protowire.ConsumeVarint, without a call for the short ones that most are.
func varint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}

func varints(v []byte) bool {
	for len(v) > 0 {
		_, n := varint(v)
		if n < 0 {
			return false
		}
		v = v[n:]
	}
	return true
}
