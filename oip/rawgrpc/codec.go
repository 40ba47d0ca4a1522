// Package rawgrpc is a codec for grpc-go that leaves messages the bytes that they are. The
// gateway does without grpc-go (see package transport); the model servers and clients of its benchmark and
// its tests do not.
package rawgrpc

import (
	"fmt"

	"google.golang.org/grpc/mem"
)

// Codec is a gRPC codec (encoding.CodecV2) for grpc.ForceServerCodecV2 and grpc.ForceCodecV2.
// Messages are of type *mem.BufferSlice: one that is sent is given away, one that
// was received is the receiver's to free.
type Codec struct{}

// Name returns "proto": the bytes are protobuf's, only that nobody decodes them here.
func (Codec) Name() string { return "proto" }

// Marshal gives the message to the transport.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*mem.BufferSlice)
	if !ok {
		return nil, fmt.Errorf("rawgrpc: can't marshal %T, want *mem.BufferSlice", v)
	}
	return *m, nil
}

// Unmarshal keeps what was received.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*mem.BufferSlice)
	if !ok {
		return fmt.Errorf("rawgrpc: can't unmarshal into %T, want *mem.BufferSlice", v)
	}
	data.Ref()
	m.Free() // of a peer that sends twice, the last message is kept
	*m = data
	return nil
}

// Message makes one of bytes, which nobody may change any more.
func Message(pieces ...[]byte) *mem.BufferSlice {
	m := make(mem.BufferSlice, len(pieces))
	for i, b := range pieces {
		m[i] = mem.SliceBuffer(b)
	}
	return &m
}
