package oip

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/understudy-serving/understudy/rollout"
)

// errUTF8 is what protobuf says of a string, too.
var errUTF8 = errors.New("not valid UTF-8")

// schema says which of a message's fields make up its header.
type schema struct {
	message string
	// names are the string fields 1, 2, …, as far as they are read.
	names []string
	// params is the number of the field with parameters, or 0.
	params protowire.Number
}

// The messages that the gateway edits.
var (
	requestSchema  = schema{message: "ModelInferRequest", names: []string{"model_name", "model_version", "id"}, params: 4}
	responseSchema = schema{message: "ModelInferResponse", names: []string{"model_name", "model_version", "id"}}
	modelSchema    = schema{message: "ModelReadyRequest or ModelMetadataRequest", names: []string{"name", "version"}}
	metadataSchema = schema{message: "ModelMetadataResponse", names: []string{"name"}}
)

const maxNames = 3

// header is what one pass over the top-level fields of a message finds.
type header struct {
	payload *rollout.Payload
	// names are as they stand in the payload.
	names [maxNames][]byte
	// cuts are where the names that an edit replaces stand.
	cuts cuts
	// params runs from the first parameters entry to the end of the last.
	params span
}

// peek reads the header; edited is how many of the names an edit will replace.
func (s *schema) peek(p *rollout.Payload, edited int) (header, error) {
	h := header{payload: p}
	c := newCursor(p, span{0, p.Len()})
	for c.left() > 0 {
		from := c.off
		num, typ, err := c.tag()
		if err != nil {
			return header{}, s.refuse(0, from, err)
		}
		if int(num) > len(s.names) || typ != protowire.BytesType {
			if err := c.value(typ); err != nil {
				return header{}, s.refuse(num, from, err)
			}
			if num == s.params && typ == protowire.BytesType {
				h.params.extend(from, c.off)
			}
			continue
		}
		b, err := c.text()
		if err != nil {
			return header{}, s.refuse(num, from, err)
		}
		h.names[num-1] = b
		if int(num) <= edited {
			h.cuts.add(from, c.off)
		}
	}
	return h, nil
}

// refuse says what is wrong with the field that starts at offset; number 0 is one that
// could not be read.
func (s *schema) refuse(num protowire.Number, offset int, err error) error {
	field := "a field"
	switch {
	case num > 0 && int(num) <= len(s.names):
		field = "field " + s.names[num-1]
	case num > 0:
		field = fmt.Sprintf("field %d", num)
	}
	return fmt.Errorf("%w: %s: %s at byte %d: %w", ErrMalformed, s.message, field, offset, err)
}

// text reads a string's length and bytes.
func (c *cursor) text() ([]byte, error) {
	n, err := c.length()
	if err != nil {
		return nil, err
	}
	b := c.take(n)
	if !utf8.Valid(b) {
		return nil, errUTF8
	}
	return b, nil
}

// extend widens s to take in another field; the zero span is none.
func (s *span) extend(from, to int) {
	if s.to == 0 {
		s.from = from
	}
	s.to = to
}

// strings turns all names into strings with one allocation.
func (h *header) strings() (names [maxNames]string) {
	n := 0
	for _, b := range h.names {
		n += len(b)
	}
	if n == 0 {
		return names
	}
	var all strings.Builder
	all.Grow(n)
	for _, b := range h.names {
		all.Write(b)
	}
	s := all.String()
	for i, b := range h.names {
		names[i], s = s[:len(b)], s[len(b):]
	}
	return names
}

// Request is the header of a ModelInferRequest. It refers to its payload without
// holding a reference: its methods may be called while the caller has one.
type Request struct {
	Model, Version, ID string

	header header
}

// PeekRequest reads a ModelInferRequest's header and sees that every top-level field is
// well-formed. Errors wrap ErrMalformed.
func PeekRequest(p *rollout.Payload) (Request, error) {
	h, err := requestSchema.peek(p, 2)
	if err != nil {
		return Request{}, err
	}
	names := h.strings()
	return Request{Model: names[0], Version: names[1], ID: names[2], header: h}, nil
}

// WithNames returns the request with another model name and version; an empty one leaves
// the field out. All other fields keep their bytes and order. The result shares the
// original's chunks and holds a reference on it until the caller has freed the result.
func (r Request) WithNames(model, version string) *rollout.Payload {
	return requestSchema.edit(&r.header, model, version)
}

// RenameRequest is PeekRequest and WithNames in one, for whoever does not look at the names.
func RenameRequest(p *rollout.Payload, model, version string) (*rollout.Payload, error) {
	h, err := requestSchema.peek(p, 2)
	if err != nil {
		return nil, err
	}
	return requestSchema.edit(&h, model, version), nil
}

// Response is the header of a ModelInferResponse; see Request for its lifetime.
type Response struct {
	Model, Version, ID string

	header header
}

// PeekResponse reads a ModelInferResponse's header and sees that every top-level field
// is well-formed. Errors wrap ErrMalformed.
func PeekResponse(p *rollout.Payload) (Response, error) {
	h, err := responseSchema.peek(p, 3)
	if err != nil {
		return Response{}, err
	}
	names := h.strings()
	return Response{Model: names[0], Version: names[1], ID: names[2], header: h}, nil
}

// CheckResponse sees what PeekResponse sees, and returns its error alone.
func CheckResponse(p *rollout.Payload) error {
	_, err := responseSchema.peek(p, 0)
	return err
}

// WithNames returns the response with another model name, version and id, as
// Request.WithNames does.
func (r Response) WithNames(model, version, id string) *rollout.Payload {
	return responseSchema.edit(&r.header, model, version, id)
}

// ModelRequest is the whole of a ModelReadyRequest or ModelMetadataRequest, which have
// the same fields; see Request for its lifetime.
type ModelRequest struct {
	Name, Version string

	header header
}

// PeekModel reads a ModelReadyRequest or ModelMetadataRequest. Errors wrap ErrMalformed.
func PeekModel(p *rollout.Payload) (ModelRequest, error) {
	h, err := modelSchema.peek(p, 2)
	if err != nil {
		return ModelRequest{}, err
	}
	names := h.strings()
	return ModelRequest{Name: names[0], Version: names[1], header: h}, nil
}

// WithNames returns the request with another name and version, as Request.WithNames
// does.
func (m ModelRequest) WithNames(name, version string) *rollout.Payload {
	return modelSchema.edit(&m.header, name, version)
}

// RenameMetadata returns a ModelMetadataResponse with another model name, as
// Request.WithNames does; versions stay. Errors wrap ErrMalformed.
func RenameMetadata(p *rollout.Payload, name string) (*rollout.Payload, error) {
	h, err := metadataSchema.peek(p, 1)
	if err != nil {
		return nil, err
	}
	return metadataSchema.edit(&h, name), nil
}
