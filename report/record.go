package report

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// Message is one message of a topic, or one entry of a file.
type Message struct {
	// Offset is its place in the partition, Next the place behind it.
	Offset, Next int64
	// Type is the CloudEvents type, ContentType the content type; empty where it has none.
	Type, ContentType string
	Value             []byte
}

// Why a message is no record. Each is a key of Messages.Undecodable.
var (
	errEmpty    = errors.New("empty")
	errType     = errors.New("another type")
	errContent  = errors.New("unknown content type")
	errProtobuf = errors.New("not protobuf")
	errJSON     = errors.New("not JSON of a record")
	errNoID     = errors.New("no id")
)

const recordType = "understudy.record.v1.Prediction"

// record is what a report reads of a Prediction. Payloads stay bytes.
type record struct {
	id, model            string
	revision             uint64
	mode                 rollout.Mode
	weight               rollout.Weight
	assigned, served     rollout.Arm
	receivedAt           time.Time
	segments             map[string]string
	request              []byte
	champion, challenger call
	// comparison is the record's own; nil where it has none.
	comparison *rollout.Comparison
	diverted   string
	cut        bool
	// redacted says that outputs lack contents, unsampled that payloads were left out.
	redacted, unsampled bool

	json bool
	// newer says that it has fields which this program does not know.
	newer bool
}

// call is what an arm said. response is nil where the record has none.
type call struct {
	spec     rollout.Spec
	response []byte
	code     rollout.Code
	latency  time.Duration
	absent   string
}

// decoder reads records. It keeps the names that it has met, for they come again in each;
// it serves one goroutine.
type decoder struct{ names map[string]string }

// mostNames bounds the decoder's memory.
const mostNames = 4096

// text returns b as a string, the same one for the same bytes.
func (d *decoder) text(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.names) < mostNames && len(s) <= 128 {
		if d.names == nil {
			d.names = map[string]string{}
		}
		d.names[s] = s
	}
	return s
}

// read decodes a message. The record refers to the message's bytes.
func (d *decoder) read(m *Message) (*record, error) {
	switch {
	case len(m.Value) == 0:
		return nil, errEmpty
	case m.Type != "" && m.Type != recordType:
		return nil, fmt.Errorf("%w: %.100q", errType, m.Type)
	}
	isJSON, err := m.isJSON()
	if err != nil {
		return nil, err
	}
	r := &record{json: isJSON}
	value := m.Value
	if isJSON {
		if value, r.newer, err = wireOf(value); err != nil {
			return nil, fmt.Errorf("%w: %w", errJSON, err)
		}
	}
	if err := d.prediction(r, value); err != nil {
		return nil, fmt.Errorf("%w: %w", errProtobuf, err)
	}
	if r.id == "" {
		return nil, errNoID
	}
	return r, nil
}

// isJSON goes by the content type; without one by the first byte, for a record in
// protobuf begins with its id, field 1.
func (m *Message) isJSON() (bool, error) {
	switch m.ContentType {
	case "application/protobuf":
		return false, nil
	case "":
		return bytes.HasPrefix(bytes.TrimLeft(m.Value, " \t\r\n"), []byte("{")), nil
	}
	media, _, err := mime.ParseMediaType(m.ContentType)
	switch {
	case err == nil && media == "application/protobuf":
		return false, nil
	case err == nil && media == "application/json":
		return true, nil
	}
	return false, fmt.Errorf("%w: %.100q", errContent, m.ContentType)
}

// wireOf returns a record in JSON as protobuf, and whether fields were lost that this
// program does not know.
func wireOf(text []byte) (wire []byte, newer bool, err error) {
	var p recordv1.Prediction
	if err := protojson.Unmarshal(text, &p); err != nil {
		newer = true
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, &p); err != nil {
			// protojson puts one of two kinds of space behind its prefix, by the build.
			return nil, false, errors.New(strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0"))
		}
	}
	wire, err = proto.Marshal(&p)
	return wire, newer, err
}

// set puts a field's text into dst.
func (d *decoder) set(dst *string, v value) error {
	if !utf8.Valid(v.bytes) {
		return errUTF8
	}
	*dst = d.text(v.bytes)
	return nil
}

func (d *decoder) prediction(r *record, b []byte) error {
	return each(b, func(field protowire.Number, v value) error {
		switch field {
		case 1:
			if !utf8.Valid(v.bytes) {
				return errUTF8
			}
			r.id = string(v.bytes)
		case 2: // the client's id
		case 3:
			return d.set(&r.model, v)
		case 4:
			r.revision = v.number
		case 5:
			r.mode = rollout.Mode(v.number) // the record's numbers are the domain's
		case 6:
			r.weight = rollout.Weight(min(v.number, uint64(rollout.FullWeight)))
		case 7:
			r.assigned = rollout.Arm(v.number)
		case 8:
			r.served = rollout.Arm(v.number)
		case 9:
			return r.received(v.bytes)
		case 10:
			return d.segment(r, v.bytes)
		case 11:
			r.request = join(r.request, v.bytes)
		case 12:
			return d.arm(&r.champion, v.bytes)
		case 13:
			return d.arm(&r.challenger, v.bytes)
		case 14:
			if r.comparison == nil {
				r.comparison = &rollout.Comparison{}
			}
			return d.comparison(r.comparison, v.bytes)
		case 15:
			return d.set(&r.diverted, v)
		case 16:
			r.cut = true
		case 17:
			return redaction(r, v.bytes)
		default:
			r.newer = true
		}
		return nil
	})
}

// segment reads an entry of a map of strings.
func (d *decoder) segment(r *record, b []byte) error {
	var key, val string
	err := each(b, func(field protowire.Number, v value) error {
		switch field {
		case 1:
			return d.set(&key, v)
		case 2:
			return d.set(&val, v)
		}
		return nil
	})
	if r.segments == nil {
		r.segments = map[string]string{}
	}
	r.segments[key] = val
	return err
}

func (d *decoder) arm(c *call, b []byte) error {
	return each(b, func(field protowire.Number, v value) error {
		switch field {
		case 1:
			return d.set(&c.spec.Target, v)
		case 2:
			return d.set(&c.spec.Model, v)
		case 3:
			return d.set(&c.spec.Version, v)
		case 4:
			c.response = join(c.response, v.bytes)
		case 5:
			c.code = rollout.Code(v.number)
		case 7:
			return c.took(v.bytes)
		case 8:
			return d.set(&c.absent, v)
		}
		return nil
	})
}

// The seconds of a google.protobuf.Timestamp, years 1 to 9999; one beyond is no time.
const firstSecond, lastSecond = -62_135_596_800, 253_402_300_799

func (r *record) received(b []byte) error {
	seconds, nanos, err := span(b)
	if seconds >= firstSecond && seconds <= lastSecond {
		r.receivedAt = time.Unix(seconds, nanos).UTC()
	}
	return err
}

// longest is the longest latency that is believed.
const longest = 366 * 24 * time.Hour

func (c *call) took(b []byte) error {
	seconds, nanos, err := span(b)
	if seconds >= 0 && seconds <= int64(longest/time.Second) && nanos >= 0 {
		c.latency = time.Duration(seconds)*time.Second + time.Duration(nanos)
	}
	return err
}

func redaction(r *record, b []byte) error {
	return each(b, func(field protowire.Number, v value) error {
		switch field {
		case 1:
			r.unsampled = v.number != 0
		case 3, 4:
			r.redacted = true
		}
		return nil
	})
}
