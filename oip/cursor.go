package oip

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/understudy-serving/understudy/rollout"
)

// ErrMalformed is wrapped, with message, field and offset, by every refusal of bytes
// that are not what they should be.
var ErrMalformed = errors.New("malformed message")

// What a cursor can stumble over; the caller adds where.
var (
	errTruncated = errors.New("ends in the middle of a field")
	errOverflow  = errors.New("a varint of more than 64 bits")
	errNumber    = errors.New("a field number outside 1 to 536870911")
	errGroup     = errors.New("a group, which the protocol does not have")
	errWireType  = errors.New("a reserved wire type")
)

// span is a range of offsets in a message, its end excluded.
type span struct{ from, to int }

// cursor reads wire format from a message in chunks; anything may straddle their
// borders.
type cursor struct {
	cur  []byte   // what is left of the chunk being read
	rest [][]byte // the chunks behind it
	off  int      // offset of cur in the message
	end  int      // nothing at or behind this offset is read
}

func newCursor(p *rollout.Payload, within span) cursor {
	c := cursor{rest: p.Chunks(), end: within.to}
	c.skip(within.from)
	return c
}

func (c *cursor) left() int { return c.end - c.off }

// fill makes cur non-empty; the caller knows that something is left.
func (c *cursor) fill() {
	for len(c.cur) == 0 {
		c.cur, c.rest = c.rest[0], c.rest[1:]
	}
}

// skip moves on by n bytes, which the message has.
func (c *cursor) skip(n int) {
	c.off += n
	for n > len(c.cur) {
		n -= len(c.cur)
		c.cur, c.rest = c.rest[0], c.rest[1:]
	}
	c.cur = c.cur[n:]
}

// take returns the next n bytes, which the message has: the chunk's own where they lie
// in one, else a copy.
func (c *cursor) take(n int) []byte {
	if n == 0 {
		return nil
	}
	c.fill()
	if n <= len(c.cur) {
		b := c.cur[:n:n]
		c.cur = c.cur[n:]
		c.off += n
		return b
	}
	b := make([]byte, 0, n)
	for len(b) < n {
		c.fill()
		m := min(n-len(b), len(c.cur))
		b = append(b, c.cur[:m]...)
		c.cur = c.cur[m:]
	}
	c.off += n
	return b
}

func (c *cursor) varint() (uint64, error) {
	if len(c.cur) > 0 && c.cur[0] < 0x80 && c.off < c.end { // nearly all are one byte
		v := c.cur[0]
		c.cur = c.cur[1:]
		c.off++
		return uint64(v), nil
	}
	return c.longVarint()
}

func (c *cursor) longVarint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		if c.off >= c.end {
			return 0, errTruncated
		}
		c.fill()
		b := c.cur[0]
		c.cur = c.cur[1:]
		c.off++
		if shift == 63 && b > 1 {
			return 0, errOverflow
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errOverflow
}

// tag reads a field's number and wire type.
func (c *cursor) tag() (protowire.Number, protowire.Type, error) {
	v, err := c.varint()
	if err != nil {
		return 0, 0, err
	}
	num := v >> 3
	if num < uint64(protowire.MinValidNumber) || num > uint64(protowire.MaxValidNumber) {
		return 0, 0, errNumber
	}
	return protowire.Number(num), protowire.Type(v & 7), nil
}

// length reads the length of a field of wire type bytes, and sees that all of it is
// there.
func (c *cursor) length() (int, error) {
	v, err := c.varint()
	if err != nil {
		return 0, err
	}
	if v > math.MaxInt || int(v) > c.left() {
		return 0, fmt.Errorf("a length of %d where %d bytes are left", v, c.left())
	}
	return int(v), nil
}

// value skips a field's value behind its tag.
func (c *cursor) value(typ protowire.Type) error {
	n := 0
	var err error
	switch typ {
	case protowire.VarintType:
		_, err = c.varint()
		return err
	case protowire.Fixed32Type:
		n = 4
	case protowire.Fixed64Type:
		n = 8
	case protowire.BytesType:
		if n, err = c.length(); err != nil {
			return err
		}
	case protowire.StartGroupType, protowire.EndGroupType:
		return errGroup
	default:
		return errWireType
	}
	if n > c.left() {
		return errTruncated
	}
	c.skip(n)
	return nil
}
