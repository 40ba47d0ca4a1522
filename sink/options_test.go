package sink

import (
	"errors"
	"strings"
	"testing"
)

func TestInvalidOptions(t *testing.T) {
	tests := []struct {
		name   string
		change func(*KafkaOptions)
		want   []string // parts of the error
	}{
		{"no brokers", func(o *KafkaOptions) { o.Brokers = nil }, []string{"brokers", "host:port"}},
		{"broker without a port", func(o *KafkaOptions) { o.Brokers = []string{"a:1", "kafka"} }, []string{"brokers[1]", `"kafka"`, "host:port"}},
		{"broker without a host", func(o *KafkaOptions) { o.Brokers = []string{":9092"} }, []string{"brokers[0]"}},
		{"no topic", func(o *KafkaOptions) { o.Topic = "" }, []string{"topic", "letters"}},
		{"topic with a space", func(o *KafkaOptions) { o.Topic = "a b" }, []string{`"a b"`}},
		{"topic of a dot", func(o *KafkaOptions) { o.Topic = "." }, []string{"topic"}},
		{"encoding", func(o *KafkaOptions) { o.Encoding = "avro" }, []string{`"avro"`, "protobuf or json"}},
		{"compression", func(o *KafkaOptions) { o.Compression = "zip" }, []string{`"zip"`, "zstd"}},
		{"records too small", func(o *KafkaOptions) { o.MaxRecordBytes = 1000 }, []string{"maxRecordBytes 1000", "16384"}},
		{"records too large", func(o *KafkaOptions) { o.MaxRecordBytes = 1 << 30 }, []string{"maxRecordBytes"}},
		{"mechanism", func(o *KafkaOptions) { o.SASL.Mechanism = "gssapi" }, []string{`"gssapi"`, "scram-sha-512"}},
		{"no mechanism", func(o *KafkaOptions) { o.SASL.Username = "u" }, []string{"sasl.mechanism", "missing"}},
		{"no password", func(o *KafkaOptions) { o.SASL = SASL{Mechanism: "plain", Username: "u"} }, []string{"password"}},
		{"forbidden character", func(o *KafkaOptions) { o.SASL = SASL{"scram-sha-256", "u\x00", "secret"} }, []string{"SCRAM forbids"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Kafka: KafkaOptions{Brokers: []string{"127.0.0.1:9092"}, Topic: "t"}}
			tt.change(&o.Kafka)
			_, err := New(o)
			if !errors.Is(err, ErrInvalidOptions) {
				t.Fatalf("New = %v", err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q tells the password", err)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	o := KafkaOptions{Brokers: []string{"[::1]:9092"}, Topic: "t"}
	if err := o.setDefaults(); err != nil {
		t.Fatal(err)
	}
	if o.Encoding != "protobuf" || o.Compression != "none" || o.MaxRecordBytes >= 1_000_000 || o.ClientID != "understudy" {
		t.Errorf("%+v", o)
	}
}
