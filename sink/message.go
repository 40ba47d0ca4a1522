package sink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

const (
	encodingProtobuf = "protobuf"
	encodingJSON     = "json"
)

// The headers that a dead letter has besides those of a record: the topic that refused
// it, and the broker's words.
const (
	deadLetterTopic  = "understudy_dead_letter_topic"
	deadLetterReason = "understudy_dead_letter_reason"
)

// errNoRecord says that bytes are no Prediction with an id.
var errNoRecord = errors.New("no record")

// letter is what a record is to Kafka: key and value, which share the record's bytes,
// and what its headers say.
type letter struct {
	key, value []byte
	source     []byte // the header ce_source, as it is sent; shared
	at         time.Time
	// refusal is why the topic refused it; empty for what is no dead letter.
	refusal string
}

// size is at least what the letter takes in a batch before compression.
func (m *letter) size() int {
	const rest = 256 // lengths, and the headers that are the same for all
	return rest + 2*len(m.key) + len(m.value) + len(m.source) + len(m.refusal)
}

// envelope makes letters of records: CloudEvents 1.0, binary mode. The spool holds
// protobuf in either encoding; JSON is made on the way out. seal serves one goroutine,
// appendHeaders any number.
type envelope struct {
	json     bool
	maxBytes int
	topic    string
	sources  map[string][]byte // ce_source by model
	// Headers that are the same for all records, as they are sent.
	specVersion, recordType, contentType []byte
}

func newEnvelope(o KafkaOptions) *envelope {
	v := &envelope{maxBytes: o.MaxRecordBytes, topic: o.Topic, sources: map[string][]byte{}}
	v.specVersion = appendHeader(nil, "ce_specversion", "1.0")
	v.recordType = appendHeader(nil, "ce_type", "understudy.record.v1.Prediction")
	v.contentType = appendHeader(nil, "content-type", "application/protobuf")
	if o.Encoding == encodingJSON {
		v.json, v.contentType = true, appendHeader(nil, "content-type", "application/json")
	}
	return v
}

// seal fills in d.message. cut tells that payloads had to go for it.
func (v *envelope) seal(d *delivery) (cut bool, err error) {
	id, model, at, err := attributes(d.record)
	if err != nil {
		return false, err
	}
	value := d.record
	if v.json {
		if value, cut, err = v.toJSON(d.record); err != nil {
			return false, err
		}
	}
	d.message = letter{key: id, value: value, source: v.source(model), at: at}
	if d.why != nil {
		d.message.refusal = clip(d.why.Error())
	}
	return cut, nil
}

// appendHeaders appends the number of m's headers and the headers, in Kafka's form.
func (v *envelope) appendHeaders(b []byte, m *letter) []byte {
	n := int64(6)
	if m.refusal != "" {
		n = 8
	}
	b = binary.AppendVarint(b, n)
	b = append(b, v.specVersion...)
	b = appendHeader(b, "ce_id", m.key)
	b = append(b, m.source...)
	b = append(b, v.recordType...)
	var room [len(time.RFC3339Nano)]byte
	b = appendHeader(b, "ce_time", m.at.AppendFormat(room[:0], time.RFC3339Nano))
	b = append(b, v.contentType...)
	if m.refusal != "" {
		b = appendHeader(b, deadLetterTopic, v.topic)
		b = appendHeader(b, deadLetterReason, m.refusal)
	}
	return b
}

func appendHeader[T string | []byte](b []byte, key string, value T) []byte {
	return appendVarbytes(appendVarbytes(b, key), value)
}

// appendVarbytes appends v behind its length.
func appendVarbytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendVarint(b, int64(len(v))), v...)
}

// source returns the header ce_source; models are few, for the config file names them.
func (v *envelope) source(model []byte) []byte {
	s, ok := v.sources[string(model)]
	if !ok {
		s = appendHeader(nil, "ce_source", "/understudy/"+url.PathEscape(string(model)))
		v.sources[string(model)] = s
	}
	return s
}

// attributes reads what a record's headers say from its wire form. The encoder writes these
// fields before all large ones, so that the rest of its records need not be read; a checksum
// guards that.
func attributes(record []byte) (id, model []byte, at time.Time, err error) {
	for len(record) > 0 && (len(id) == 0 || len(model) == 0 || at.IsZero()) {
		field, typ, n := protowire.ConsumeTag(record)
		if n < 0 {
			return nil, nil, at, fmt.Errorf("%w: %w", errNoRecord, protowire.ParseError(n))
		}
		value := record[n:]
		if n = protowire.ConsumeFieldValue(field, typ, value); n < 0 {
			return nil, nil, at, fmt.Errorf("%w: field %d: %w", errNoRecord, field, protowire.ParseError(n))
		}
		record = value[n:]
		if typ != protowire.BytesType {
			continue
		}
		switch inner, _ := protowire.ConsumeBytes(value); field {
		case fieldID:
			id = inner
		case fieldModel:
			model = inner
		case fieldReceivedAt:
			at = instant(inner)
		}
	}
	if len(id) == 0 {
		return nil, nil, at, fmt.Errorf("%w: it has no id", errNoRecord)
	}
	return id, model, at, nil
}

// instant reads a google.protobuf.Timestamp.
func instant(b []byte) time.Time {
	var part [3]int64
	eachField(b, func(field protowire.Number, typ protowire.Type, v []byte) {
		if x, n := protowire.ConsumeVarint(v); n > 0 && typ == protowire.VarintType && int(field) < len(part) {
			part[field] = int64(x)
		}
	})
	return time.Unix(part[1], part[2]).UTC()
}

// toJSON returns a record as protobuf's JSON. That is larger than the wire form, so
// the record may have to be cut here.
func (v *envelope) toJSON(record []byte) (_ []byte, cut bool, _ error) {
	for cuts := 0; ; cuts++ {
		var p recordv1.Prediction
		if err := proto.Unmarshal(record, &p); err != nil {
			return nil, false, fmt.Errorf("%w: %w", errNoRecord, err)
		}
		value, err := protojson.Marshal(&p)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", errNoRecord, err)
		}
		if len(value) <= v.maxBytes || cuts == 2 {
			return value, cuts > 0, nil
		}
		if record, err = recut(record, cuts > 0); err != nil {
			return nil, false, err
		}
	}
}
