package sink

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/understudy-serving/understudy/rollout"
)

// bare is an exchange with payloads that cost nothing to make: a request of n bytes of
// raw contents, in one chunk or in pieces of 16 KiB as a transport hands them over.
func bare(b *testing.B, n int) func() *rollout.Exchange {
	full := exchange(b, &tally{}, id(1))
	req := marshal(b, request(n))
	champion, challenger := full.Champion.Response.Bytes(), full.Challenger.Response.Bytes()
	var chunks [][]byte
	for rest := req; len(rest) > 0; {
		k := min(len(rest), 16<<10)
		chunks, rest = append(chunks, rest[:k]), rest[k:]
	}
	return func() *rollout.Exchange {
		x := *full
		x.Request = rollout.NewPayload(chunks, nil)
		x.Champion.Response = rollout.NewPayload([][]byte{champion}, nil)
		x.Challenger.Response = rollout.NewPayload([][]byte{challenger}, nil)
		return &x
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"200B", 200}, {"5KB", 5000}, {"600KB", 600_000}, {"cut2MB", 2_000_000}} {
		b.Run(size.name, func(b *testing.B) {
			x := bare(b, size.bytes)()
			e := encoder{limit: defaultRecordBytes}
			b.SetBytes(x.Size())
			b.ReportAllocs()
			for b.Loop() {
				e.encode(x)
				e.reset()
			}
		})
	}
}

// What a caller pays: no encoding, no waiting.
func BenchmarkRecordFull(b *testing.B) {
	made := bare(b, 200)
	in := newIntake(1, 1<<30)
	in.offer(made())
	s := &Sink{intake: in}
	b.ReportAllocs()
	for b.Loop() {
		s.Accept()
		s.Record(made())
	}
}

// A record's whole way to a broker in this process that forgets it.
func BenchmarkRecordToKafka(b *testing.B) {
	for _, codec := range []string{"none", "zstd"} {
		b.Run(codec, func(b *testing.B) {
			kafka := cluster(b, kfake.BlackholeProduce())
			var l logs
			s := open(b, &l, kafka.ListenAddrs(), func(o *Options) {
				o.IntakeRecords, o.IntakeBytes, o.MaxQueueBytes, o.Kafka.Compression = 1<<20, 1<<40, 1<<40, codec
			})
			made := bare(b, 200)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				s.Accept()
				s.Record(made())
				if n++; n%4096 == 0 { // no faster than it is delivered
					for s.Snapshot().Delivered < int64(n-16_384) {
						time.Sleep(time.Millisecond)
					}
				}
			}
			if err := s.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
