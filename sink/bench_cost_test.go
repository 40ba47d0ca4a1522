package sink

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
	"github.com/understudy-serving/understudy/spool"
)

// What one record costs the gateway from Record to Kafka's acknowledgement, in CPU time
// of this process: encoding, disk and Kafka client. The broker is a real one in a
// process of its own. PERFORMANCE's goal is 4 µs for 500 B.
func BenchmarkCPUPerRecord(b *testing.B) {
	brokers := realKafka.Brokers(b)
	for _, size := range []struct {
		name  string
		bytes int
	}{{"500B", 180}, {"5KB", 4700}} { // with ids, arms and responses, the record has about that
		for _, codec := range []string{"none", "snappy", "lz4", "zstd"} {
			for _, durable := range []string{"memory", "interval"} {
				b.Run(size.name+"/"+codec+"/"+durable, func(b *testing.B) {
					benchmarkCPU(b, brokers, size.bytes, codec, durable)
				})
			}
		}
	}
}

func benchmarkCPU(b *testing.B, brokers []string, bytes int, codec, durable string) {
	name := kafkatest.Topic(b, brokers, 4, nil)
	var l logs
	s := open(b, &l, brokers, func(o *Options) {
		o.Kafka.Topic, o.Kafka.Compression = name, codec
		o.IntakeRecords, o.IntakeBytes, o.MaxQueueBytes = 1<<16, 1<<28, 1<<30
		if durable == "interval" {
			o.Disk = &spool.Options{Dir: b.TempDir(), MaxBytes: 4 << 30}
		}
	})
	defer s.Close(context.Background())
	made := bare(b, bytes)
	began, n := cpuTime(b), int64(0)
	for b.Loop() {
		s.Accept()
		s.Record(made())
		if n++; n%1024 == 0 { // at most 16,384 on their way
			awaitDelivered(s, n-16_384)
		}
	}
	awaitDelivered(s, n)
	b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/float64(n), "cpu-ns/record")
	if c := s.Snapshot(); c.DroppedTotal() > 0 {
		b.Fatalf("records were dropped, the figure means nothing: %+v", c)
	}
}

func awaitDelivered(s *Sink, n int64) {
	for s.Snapshot().Delivered < n {
		time.Sleep(time.Millisecond)
	}
}

// cpuTime is the CPU time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
