package oip

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// contentsField is one field of InferTensorContents.
type contentsField struct {
	name string
	// wire is the type of an unpacked element.
	wire protowire.Type
}

// contentsFields are by field number.
var contentsFields = [...]contentsField{
	1: {"bool_contents", protowire.VarintType},
	2: {"int_contents", protowire.VarintType},
	3: {"int64_contents", protowire.VarintType},
	4: {"uint_contents", protowire.VarintType},
	5: {"uint64_contents", protowire.VarintType},
	6: {"fp32_contents", protowire.Fixed32Type},
	7: {"fp64_contents", protowire.Fixed64Type},
	8: {"bytes_contents", protowire.BytesType},
}

// contentsOf says which field carries a datatype; FP16 and BF16 have none.
var contentsOf = [...]protowire.Number{Bool: 1, Int8: 2, Int16: 2, Int32: 2, Int64: 3,
	Uint8: 4, Uint16: 4, Uint32: 4, Uint64: 5, FP16: 0, BF16: 0, FP32: 6, FP64: 7, Bytes: 8}

// fit counts what the shape asks for.
func (t *Tensor) fit() (err error) {
	if t.typ == 0 {
		return fmt.Errorf("datatype %q", t.Datatype)
	}
	t.elements, err = count(t.Shape)
	return err
}

// fitRaw takes raw contents, where typed ones must be empty.
func (t *Tensor) fitRaw(raw, typed []byte) error {
	if err := t.fit(); err != nil {
		return err
	}
	if err := eachContents(typed, t.refuseContents); err != nil {
		return err
	}
	t.data = raw
	return t.fitData()
}

func (t *Tensor) refuseContents(num protowire.Number, _ field) error {
	return fmt.Errorf("%s beside raw contents", contentsFields[num].name)
}

// fitData sees that data in raw layout has as many elements as the shape.
func (t *Tensor) fitData() error {
	if t.typ != Bytes {
		size := t.typ.Size()
		if t.elements > math.MaxInt/size || t.elements*size != len(t.data) {
			return fmt.Errorf("%d bytes for %d elements of %s in shape %v", len(t.data), t.elements, t.typ, brief(t.Shape))
		}
		return nil
	}
	e := t.Elements()
	n := 0
	for ; len(e.data) > 0; n++ {
		if len(e.data) < 4 || uint64(binary.LittleEndian.Uint32(e.data)) > uint64(len(e.data)-4) {
			return fmt.Errorf("BYTES element %d reaches beyond the contents", n)
		}
		e.Next()
	}
	return t.fitCount(n)
}

func (t *Tensor) fitCount(n int) error {
	if n != t.elements {
		return fmt.Errorf("%d elements of %s for shape %v, which has %d", n, t.typ, brief(t.Shape), t.elements)
	}
	return nil
}

// fitTyped takes an encoded InferTensorContents.
func (t *Tensor) fitTyped(typed []byte) error {
	if err := t.fit(); err != nil {
		return err
	}
	want := contentsOf[t.typ]
	t.varints = want > 0 && contentsFields[want].wire == protowire.VarintType
	if t.typ == Bytes {
		// Four bytes of length take the place of at least two.
		t.data = make([]byte, 0, len(typed)+2*min(t.elements, len(typed)/2))
	}
	err := eachContents(typed, func(num protowire.Number, f field) error {
		if num != want {
			return fmt.Errorf("%s in a tensor of datatype %s", contentsFields[num].name, t.typ)
		}
		return t.add(f)
	})
	switch {
	case err != nil:
		return err
	case want == 0 && t.elements > 0:
		return fmt.Errorf("no contents; %s has none but raw ones", t.typ)
	case !t.varints:
		return t.fitData()
	}
	return t.fitVarints()
}

// add takes one field of elements, packed or not. Only where there is more than one is
// anything copied.
func (t *Tensor) add(f field) error {
	piece := f.bytes
	switch {
	case t.typ == Bytes:
		t.data = binary.LittleEndian.AppendUint32(t.data, uint32(len(piece)))
	case f.typ == protowire.VarintType:
		t.data = protowire.AppendVarint(t.data, f.varint)
		return nil
	case !t.varints && len(piece)%t.typ.Size() != 0:
		return fmt.Errorf("%d bytes of packed %s", len(piece), t.typ)
	case t.varints && piece[len(piece)-1] >= 0x80:
		return fmt.Errorf("packed %s end in the middle of a varint", t.typ)
	case t.data == nil:
		t.data = piece
		return nil
	}
	t.data = append(t.data, piece...)
	return nil
}

// fitVarints sees that data are as many varints as the shape has elements, and that the
// datatype has their values.
func (t *Tensor) fitVarints() error {
	n := 0
	for b := t.data; len(b) > 0; n++ {
		v, size := protowire.ConsumeVarint(b)
		if size < 0 {
			return fmt.Errorf("element %d: %w", n, protowire.ParseError(size))
		}
		if !t.typ.holds(v) {
			return fmt.Errorf("element %d is out of the range of %s", n, t.typ)
		}
		b = b[size:]
	}
	return t.fitCount(n)
}

// holds tells whether a varint's value is one of the datatype. The fields for the
// narrow datatypes are of 32 bits, to which protobuf cuts what it reads.
func (d Datatype) holds(v uint64) bool {
	switch d {
	case Int8:
		return int32(v) == int32(int8(v))
	case Int16:
		return int32(v) == int32(int16(v))
	case Uint8:
		return uint32(v) <= math.MaxUint8
	case Uint16:
		return uint32(v) <= math.MaxUint16
	}
	return true
}

// eachContents calls do for each field of an encoded InferTensorContents that has
// elements. Fields of another wire type than theirs are unknown ones, as in protobuf.
func eachContents(b []byte, do func(protowire.Number, field) error) error {
	return eachField(b, func(f field) error {
		if int(f.num) >= len(contentsFields) {
			return nil
		}
		c := contentsFields[f.num]
		packed := f.typ == protowire.BytesType && c.wire != protowire.BytesType
		if packed && len(f.bytes) == 0 || !packed && f.typ != c.wire {
			return nil
		}
		return do(f.num, f)
	})
}
