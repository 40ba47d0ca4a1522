package oip

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/rollout"
)

// ErrNoPayload is what Codec says of a Frame without a payload: one that was sent before.
var ErrNoPayload = errors.New("frame without payload: it can be sent once")

// Frame carries one message through Codec, as bytes.
//
// Received: the receiver owns Payload and frees it, also where the call ended with an
// error behind the message. Sent: Codec moves the reference out of the frame, so Payload
// is nil once the transport has the message, and a client calls Free when the call has
// ended, for the case that it never got so far:
//
//	out, in := oip.Frame{Payload: req.Ref()}, oip.Frame{}
//	err := conn.Invoke(ctx, method, &out, &in)
//	out.Free()
type Frame struct {
	Payload *rollout.Payload
}

// Free gives back the payload that is still in the frame, if any.
func (f *Frame) Free() {
	f.Payload.Free()
	f.Payload = nil
}

// Codec is a gRPC codec (encoding.CodecV2) under protobuf's name, for
// grpc.ForceServerCodecV2 and grpc.ForceCodecV2. A *Frame passes as the bytes it is;
// other protobuf messages, such as those of health and reflection, are encoded as usual.
type Codec struct{}

// Name returns "proto": the bytes are protobuf's, only that nobody decodes them here.
func (Codec) Name() string { return "proto" }

// Marshal hands a frame's payload to the transport, which frees it when it is written.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *Frame:
		if m.Payload == nil {
			return nil, ErrNoPayload
		}
		p := m.Payload
		m.Payload = nil
		return buffers(p), nil
	case proto.Message:
		b, err := proto.Marshal(m)
		if err != nil {
			return nil, err
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return nil, fmt.Errorf("oip: can't marshal %T, want *oip.Frame or proto.Message", v)
}

// Unmarshal keeps the received buffers as a frame's payload until that is freed.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *Frame:
		m.Free() // of a server that answers twice, only the last message is kept
		m.Payload = payload(data)
		return nil
	case proto.Message:
		b := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer b.Free()
		return proto.Unmarshal(b.ReadOnlyData(), m)
	}
	return fmt.Errorf("oip: can't unmarshal into %T, want *oip.Frame or proto.Message", v)
}

// payload wraps received buffers. Those that are left to the garbage collector need no
// release.
func payload(data mem.BufferSlice) *rollout.Payload {
	chunks := make([][]byte, len(data))
	pooled := false
	for i, b := range data {
		chunks[i] = b.ReadOnlyData()
		if _, ok := b.(mem.SliceBuffer); !ok {
			pooled = true
		}
	}
	if !pooled {
		return rollout.NewPayload(chunks, nil)
	}
	data.Ref()
	return rollout.NewPayload(chunks, data.Free)
}

// buffers turns p, with its reference, into what the transport takes. The transport
// tells when it is done only for buffers over its pooling threshold: each of these holds
// a reference, and smaller chunks are copied.
func buffers(p *rollout.Payload) mem.BufferSlice {
	chunks := p.Chunks()
	out := make(mem.BufferSlice, 0, len(chunks))
	for i := 0; i < len(chunks); {
		if !mem.IsBelowBufferPoolingThreshold(len(chunks[i])) {
			p.Ref()
			out = append(out, mem.NewBuffer(&chunks[i], (*releaser)(p)))
			i++
			continue
		}
		var n int
		small := i
		for ; i < len(chunks) && mem.IsBelowBufferPoolingThreshold(len(chunks[i])); i++ {
			n += len(chunks[i])
		}
		b := make([]byte, 0, n)
		for _, c := range chunks[small:i] {
			b = append(b, c...)
		}
		out = append(out, mem.SliceBuffer(b))
	}
	p.Free()
	return out
}

// releaser is a payload in the role of the pool that its buffers go back to.
type releaser rollout.Payload

// Get is never called: the pool is only given to buffers that exist.
func (r *releaser) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put gives back one buffer's reference.
func (r *releaser) Put(*[]byte) { (*rollout.Payload)(r).Free() }
