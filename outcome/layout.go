package outcome

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/understudy-serving/understudy/rollout"
)

// The buckets. Hours are those of the requests' ids, so that whole hours can leave.
var (
	// idsBucket: hour → id → packed ticket.
	idsBucket = []byte("ids")
	// seenBucket: hour → id and name → 1.
	seenBucket = []byte("seen")
	// logBucket: model → sequence → packed report.
	logBucket = []byte("log")
	// metaBucket has the schema, and the first hour of which all reports are known.
	metaBucket = []byte("meta")
	schemaKey  = []byte("schema")
	floorKey   = []byte("floor")
)

// schema is the version of this layout.
const schema = 1

// prepare makes the buckets of a new file, and refuses one of another version.
func prepare(tx *bolt.Tx) error {
	for _, name := range [][]byte{idsBucket, seenBucket, logBucket, metaBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	switch found := meta.Get(schemaKey); {
	case found == nil:
		return meta.Put(schemaKey, []byte{schema})
	case !bytes.Equal(found, []byte{schema}):
		return fmt.Errorf("its schema is %v, want %d: another version of the gateway wrote it; go on with that one, or move the file away", found, schema)
	}
	return nil
}

// hour counts hours since 1970.
type hour uint32

const millisPerHour = int64(time.Hour / time.Millisecond)

func hourOfMillis(ms int64) hour { return hour(min(max(ms/millisPerHour, 0), math.MaxUint32)) }

func hourOf(id [16]byte) hour { return hourOfMillis(millisOf(id)) }

func (h hour) key() []byte { return binary.BigEndian.AppendUint32(nil, uint32(h)) }

// hourIn reads a key of a bucket of hours; last is the largest hour where k is nil.
func hourIn(k []byte) hour {
	if len(k) != 4 {
		return math.MaxUint32
	}
	return hour(binary.BigEndian.Uint32(k))
}

// floorIn returns the first hour of which all reports are known.
func floorIn(tx *bolt.Tx) hour {
	if k := tx.Bucket(metaBucket).Get(floorKey); k != nil {
		return hourIn(k)
	}
	return 0
}

func seenKey(id [16]byte, name string) []byte { return append(id[:], name...) }

func sequenceKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// packReport is the log's entry of a report that came at a time.
func packReport(came time.Time, name string, value float64, ticket []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(came.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(value))
	return append(appendText(b, name), ticket...)
}

// cameIn returns the hour in which the entry's report came.
func cameIn(entry []byte) hour {
	p := parser{rest: entry}
	b := p.bytes(8)
	if p.failed {
		return 0
	}
	return hourOfMillis(int64(binary.BigEndian.Uint64(b)))
}

// unpackReport is the inverse of packReport; the sequence is the entry's key.
func unpackReport(key, entry []byte) (r rollout.Reported, err error) {
	p := parser{rest: entry}
	p.bytes(8)
	value := p.bytes(8)
	r.Name = p.text()
	if p.failed || len(key) != 8 {
		return r, fmt.Errorf("entry %x of the log is damaged", key)
	}
	r.Sequence, r.Value = binary.BigEndian.Uint64(key), math.Float64frombits(binary.BigEndian.Uint64(value))
	r.Ticket, err = unpack(p.rest)
	return r, err
}
