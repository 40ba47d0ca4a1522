package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/understudy-serving/understudy/kafkatest"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/report/reporttest"
)

// Pairs that disagree are shown once each, in either encoding, and what is no record is
// passed over.
func TestConsume(t *testing.T) {
	brokers := kafkatest.Fake(t).ListenAddrs()
	topic := kafkatest.Topic(t, brokers, 2, nil)
	all, want := []kafkatest.Message{{Key: []byte("noise"), Value: []byte("\xff\xff")}}, map[string]bool{}
	for i, p := range reporttest.Traffic(300) {
		m := kafkatest.Message{Key: []byte(p.Id), Value: reporttest.Wire(t, p)}
		if i%2 == 0 {
			text, err := protojson.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			m.Value, m.Headers = text, map[string]string{"content-type": "application/json"}
		}
		all = append(all, m, m)
		if p.Comparison != nil && !p.Comparison.Agree {
			want[p.Id] = true
		}
	}
	kafkatest.Produce(t, brokers, topic, all)
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: topic, GroupID: "test", StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond})
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), reporttest.Patience)
	defer cancel()
	shown := map[string]bool{}
	err := consume(ctx, reader, func(p *recordv1.Prediction) {
		if shown[p.Id] || !want[p.Id] || !strings.Contains(describe(p), p.Id) {
			t.Errorf("shown: %s", describe(p))
		}
		if shown[p.Id] = true; len(shown) == len(want) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(shown) != len(want) || len(want) == 0 {
		t.Errorf("%d of %d, %v", len(shown), len(want), err)
	}
}
