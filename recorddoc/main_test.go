package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/understudy-serving/understudy/kafkatest"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/report/reporttest"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/sink"
)

func comments(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../" + source)
	if err != nil {
		t.Fatal(err)
	}
	return commentsOf(string(text))
}

func TestDocumentsAreCurrent(t *testing.T) {
	file := recordv1.File_understudy_record_v1_record_proto
	for path, want := range map[string][]byte{document: page(file, comments(t)), schema: schemaOf(file, comments(t))} {
		if got, err := os.ReadFile("../" + path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what record.proto says (%v): run make generate", path, err)
		}
	}
}

// Each message has a comment, and each comment its place.
func TestComments(t *testing.T) {
	found := comments(t)
	file := recordv1.File_understudy_record_v1_record_proto
	for i := range file.Messages().Len() {
		m := file.Messages().Get(i)
		if found[string(m.Name())] == "" {
			t.Errorf("%s has no comment", m.Name())
		}
		for j := range m.Fields().Len() {
			if _, ok := found[string(m.Name())+"."+string(m.Fields().Get(j).Name())]; !ok {
				t.Errorf("%s was not found", m.Fields().Get(j).FullName())
			}
		}
	}
	if got := found["TensorShape"]; got != "TensorShape describes a tensor without its contents." {
		t.Errorf("%q", got)
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("../" + schema)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, text []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// What the sink writes as JSON is as the schema says: whole, redacted and cut.
func TestSchemaHoldsForTheSink(t *testing.T) {
	brokers := kafkatest.Fake(t).ListenAddrs()
	topic := kafkatest.Topic(t, brokers, 1, nil)
	s, err := sink.New(sink.Options{Kafka: sink.KafkaOptions{Brokers: brokers, Topic: topic, Encoding: "json", MaxRecordBytes: 16 << 10}})
	if err != nil {
		t.Fatal(err)
	}
	s.SetPolicies(map[string]rollout.RecordPolicy{"hidden": {Inputs: rollout.Digest, Outputs: rollout.Drop, Sample: rollout.FullWeight}})
	all := reporttest.Traffic(200)
	for i, p := range all {
		x := reporttest.Exchange(t, p)
		switch {
		case i%20 == 3:
			x.Model = "hidden"
		case i%20 == 5:
			x.Request = rollout.NewPayload([][]byte{reporttest.Wire(t, &recordv1.Prediction{Id: strings.Repeat("x", 40_000)})}, nil)
		}
		s.Accept()
		s.Record(x)
	}
	compiled, cut, redacted := compiled(t), 0, 0
	for _, m := range kafkatest.Consume(t, brokers, topic, len(all), reporttest.Patience) {
		if err := validate(compiled, m.Value); err != nil {
			t.Fatalf("%v\n%s", err, m.Value)
		}
		cut += strings.Count(string(m.Value), `"cut":`)
		redacted += strings.Count(string(m.Value), `"redaction":`)
	}
	if cut == 0 || redacted == 0 {
		t.Errorf("%d cut, %d redacted", cut, redacted)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A record with every field set, and what is none.
func TestSchema(t *testing.T) {
	s := compiled(t)
	full := &recordv1.Prediction{}
	fill(full.ProtoReflect(), 0)
	full.Comparison.Outputs[0].MaxAbsDiff = math.Inf(1)
	text, err := protojson.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(s, text); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil || len(fields) != (&recordv1.Prediction{}).ProtoReflect().Descriptor().Fields().Len() {
		t.Errorf("%d fields, %v", len(fields), err)
	}
	for _, bad := range []string{`{}`, `[]`, `{"id":7}`, `{"id":"x","revision":7}`, `{"id":"x","receivedAt":"noon"}`, `{"id":"x","mode":"MODE_NOVEL"}`,
		`{"id":"x","champion":{"latency":"12ms"}}`, `{"id":"x","segments":{"a":1}}`, `{"id":"x","cut":{"request":{"sha256":"*"}}}`} {
		if validate(s, []byte(bad)) == nil {
			t.Errorf("taken: %s", bad)
		}
	}
	if err := validate(s, []byte(`{"id":"x","someday":1}`)); err != nil {
		t.Errorf("a later version: %v", err)
	}
}

// fill sets every field of a message, a few levels deep.
func fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap() && f.MapValue().Kind() == protoreflect.StringKind:
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
		case f.IsMap() || f.ContainingOneof() != nil && f.Number() > 1:
		case f.IsList() && f.Kind() == protoreflect.MessageKind:
			if depth < 6 {
				fill(m.Mutable(f).List().AppendMutable().Message(), depth+1)
			}
		case f.IsList():
			m.Mutable(f).List().Append(some(f))
		case f.Kind() == protoreflect.MessageKind:
			if depth < 6 {
				fill(m.Mutable(f).Message(), depth+1)
			}
		default:
			m.Set(f, some(f))
		}
	}
}

func some(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("text")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{1, 2, 3, 4})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(7)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(math.MaxUint64)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(7)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(7)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(0.5)
	}
	return protoreflect.ValueOfFloat64(0.5)
}
