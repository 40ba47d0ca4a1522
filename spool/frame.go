package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"
)

// A frame is a header of 32 bytes, little-endian, and the record:
//
//	 0 marker
//	 4 length of the record
//	 8 position
//	16 time, in nanoseconds since 1970; the least one for none
//	24 CRC32C of the record
//	28 CRC32C of the 28 bytes before, seeded with the segment's nonce
//
// For headers that are equal, different seeds give different sums: one of another
// segment never checks.
const headerBytes = 32

var (
	marker     = []byte{0xf7, 'u', 's', 0xa3}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

const noTime = math.MinInt64

type header struct {
	length   uint32
	position uint64
	at       int64
	sum      uint32
}

func frameBytes(record []byte) int64 { return headerBytes + int64(len(record)) }

func appendFrame(b []byte, nonce uint32, h header, record []byte) []byte {
	start := len(b)
	b = append(b, marker...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(record)))
	b = binary.LittleEndian.AppendUint64(b, h.position)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.at))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(record, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(nonce, castagnoli, b[start:]))
	return append(b, record...)
}

// parseHeader reads a header from the first headerBytes of b.
func parseHeader(b []byte, nonce uint32) (h header, ok bool) {
	b = b[:headerBytes]
	if !bytes.HasPrefix(b, marker) || crc32.Update(nonce, castagnoli, b[:28]) != binary.LittleEndian.Uint32(b[28:]) {
		return h, false
	}
	h.length = binary.LittleEndian.Uint32(b[4:])
	h.position = binary.LittleEndian.Uint64(b[8:])
	h.at = int64(binary.LittleEndian.Uint64(b[16:]))
	h.sum = binary.LittleEndian.Uint32(b[24:])
	return h, h.length <= maxRecordBytes
}

func (h header) matches(record []byte) bool { return crc32.Checksum(record, castagnoli) == h.sum }

func fromTime(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixNano()
}

func toTime(at int64) time.Time {
	if at == noTime {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// lengthOf is the length in a header that is known to be good.
func lengthOf(b []byte) uint32 { return binary.LittleEndian.Uint32(b[4:]) }
