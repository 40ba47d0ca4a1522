package gateway

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

// newID returns a UUIDv7. Its 74 random bits come from the runtime's
// ChaCha8 generators, which the system seeds: ids are to be unique, not secret, and this
// takes neither a system call nor a lock.
func newID(at time.Time) (id uuid.UUID) {
	random := rand.Uint64()
	binary.BigEndian.PutUint64(id[:8], uint64(at.UnixMilli())<<16|0x7000|random&0x0fff)
	binary.BigEndian.PutUint64(id[8:], 0x8000000000000000|rand.Uint64()>>2)
	return id
}
