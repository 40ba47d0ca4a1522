package gate

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
)

// keyBits is the size of Keys: 128 KiB.
const keyBits = 1 << 20

// KeyWords is the same in words.
const KeyWords = keyBits / 64

// Keys is a set of hashed routing keys of bounded size: one bit a key, so it may take a
// key for another one. That leaves some keys out by their hash alone, on both arms alike,
// which costs evidence and no truth. Sets merge by union. The zero value is empty.
type Keys struct {
	bits []uint64
	size int
}

// Has tells whether the key, or one that shares its bit, is in the set.
func (k *Keys) Has(hash uint64) bool {
	at := hash % keyBits
	return k.bits != nil && k.bits[at/64]&(1<<(at%64)) != 0
}

// Put adds the key, and tells whether its bit was free.
func (k *Keys) Put(hash uint64) (fresh bool) {
	if k.Has(hash) {
		return false
	}
	if k.bits == nil {
		k.bits = make([]uint64, keyBits/64)
	}
	at := hash % keyBits
	k.bits[at/64] |= 1 << (at % 64)
	k.size++
	return true
}

// Full tells whether half of the bits are taken: more would leave out too many.
func (k *Keys) Full() bool { return k.size >= keyBits/2 }

// Add merges o into k.
func (k *Keys) Add(o Keys) {
	if o.bits == nil {
		return
	}
	if k.bits == nil {
		k.bits = make([]uint64, keyBits/64)
	}
	k.size = 0
	for i := range k.bits {
		k.bits[i] |= o.bits[i]
		k.size += bits.OnesCount64(k.bits[i])
	}
}

// Size is how many bits are taken.
func (k Keys) Size() int { return k.size }

// Words returns the bits, those of hash h in word h / 64 mod KeyWords. They are not to be
// written; an empty set may have none.
func (k Keys) Words() []uint64 { return k.bits }

// KeysOf returns the set that has these bits, which become its own.
func KeysOf(words []uint64) (k Keys) {
	k.bits = words
	for _, w := range words {
		k.size += bits.OnesCount64(w)
	}
	return k
}

// MarshalJSON writes the bits, deflated, in base64; an empty set as "".
func (k Keys) MarshalJSON() ([]byte, error) {
	if k.size == 0 {
		return []byte(`""`), nil
	}
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestSpeed) // fails only for unknown levels
	if err := binary.Write(w, binary.LittleEndian, k.bits); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(b.Bytes()))
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (k *Keys) UnmarshalJSON(text []byte) error {
	*k = Keys{}
	var encoded string
	if err := json.Unmarshal(text, &encoded); err != nil || encoded == "" {
		return err
	}
	packed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	read := Keys{bits: make([]uint64, keyBits/64)}
	if err := binary.Read(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), keyBits/8), binary.LittleEndian, read.bits); err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	k.Add(read)
	return nil
}
