package sink

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"google.golang.org/protobuf/encoding/protowire"
)

// A record batch, version 2 of Kafka's format, https://kafka.apache.org/documentation/#recordbatch.
// All numbers are big-endian:
//
//	 0 base offset: 0, the broker's to say
//	 8 length of what follows
//	12 partition leader epoch: -1
//	16 magic: 2
//	17 CRC32C of what follows
//	21 attributes: the codec
//	23 offset of the last record
//	27 time of the first record, 35 and of the last: those of the batch
//	43 producer id, 51 epoch and 53 sequence: -1, for there is no idempotent producer
//	57 number of records
//	61 the records, compressed in one piece
const (
	batchAttributes  = 21
	batchHeaderBytes = 61
	batchMagic       = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packer writes record batches. It serves one goroutine.
type packer struct {
	*envelope
	codec compress.Codec // nil for none
	plain []byte         // the records of a batch before compression
	out   []byte         // the sets of a request
}

// keptBuffer is how large a packer's buffers may stay.
const keptBuffer = 4 << 20

// sets returns the batch of each lane as a produce request has it. They are good until
// the next call. An error is the codec's.
func (p *packer) sets(lanes []*lane) (sets [][]byte, err error) {
	if cap(p.out)+cap(p.plain) > keptBuffer {
		p.out, p.plain = nil, nil
	}
	p.out = p.out[:0]
	ends := make([]int, len(lanes))
	for i, l := range lanes {
		if p.out, err = p.appendSet(p.out, l.batch); err != nil {
			return nil, err
		}
		ends[i] = len(p.out)
	}
	start := 0
	for _, end := range ends {
		sets = append(sets, p.out[start:end])
		start = end
	}
	return sets, nil
}

// appendSet appends the batch of records to b, behind its length.
func (p *packer) appendSet(b []byte, records []*delivery) ([]byte, error) {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, 0) // the set's length
	batch := len(b)
	b = p.appendBatchHeader(b, len(records))
	if p.codec == nil {
		b = p.appendRecords(b, records)
	} else {
		p.plain = p.appendRecords(p.plain[:0], records)
		packed := appender{b}
		w := p.codec.NewWriter(&packed)
		if _, err := w.Write(p.plain); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		b = packed.b
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-batch))
	binary.BigEndian.PutUint32(b[batch+8:], uint32(len(b)-batch-12))
	binary.BigEndian.PutUint32(b[batch+17:], crc32.Checksum(b[batch+batchAttributes:], castagnoli))
	return b, nil
}

// appendBatchHeader leaves out length and checksum.
func (p *packer) appendBatchHeader(b []byte, records int) []byte {
	now := uint64(time.Now().UnixMilli())
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, ^uint32(0))
	b = append(b, batchMagic, 0, 0, 0, 0)
	codec := int8(0)
	if p.codec != nil {
		codec = p.codec.Code()
	}
	b = binary.BigEndian.AppendUint16(b, uint16(codec))
	b = binary.BigEndian.AppendUint32(b, uint32(records-1))
	b = binary.BigEndian.AppendUint64(b, now)
	b = binary.BigEndian.AppendUint64(b, now)
	b = binary.BigEndian.AppendUint64(b, ^uint64(0))
	b = binary.BigEndian.AppendUint16(b, ^uint16(0))
	b = binary.BigEndian.AppendUint32(b, ^uint32(0))
	return binary.BigEndian.AppendUint32(b, uint32(records))
}

func (p *packer) appendRecords(b []byte, records []*delivery) []byte {
	for i, d := range records {
		b = p.appendRecord(b, i, &d.message)
	}
	return b
}

// appendRecord appends m, at an offset in its batch.
func (p *packer) appendRecord(b []byte, offset int, m *letter) []byte {
	var room [512]byte
	headers := p.appendHeaders(room[:0], m)
	n := 2 + sizeVarint(offset) + sizeVarbytes(m.key) + sizeVarbytes(m.value) + len(headers)
	b = binary.AppendVarint(b, int64(n))
	b = append(b, 0, 0) // no attributes, and the batch's time
	b = binary.AppendVarint(b, int64(offset))
	b = appendVarbytes(b, m.key)
	b = appendVarbytes(b, m.value)
	return append(b, headers...)
}

func sizeVarint(n int) int { return protowire.SizeVarint(protowire.EncodeZigZag(int64(n))) }

func sizeVarbytes(b []byte) int { return sizeVarint(len(b)) + len(b) }

// appender is a writer behind b.
type appender struct{ b []byte }

func (a *appender) Write(b []byte) (int, error) {
	a.b = append(a.b, b...)
	return len(b), nil
}
