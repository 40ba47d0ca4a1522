package spool

import (
	"fmt"
	"testing"
	"time"
)

// ns and allocations a record, on the file system of the machine's temporary folder.
func BenchmarkAppend(b *testing.B) {
	for _, mode := range []Fsync{Interval, Always, Never} {
		for _, size := range []int{500, 5000} {
			for _, n := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/%dB/batch%d", mode, size, n), func(b *testing.B) {
					d := mustOpen(b, Options{Dir: b.TempDir(), Fsync: mode, MaxBytes: 512 << 20})
					records := make([][]byte, n)
					for i := range records {
						records[i] = make([]byte, size)
					}
					b.ReportAllocs()
					b.SetBytes(int64(size))
					for done := 0; done < b.N; done += n {
						if d.Stats().Bytes > 400<<20 {
							b.StopTimer()
							if err := d.Trim(1 << 62); err != nil {
								b.Fatal(err)
							}
							b.StartTimer()
						}
						if _, _, err := d.Append(records, time.Now()); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{500, 5000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			d := mustOpen(b, Options{Dir: b.TempDir(), Fsync: Never})
			for range 20000 {
				mustAppend(b, d, [][]byte{make([]byte, size)})
			}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			b.ResetTimer()
			var after uint64
			var entries []Entry
			for done := 0; done < b.N; done += len(entries) {
				var err error
				if entries, err = d.Read(entries[:0], after, 4096, 8<<20); err != nil {
					b.Fatal(err)
				}
				if after = 0; len(entries) > 0 {
					after = entries[len(entries)-1].Position
				}
			}
		})
	}
}

// A start beside 2 GB: the time it takes is that of the names.
func BenchmarkOpen(b *testing.B) {
	o := Options{Dir: b.TempDir(), Fsync: Never}
	d := mustOpen(b, o)
	record := make([]byte, 1<<20)
	for range 2000 {
		mustAppend(b, d, [][]byte{record})
	}
	for b.Loop() {
		if _, err := d.Close(); err != nil {
			b.Fatal(err)
		}
		d = mustOpen(b, o)
	}
	b.ReportMetric(float64(d.Stats().Bytes)/1e9, "GB")
}
