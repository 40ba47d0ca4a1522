package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// sealed returns n deliveries as the sender has them.
func sealed(t testing.TB, v *envelope, n int) (ds []*delivery) {
	t.Helper()
	var c tally
	e := encoder{limit: defaultRecordBytes}
	for i := range n {
		d := &delivery{}
		x := exchange(t, &c, id(i))
		d.record, _ = e.encode(x)
		if _, err := v.seal(d); err != nil {
			t.Fatal(err)
		}
		ds = append(ds, d)
	}
	return ds
}

// Batches are those of the protocol: the library's reader, which checks lengths and sum,
// finds every record in them.
func TestBatchIsReadByTheLibrary(t *testing.T) {
	for number, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(name, func(t *testing.T) {
			o := KafkaOptions{Compression: name, MaxRecordBytes: defaultRecordBytes, Topic: "refusing"}
			codec, err := o.codec()
			if err != nil {
				t.Fatal(err)
			}
			p := packer{envelope: newEnvelope(o), codec: codec}
			ds := sealed(t, p.envelope, 300)
			ds[7].why = errors.New("not liked")
			if _, err := p.seal(ds[7]); err != nil {
				t.Fatal(err)
			}
			sets, err := p.sets([]*lane{{batch: ds[:100]}, {batch: ds[100:]}})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, set := range sets {
				var read protocol.RecordSet
				if _, err := read.ReadFrom(bytes.NewReader(set)); err != nil {
					t.Fatal(err)
				}
				if int(read.Attributes.Compression()) != number {
					t.Errorf("compression %s", read.Attributes)
				}
				n += matching(t, read.Records, ds[n:])
			}
			if n != len(ds) {
				t.Errorf("%d records", n)
			}
		})
	}
}

// matching reads records to their end and holds each to its delivery.
func matching(t *testing.T, records protocol.RecordReader, ds []*delivery) (n int) {
	t.Helper()
	for ; ; n++ {
		r, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		d := ds[n]
		key, _ := protocol.ReadAll(r.Key)
		value, _ := protocol.ReadAll(r.Value)
		if string(key) != string(d.message.key) || !bytes.Equal(value, d.record) || r.Offset != int64(n) || r.Time.IsZero() {
			t.Fatalf("record %d: key %q, offset %d, time %s", n, key, r.Offset, r.Time)
		}
		var last []string
		for _, h := range r.Headers[5:] {
			last = append(last, h.Key+"="+string(h.Value))
		}
		want := []string{"content-type=application/protobuf"}
		if d.why != nil {
			want = append(want, deadLetterTopic+"=refusing", deadLetterReason+"=not liked")
		}
		if !slices.Equal(last, want) {
			t.Fatalf("record %d: headers end in %q", n, last)
		}
	}
}

// A batch has what fits, one record at least, and a record that is to be alone is.
func TestLaneLoads(t *testing.T) {
	ds := sealed(t, newEnvelope(KafkaOptions{}), 8)
	ds[4].alone = true
	size := ds[0].message.size()
	for limit, want := range map[int]string{0: "[1 1 1 1 1 1 1 1]", size: "[1 1 1 1 1 1 1 1]", 3*size + 1: "[3 1 1 3]", 1 << 30: "[4 1 3]"} {
		l := lane{waiting: ds}
		var got []int
		for len(l.waiting) > 0 {
			l.load(limit)
			got = append(got, len(l.batch))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("within %d bytes batches of %v, want %s", limit, got, want)
		}
	}
}

func TestVerdictOnAPartition(t *testing.T) {
	answer := &produce.Response{Topics: []produce.ResponseTopic{{Topic: "t", Partitions: []produce.ResponsePartition{
		{Partition: 0}, {Partition: 1, ErrorCode: int16(kafka.NotEnoughReplicas)},
		{Partition: 2, ErrorCode: int16(kafka.InvalidRecord), ErrorMessage: "no key"}}}}}
	for partition, want := range []error{nil, kafka.NotEnoughReplicas, kafka.InvalidRecord, errUnwritten} {
		if got := verdictOn(answer, "t", int32(partition)); !errors.Is(got, want) {
			t.Errorf("partition %d: %v, want %v", partition, got, want)
		}
	}
}
