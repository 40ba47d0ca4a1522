package report

import (
	"errors"
	"fmt"
	"google.golang.org/protobuf/encoding/protowire"
)

var errUTF8 = errors.New("a string is not UTF-8")

// value is one field on the wire: a number, or bytes.
type value struct {
	number uint64
	bytes  []byte
}

// each calls do for every field. Those of another wire type than a record's come as
// field 0, as unknown ones do.
func each(b []byte, do func(field protowire.Number, v value) error) error {
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v value
		switch typ {
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v.number, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, typ, b)
			field = 0
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := do(field, v); err != nil {
			return fmt.Errorf("field %d: %w", field, err)
		}
		b = b[n:]
	}
	return nil
}

// join adds a piece of a message, which is the concatenation of its pieces. One that
// comes in one piece, as all do, is not copied.
func join(whole, piece []byte) []byte {
	if whole == nil {
		return piece[:len(piece):len(piece)]
	}
	return append(whole, piece...)
}

// span reads a google.protobuf.Timestamp or Duration, which look the same.
func span(b []byte) (seconds, nanos int64, err error) {
	err = each(b, func(field protowire.Number, v value) error {
		switch field {
		case 1:
			seconds = int64(v.number)
		case 2:
			nanos = int64(int32(v.number))
		}
		return nil
	})
	return seconds, nanos, err
}
