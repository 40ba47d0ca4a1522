package oip

import (
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of a map entry and of InferParameter.
const (
	entryKey   protowire.Number = 1
	entryValue protowire.Number = 2

	boolParam   protowire.Number = 1
	int64Param  protowire.Number = 2
	stringParam protowire.Number = 3
	doubleParam protowire.Number = 4
	uint64Param protowire.Number = 5
)

// Parameter returns the request's parameter of that name as text: a string as it is, a
// bool as true or false, a number in its shortest decimal form. The last of several
// entries counts, as in protobuf. It is false where the request has none, where the
// parameter has no value, and where the parameters are malformed, which PeekRequest
// does not look at.
func (r Request) Parameter(name string) (string, bool) {
	var found choice
	c := newCursor(r.header.payload, r.header.params)
	for c.left() > 0 {
		num, typ, err := c.tag()
		if err != nil {
			return "", false
		}
		if num != requestSchema.params || typ != protowire.BytesType {
			if c.value(typ) != nil {
				return "", false
			}
			continue
		}
		entry, err := c.message()
		if err != nil {
			return "", false
		}
		value, is, err := entry.parameter(name)
		if err != nil {
			return "", false
		}
		if is {
			found = value
		}
	}
	return found.text()
}

// message returns a cursor on an embedded message, and moves on behind it.
func (c *cursor) message() (cursor, error) {
	n, err := c.length()
	if err != nil {
		return cursor{}, err
	}
	inner := *c
	inner.end = c.off + n
	c.skip(n)
	return inner, nil
}

// parameter reads a map entry, key and value in any order; is tells whether it is the
// one of that name.
func (c *cursor) parameter(name string) (value choice, is bool, err error) {
	is = name == "" // an entry without a key has the empty one
	for c.left() > 0 && err == nil {
		var num protowire.Number
		var typ protowire.Type
		if num, typ, err = c.tag(); err != nil {
			break
		}
		switch {
		case num == entryKey && typ == protowire.BytesType:
			is, err = c.equals(name)
		case num == entryValue && typ == protowire.BytesType:
			var inner cursor
			if inner, err = c.message(); err == nil {
				err = inner.choose(&value)
			}
		default:
			err = c.value(typ)
		}
	}
	return value, is, err
}

// equals reads a string and compares it; one of another length is not even looked at.
func (c *cursor) equals(s string) (bool, error) {
	n, err := c.length()
	if err != nil {
		return false, err
	}
	if n != len(s) {
		c.skip(n)
		return false, nil
	}
	return string(c.take(n)) == s, nil
}

// choice is an InferParameter; the zero field is none of them.
type choice struct {
	field  protowire.Number
	bits   uint64
	string []byte
}

// choose reads an InferParameter. Repeated values of one entry merge, as in protobuf: of
// the choices the last one counts.
func (c *cursor) choose(v *choice) error {
	for c.left() > 0 {
		num, typ, err := c.tag()
		if err != nil {
			return err
		}
		next := choice{field: num}
		switch {
		case (num == boolParam || num == int64Param || num == uint64Param) && typ == protowire.VarintType:
			next.bits, err = c.varint()
		case num == stringParam && typ == protowire.BytesType:
			next.string, err = c.text()
		case num == doubleParam && typ == protowire.Fixed64Type:
			next.bits, err = c.fixed64()
		default:
			next = *v
			err = c.value(typ)
		}
		if err != nil {
			return err
		}
		*v = next
	}
	return nil
}

func (c *cursor) fixed64() (uint64, error) {
	if c.left() < 8 {
		return 0, errTruncated
	}
	v, _ := protowire.ConsumeFixed64(c.take(8))
	return v, nil
}

// text returns the value as text, and whether there is one.
func (v *choice) text() (string, bool) {
	switch v.field {
	case boolParam:
		return strconv.FormatBool(v.bits != 0), true
	case int64Param:
		return strconv.FormatInt(int64(v.bits), 10), true
	case uint64Param:
		return strconv.FormatUint(v.bits, 10), true
	case doubleParam:
		return strconv.FormatFloat(math.Float64frombits(v.bits), 'g', -1, 64), true
	case stringParam:
		return string(v.string), true
	}
	return "", false
}
