package sink

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/spool"
)

// What one record costs the gateway from Record to Kafka's acknowledgement, in CPU time
// of this process: encoding, disk and Kafka client. The broker is a real one in a
// process of its own. PERFORMANCE's goal is 4 µs for 500 B.
//
// The figure of the sink is the difference to a control, which makes the same exchanges
// in the same way and frees them; the control's own is reported beside it.
//
// The garbage collector runs as often as in a gateway with a small heap; see tuneMemory in
// cmd/understudy.
func BenchmarkCPUPerRecord(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	brokers := realKafka.Brokers(b)
	for _, size := range []struct {
		name  string
		bytes int
	}{{"500B", 180}, {"5KB", 4700}} { // with ids, arms and responses, the record has about that
		for _, codec := range []string{"none", "snappy", "lz4", "zstd"} {
			for _, durable := range []string{"memory", "interval"} {
				for _, load := range []load{flood, callers} {
					b.Run(size.name+"/"+codec+"/"+durable+"/"+load.name, func(b *testing.B) {
						benchmarkCPU(b, brokers, size.bytes, codec, durable, load)
					})
				}
			}
		}
	}
}

// load makes n exchanges and gives each to record; delivered tells how far Kafka is.
type load struct {
	name string
	run  func(n int64, made func() *rollout.Exchange, record func(*rollout.Exchange), delivered func() int64)
}

// flood is one caller without a pause, at most 16,384 records ahead of Kafka.
var flood = load{"flood", func(n int64, made func() *rollout.Exchange, record func(*rollout.Exchange), delivered func() int64) {
	for i := range n {
		if record(made()); i%1024 == 0 {
			await(delivered, i-16_384)
		}
	}
}}

// callers are 16, each with a record a millisecond or so.
var callers = load{"16callers", func(n int64, made func() *rollout.Exchange, record func(*rollout.Exchange), _ func() int64) {
	const callers = 16
	var all sync.WaitGroup
	for c := range int64(callers) {
		all.Go(func() {
			for range (n + callers - 1 - c) / callers {
				record(made())
				time.Sleep(time.Millisecond)
			}
		})
	}
	all.Wait()
}}

// warmUp records come first. They fill three segments, so that what is measured writes
// to memory of the operating system that was used before: the first use of a page is costly
// in a virtual machine, and a gateway that runs for long is past that.
const warmUp = 150_000

func benchmarkCPU(b *testing.B, brokers []string, bytes int, codec, durable string, load load) {
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
	made, n := varied(b, bytes), int64(b.N)
	delivered := s.ledger.delivered.Load
	record := func(x *rollout.Exchange) { s.Accept(); s.Record(x) }
	flood.run(warmUp, made, record, delivered)
	await(delivered, warmUp)
	b.ResetTimer()
	began := cpuTime(b)
	load.run(n, made, func(x *rollout.Exchange) { x.Free() }, func() int64 { return n })
	control := cpuTime(b) - began
	began = cpuTime(b)
	since := func() int64 { return delivered() - warmUp }
	load.run(n, made, record, since)
	await(since, n)
	all := cpuTime(b) - began
	b.ReportMetric(float64((all-control).Nanoseconds())/float64(n), "sink-cpu-ns/record")
	b.ReportMetric(float64(control.Nanoseconds())/float64(n), "control-cpu-ns/record")
	if c := s.Snapshot(); c.DroppedTotal() > 0 {
		b.Fatalf("records were dropped, the figure means nothing: %+v", c)
	}
}

// varied returns a maker of exchanges that cost little to make and differ as those of
// clients do: in their ids, and in the features, which are random.
func varied(b *testing.B, bytes int) func() *rollout.Exchange {
	const different = 1 << 12
	bare := bare(b, 0)
	ids, requests := make([]string, different), make([][][]byte, different)
	for i := range different {
		ids[i] = fmt.Sprintf("0193577e-%04x-7%03x-8%03x-%012x", i, rand.N(4096), rand.N(4096), rand.Uint64()>>16)
		r := request(bytes)
		for raw := r.RawInputContents[0]; len(raw) >= 4; raw = raw[4:] {
			binary.LittleEndian.PutUint32(raw, 0x3f000000|uint32(rand.N(1<<23)))
		}
		requests[i] = [][]byte{marshal(b, r)}
	}
	var mu sync.Mutex
	i := 0
	return func() *rollout.Exchange {
		mu.Lock()
		i = (i + 1) % different
		n := i
		mu.Unlock()
		x := bare()
		x.ID, x.Request = ids[n], rollout.NewPayload(requests[n], nil)
		return x
	}
}

func await(delivered func() int64, n int64) {
	for delivered() < n {
		time.Sleep(10 * time.Millisecond) // each look costs microseconds
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
