package oip

// Datatype is the type of a tensor's elements.
type Datatype uint8

// The protocol's datatypes; the zero Datatype is none of them.
const (
	Bool Datatype = iota + 1
	Int8
	Int16
	Int32
	Int64
	Uint8
	Uint16
	Uint32
	Uint64
	FP16
	BF16
	FP32
	FP64
	Bytes
)

var datatypeNames = [...]string{Bool: "BOOL", Int8: "INT8", Int16: "INT16", Int32: "INT32", Int64: "INT64",
	Uint8: "UINT8", Uint16: "UINT16", Uint32: "UINT32", Uint64: "UINT64",
	FP16: "FP16", BF16: "BF16", FP32: "FP32", FP64: "FP64", Bytes: "BYTES"}

var datatypeSizes = [...]int{Bool: 1, Int8: 1, Int16: 2, Int32: 4, Int64: 8, Uint8: 1, Uint16: 2, Uint32: 4, Uint64: 8,
	FP16: 2, BF16: 2, FP32: 4, FP64: 8, Bytes: 0}

// ParseDatatype returns the datatype of that name, in the protocol's upper case.
func ParseDatatype(name string) (Datatype, bool) {
	for d := Bool; d <= Bytes; d++ {
		if datatypeNames[d] == name {
			return d, true
		}
	}
	return 0, false
}

// String returns the protocol's name, such as "FP32".
func (d Datatype) String() string {
	if d >= Bool && d <= Bytes {
		return datatypeNames[d]
	}
	return "unknown"
}

// Size returns the bytes that an element takes in raw contents, or 0 for Bytes, whose
// elements each carry their own length.
func (d Datatype) Size() int {
	if d <= Bytes {
		return datatypeSizes[d]
	}
	return 0
}

// Family groups datatypes by the Go type that holds each of their values exactly.
type Family uint8

// The families, and the method of Elements that reads them.
const (
	NoFamily Family = iota
	Signed          // int64: Ints
	Unsigned        // uint64, false and true as 0 and 1: Uints
	Float           // float64: Floats
	Text            // []byte: Next
)

// Family returns the family, NoFamily for an unknown datatype.
func (d Datatype) Family() Family {
	switch {
	case d >= Int8 && d <= Int64:
		return Signed
	case d == Bool || d >= Uint8 && d <= Uint64:
		return Unsigned
	case d >= FP16 && d <= FP64:
		return Float
	case d == Bytes:
		return Text
	}
	return NoFamily
}
