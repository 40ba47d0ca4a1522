package sink

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/segmentio/kafka-go"
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

// envelope makes Kafka messages of records: CloudEvents 1.0, binary mode. The spool
// holds protobuf in either encoding; JSON is made on the way out.
type envelope struct {
	json     bool
	maxBytes int
	topic    string
	sources  map[string][]byte // ce_source by model
	// The same for all records, and never changed.
	specVersion, recordType, contentType []byte
}

func newEnvelope(o KafkaOptions) *envelope {
	v := &envelope{maxBytes: o.MaxRecordBytes, topic: o.Topic, sources: map[string][]byte{}, specVersion: []byte("1.0"),
		recordType: []byte("understudy.record.v1.Prediction"), contentType: []byte("application/protobuf")}
	if o.Encoding == encodingJSON {
		v.json, v.contentType = true, []byte("application/json")
	}
	return v
}

// seal fills in d.message; its key and value share the record's bytes. cut tells that
// payloads had to go for it.
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
	d.message = kafka.Message{Key: id, Value: value, WriterData: d, Headers: []kafka.Header{
		{Key: "ce_specversion", Value: v.specVersion},
		{Key: "ce_id", Value: id},
		{Key: "ce_source", Value: v.source(model)},
		{Key: "ce_type", Value: v.recordType},
		{Key: "ce_time", Value: at.AppendFormat(make([]byte, 0, len(time.RFC3339Nano)), time.RFC3339Nano)},
		{Key: "content-type", Value: v.contentType},
	}}
	if d.why != nil {
		d.message.Headers = append(d.message.Headers,
			kafka.Header{Key: deadLetterTopic, Value: []byte(v.topic)},
			kafka.Header{Key: deadLetterReason, Value: []byte(clip(d.why.Error()))})
	}
	return cut, nil
}

// source returns ce_source; models are few, for the config file names them.
func (v *envelope) source(model []byte) []byte {
	s, ok := v.sources[string(model)]
	if !ok {
		s = []byte("/understudy/" + url.PathEscape(string(model)))
		v.sources[string(model)] = s
	}
	return s
}

// attributes reads what a record's headers say from its wire form.
func attributes(record []byte) (id, model []byte, at time.Time, err error) {
	for len(record) > 0 {
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
