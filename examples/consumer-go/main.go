// Consumer-go reads the records of Understudy with a consumer group and prints the pairs of
// predictions that disagree.
//
//	go run ./examples/consumer-go --brokers kafka:9092 --topic understudy.predictions
//
// Start it twice, and the two share the partitions.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/segmentio/kafka-go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

func main() {
	brokers := flag.String("brokers", "localhost:9092", "bootstrap `addresses`, separated by commas")
	topic := flag.String("topic", "understudy.predictions", "`name` of the topic")
	group := flag.String("group", "consumer-go", "`name` of the consumer group")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: strings.Split(*brokers, ","), Topic: *topic, GroupID: *group,
		StartOffset: kafka.FirstOffset})
	err := consume(ctx, reader)
	if closed := reader.Close(); closed != nil {
		log.Print(closed)
	}
	if !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// consume reads until it fails or ctx ends. It handles each message before it commits its offset: one that was handled is
// handled again where the process dies in between, and none is lost.
func consume(ctx context.Context, reader *kafka.Reader) error {
	var before recent
	for {
		m, err := reader.FetchMessage(ctx)
		if err != nil {
			return err
		}
		switch p, err := decode(m); {
		case err != nil:
			log.Printf("partition %d, offset %d is no record: %v", m.Partition, m.Offset, err)
		case !before.has(p.Id) && p.Comparison != nil && !p.Comparison.Agree:
			fmt.Println(describe(p))
		}
		if err := reader.CommitMessages(ctx, m); err != nil {
			return err
		}
	}
}

// decode reads a record in either encoding. Fields that this program does not know are of
// a later version, and skipped.
func decode(m kafka.Message) (*recordv1.Prediction, error) {
	p := &recordv1.Prediction{}
	for _, h := range m.Headers {
		if h.Key == "content-type" && string(h.Value) == "application/json" {
			return p, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(m.Value, p)
		}
	}
	return p, proto.Unmarshal(m.Value, p)
}

// describe says on a line what differs. Both predictions are in p.Champion.Response and
// p.Challenger.Response, where they were neither cut nor redacted.
func describe(p *recordv1.Prediction) string {
	parts := []string{p.ReceivedAt.AsTime().Format("15:04:05.000"), p.Id, p.Model}
	if p.Comparison.Error != "" {
		parts = append(parts, p.Comparison.Error)
	}
	for _, o := range p.Comparison.Outputs {
		switch {
		case o.Agree:
		case o.Finding != "values":
			parts = append(parts, fmt.Sprintf("%s: %s", o.Output, o.Finding))
		case o.Kind == "class":
			parts = append(parts, fmt.Sprintf("%s: %q, not %q", o.Output, o.ChallengerClass, o.ChampionClass))
		default:
			parts = append(parts, fmt.Sprintf("%s: %d of %d elements differ, by up to %g", o.Output, o.Differing, o.Elements, o.MaxAbsDiff))
		}
	}
	return strings.Join(parts, "  ")
}

// recent knows the last ids. Delivery is at least once, and what comes twice comes close
// together.
type recent struct {
	ids  map[string]bool
	ring [100_000]string
	next int
}

// has tells whether the id was seen before, and remembers it.
func (r *recent) has(id string) bool {
	if r.ids[id] {
		return true
	}
	if r.ids == nil {
		r.ids = map[string]bool{}
	}
	delete(r.ids, r.ring[r.next])
	r.ids[id], r.ring[r.next] = true, id
	r.next = (r.next + 1) % len(r.ring)
	return false
}
