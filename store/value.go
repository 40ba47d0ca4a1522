package store

import (
	"encoding/json"
	"fmt"
	"hash/crc32"

	"github.com/understudy-serving/understudy/rollout"
)

// schema is the version of stored values. A reader refuses a newer one.
const schema = 1

// envelope is how every value is stored, as JSON. The checksum tells a flipped bit from
// an operator's decision: 5 % and 7 % are both fine JSON.
type envelope struct {
	Schema int `json:"schema"`
	// CRC32C is of Value's bytes (Castagnoli).
	CRC32C uint32          `json:"crc32c"`
	Value  json.RawMessage `json:"value"`
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{Schema: schema, CRC32C: checksum(body), Value: body})
}

// decode fills v; its errors wrap ErrCorrupt.
func decode(b []byte, v any) error {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if e.Schema != schema {
		return fmt.Errorf("%w: its schema is %d, this version reads %d; use the version that wrote it", ErrCorrupt, e.Schema, schema)
	}
	if sum := checksum(e.Value); sum != e.CRC32C {
		return fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, sum, e.CRC32C)
	}
	if err := json.Unmarshal(e.Value, v); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

func decodeState(model string, b []byte) (s rollout.State, err error) {
	if err := decode(b, &s); err != nil {
		return rollout.State{}, err
	}
	if s.Model != model {
		return rollout.State{}, fmt.Errorf("%w: the state of %q is stored under %q", ErrCorrupt, s.Model, model)
	}
	return s, nil
}
