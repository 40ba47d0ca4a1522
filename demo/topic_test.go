package demo

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

func record(t *testing.T, p *recordv1.Prediction) *kgo.Record {
	t.Helper()
	value, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{Topic: topic, Key: []byte(p.GetId()), Value: value}
}

// openTopic runs a broker and a reader of it.
func openTopic(t *testing.T) (*kgo.Client, *reader) {
	t.Helper()
	b, err := startBroker(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	r, err := newReader(b.addr())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	return producer, r
}

// eventually looks until ok, for ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

func TestReaderCountsUniqueIDs(t *testing.T) {
	producer, r := openTopic(t)
	answered := &recordv1.ArmResult{Response: &inference.ModelInferResponse{ModelName: "x"}}
	a := &recordv1.Prediction{Id: "a", Model: "m", Champion: answered, Challenger: answered, Comparison: &recordv1.Comparison{},
		Request: inferRequest("m", "row-0", 4, testRow())}
	b := &recordv1.Prediction{Id: "b", Model: "m", Champion: answered, Challenger: &recordv1.ArmResult{Absent: "shed"}}
	again := record(t, a)
	if err := producer.ProduceSync(t.Context(), record(t, a), record(t, b), again).FirstErr(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two records", func() bool { return r.count() == 2 })
	records, err := r.all()
	if err != nil {
		t.Fatal(err)
	}
	if records["a"] != (recordFigures{model: "m", clinic: wrongClinic, pair: true, disagrees: true}) || records["b"] != (recordFigures{model: "m"}) {
		t.Errorf("records %+v", records)
	}
	r.forget()
	if left, _ := r.all(); r.count() != 2 || len(left) != 0 {
		t.Errorf("after forget: %d counted, %d kept", r.count(), len(left))
	}
}

func TestReaderSaysWhatIsNoRecord(t *testing.T) {
	for name, spoil := range map[string]func(*kgo.Record){
		"bytes": func(k *kgo.Record) { k.Value = []byte{0xff} },
		"key":   func(k *kgo.Record) { k.Key = []byte("other") },
	} {
		t.Run(name, func(t *testing.T) {
			r := &reader{records: map[string]recordFigures{}}
			k := record(t, &recordv1.Prediction{Id: "a"})
			spoil(k)
			r.add(k.Key, k.Value)
			if _, err := r.all(); err == nil || r.count() != 0 {
				t.Errorf("%v, %d records", err, r.count())
			}
		})
	}
}

func TestBrokerSaysThatItsPortIsTaken(t *testing.T) {
	b, err := startBroker(0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	_, port := splitPort(t, b.addr())
	if _, err := startBroker(port); err == nil {
		t.Error("two brokers on one port")
	}
}
