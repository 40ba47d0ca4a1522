package oip

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/understudy-serving/understudy/rollout"
)

// ErrDatatype is wrapped where a tensor's datatype is none that the protocol defines, so
// that nothing can be said of its contents.
var ErrDatatype = errors.New("unknown datatype")

// Tensor is a view on one input or output. It refers to the payload's bytes and is valid
// as long as the payload is; it may be read by several goroutines.
type Tensor struct {
	Name, Datatype string
	// Shape is as the sender wrote it; an empty one is a scalar's, with one element.
	Shape []int64

	typ      Datatype
	elements int
	err      error
	// data are the elements one after another: little-endian and BYTES behind four-byte
	// lengths, as in raw contents, or where varints is set, as varints.
	data    []byte
	varints bool
}

// Type returns the parsed Datatype, 0 for an unknown one.
func (t *Tensor) Type() Datatype { return t.typ }

// Len returns the number of elements: the product of the shape, or 0 where Err is not
// nil.
func (t *Tensor) Len() int { return t.elements }

// Err says why the contents can't be read: they do not fit datatype and shape
// (ErrMalformed), or the datatype is unknown (ErrDatatype).
func (t *Tensor) Err() error { return t.err }

// Elements returns a reader at the first element; there is none where Err is not nil.
func (t *Tensor) Elements() Elements {
	return Elements{typ: t.typ, varints: t.varints, data: t.data}
}

// Views take more memory than the few bytes in which a hostile sender can write a tensor
// or a dimension, so that there is a limit to both.
const (
	maxTensors = 1 << 14
	maxDims    = 1 << 8
)

// What there is room for from the start.
const (
	usualTensors = 2
	usualDims    = 4
)

// layout says where a message keeps its tensors.
type layout struct {
	message, tensor string
	tensors, raw    protowire.Number
}

var (
	inputLayout  = layout{message: "ModelInferRequest", tensor: "input", tensors: 5, raw: 7}
	outputLayout = layout{message: "ModelInferResponse", tensor: "output", tensors: 5, raw: 6}
)

// Inputs returns the input tensors of a ModelInferRequest; see Outputs.
func Inputs(p *rollout.Payload) ([]Tensor, error) { return inputLayout.read(nil, p) }

// Outputs returns the output tensors of a ModelInferResponse, in its order, raw and typed
// contents alike. Where the message can't be read, there are none, and the error wraps
// ErrMalformed. Where only some tensors' contents can't, all tensors are returned along
// with the first such error, and each has its own in Err.
func Outputs(p *rollout.Payload) ([]Tensor, error) { return outputLayout.read(nil, p) }

// ReadOutputs is Outputs in the memory of tensors, as far as it has room; what is in it is
// overwritten.
func ReadOutputs(tensors []Tensor, p *rollout.Payload) ([]Tensor, error) {
	return outputLayout.read(tensors[:0], p)
}

func (l *layout) read(tensors []Tensor, p *rollout.Payload) ([]Tensor, error) {
	// Models have a few, whose contents need no memory of their own then.
	var room [2][usualTensors][]byte
	contents, raw := room[0][:0], room[1][:0]
	err := eachField(p.Bytes(), func(f field) error {
		switch {
		case f.typ != protowire.BytesType || f.num != l.tensors && f.num != l.raw:
			return nil
		case len(tensors) == maxTensors || len(raw) == maxTensors:
			return fmt.Errorf("more than %d tensors", maxTensors)
		case f.num == l.raw:
			raw = append(raw, f.bytes)
			return nil
		}
		t, c, err := readTensor(f.bytes)
		if err != nil {
			return fmt.Errorf("%s %d: %w", l.tensor, len(tensors), err)
		}
		tensors, contents = append(tensors, t), append(contents, c)
		return nil
	})
	if err == nil && len(raw) > 0 && len(raw) != len(tensors) {
		err = fmt.Errorf("%d raw contents for %d tensors", len(raw), len(tensors))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, l.message, err)
	}
	var first error
	for i := range tensors {
		t := &tensors[i]
		if len(raw) > 0 {
			err = t.fitRaw(raw[i], contents[i])
		} else {
			err = t.fitTyped(contents[i])
		}
		if err != nil {
			t.spoil(l, err)
		}
		if first == nil {
			first = t.err
		}
	}
	return tensors, first
}

// spoil leaves a tensor without elements.
func (t *Tensor) spoil(l *layout, err error) {
	t.elements, t.data, t.varints = 0, nil, false
	kind := ErrMalformed
	if t.typ == 0 {
		kind = ErrDatatype
	}
	t.err = fmt.Errorf("%w: %s: %s %q: %w", kind, l.message, l.tensor, t.Name, err)
}

// readTensor reads all but the contents, which it returns as they are, encoded. Where a
// message has its contents in several pieces, they merge by standing one after another.
func readTensor(b []byte) (t Tensor, contents []byte, err error) {
	err = eachField(b, func(f field) error {
		switch {
		case f.num == 1 && f.typ == protowire.BytesType:
			t.Name, err = f.text()
		case f.num == 2 && f.typ == protowire.BytesType:
			t.Datatype, t.typ, err = f.datatype()
		case f.num == 3 && f.typ == protowire.VarintType:
			t.Shape, err = appendDim(t.Shape, f.varint)
		case f.num == 3 && f.typ == protowire.BytesType:
			t.Shape, err = appendShape(t.Shape, f.bytes)
		case f.num == 5 && f.typ == protowire.BytesType:
			// The first piece is not copied; its capacity ends where it does.
			if contents == nil {
				contents = f.bytes
			} else {
				contents = append(contents, f.bytes...)
			}
		}
		return err
	})
	return t, contents, err
}

func appendShape(shape []int64, packed []byte) ([]int64, error) {
	for len(packed) > 0 {
		v, n := protowire.ConsumeVarint(packed)
		if n < 0 {
			return nil, fmt.Errorf("shape: %w", protowire.ParseError(n))
		}
		var err error
		if shape, err = appendDim(shape, v); err != nil {
			return nil, err
		}
		packed = packed[n:]
	}
	return shape, nil
}

func appendDim(shape []int64, v uint64) ([]int64, error) {
	if shape == nil {
		shape = make([]int64, 0, usualDims)
	}
	if len(shape) == maxDims {
		return nil, fmt.Errorf("shape: more than %d dimensions", maxDims)
	}
	return append(shape, int64(v)), nil
}

// count returns the product of a shape.
func count(shape []int64) (int, error) {
	total, overflow, empty := uint64(1), false, false
	for i, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v: dimension %d is negative", brief(shape), i)
		}
		hi, lo := bits.Mul64(total, uint64(d))
		overflow = overflow || hi != 0 || lo > math.MaxInt
		empty = empty || d == 0
		total = lo
	}
	switch {
	case empty:
		return 0, nil
	case overflow:
		return 0, fmt.Errorf("shape %v: more elements than can be counted", brief(shape))
	}
	return int(total), nil
}

// brief cuts a shape to what an error message should quote.
func brief(shape []int64) []int64 { return shape[:min(len(shape), 16)] }

// field is one field of a contiguous message: its value is in varint or in bytes, after
// its wire type. Those of four and eight bytes are in bytes, too.
type field struct {
	num    protowire.Number
	typ    protowire.Type
	varint uint64
	bytes  []byte
}

func (f field) text() (string, error) {
	if !utf8.Valid(f.bytes) {
		return "", fmt.Errorf("field %d: %w", f.num, errUTF8)
	}
	return string(f.bytes), nil
}

// datatype reads a datatype's name. Those that are known are not copied.
func (f field) datatype() (string, Datatype, error) {
	if d, ok := ParseDatatype(string(f.bytes)); ok {
		return d.String(), d, nil
	}
	name, err := f.text()
	return name, 0, err
}

// eachField calls do for each field of a message, until one fails.
func eachField(b []byte, do func(field) error) error {
	size := len(b)
	for len(b) > 0 {
		f, n, err := consume(b)
		if err == nil {
			err = do(f)
		}
		if err != nil {
			return fmt.Errorf("byte %d: %w", size-len(b), err)
		}
		b = b[n:]
	}
	return nil
}

// consume reads the first field of b and returns its length.
func consume(b []byte) (f field, n int, err error) {
	num, typ, tag := protowire.ConsumeTag(b)
	if tag < 0 {
		return f, 0, protowire.ParseError(tag)
	}
	if num > protowire.MaxValidNumber {
		return f, 0, errNumber
	}
	f = field{num: num, typ: typ}
	rest := b[tag:]
	switch typ {
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(rest)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(rest)
	case protowire.Fixed32Type, protowire.Fixed64Type:
		if n = protowire.ConsumeFieldValue(num, typ, rest); n > 0 {
			f.bytes = rest[:n]
		}
	case protowire.StartGroupType, protowire.EndGroupType:
		return f, 0, errGroup
	default:
		return f, 0, errWireType
	}
	if n < 0 {
		return f, 0, protowire.ParseError(n)
	}
	f.bytes = f.bytes[:len(f.bytes):len(f.bytes)]
	return f, tag + n, nil
}
