package report

import (
	"testing"

	"github.com/understudy-serving/understudy/report/reporttest"
)

// A record's way from the topic's bytes into the counts, on one core.
func BenchmarkRecord(b *testing.B) {
	var all []Message
	for _, p := range reporttest.Traffic(2000) {
		all = append(all, Message{Value: reporttest.Wire(b, p), ContentType: "application/protobuf", Type: recordType})
	}
	tally := newTally(&Options{Models: rules()})
	b.SetBytes(int64(len(all[0].Value)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tally.add(0, &all[i%len(all)], func(string) bool { return false })
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
