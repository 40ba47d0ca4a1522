package transport

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/understudy-serving/understudy/rollout"
)

// prefixLen is the length of what stands before each gRPC message: a byte that tells
// whether it is compressed, and four of length.
const prefixLen = 5

// trustedRoom is how much of a stated length is believed before its bytes come: one who
// announces much and sends nothing holds no more.
const trustedRoom = 64 << 10

// refusal is why a message, or a call, is not taken.
type refusal struct{ rollout.Status }

func (r *refusal) Error() string { return r.Message }

func refuse(code rollout.Code, format string, args ...any) error {
	return &refusal{rollout.Status{Code: code, Message: fmt.Sprintf(format, args...)}}
}

// inbox puts a message together as its bytes arrive. One that is abandoned leaves its
// buffers to the garbage collector.
type inbox struct {
	// limit is the most bytes that a message may have, decompressed; encoding is the stream's grpc-encoding.
	limit    int
	encoding string

	prefix [prefixLen]byte
	// prefixed is how much of the prefix is here, size the length that it states, got how
	// much of that is here.
	prefixed, size, got int
	message             *message // nil before the first of its bytes
	// room is what is free of its last chunk.
	room []byte
}

// message is a payload in buffers of ours. Most have one or two.
type message struct {
	rollout.Payload
	buffers     []*buffer
	chunks      [][]byte
	firstBuffer [2]*buffer
	firstChunk  [2][]byte
}

func newMessage() *message {
	m := new(message)
	m.buffers, m.chunks = m.firstBuffer[:0], m.firstChunk[:0]
	return m
}

// Release gives the buffers back.
func (m *message) Release() {
	lent.Add(-1)
	for _, b := range m.buffers {
		b.recycle()
	}
}

// take reads up to n bytes of a stream's data, and returns how many are left where a message
// is complete, or an error came. A *refusal is this stream's alone.
func (in *inbox) take(r io.Reader, n int) (left int, err error) {
	for n > 0 && !in.complete() {
		dst := in.next()
		dst = dst[:min(len(dst), n)]
		if _, err := io.ReadFull(r, dst); err != nil {
			return n, err
		}
		n -= len(dst)
		if err := in.filled(len(dst)); err != nil {
			return n, err
		}
	}
	return n, nil
}

// begun tells whether there is any of a message.
func (in *inbox) begun() bool { return in.prefixed > 0 }

func (in *inbox) complete() bool { return in.prefixed == prefixLen && in.got == in.size }

// next is where the next bytes go.
func (in *inbox) next() []byte {
	if in.prefixed < prefixLen {
		return in.prefix[in.prefixed:]
	}
	if len(in.room) == 0 {
		if in.message == nil {
			in.message = newMessage()
		}
		left, m := in.size-in.got, in.message
		b := newBuffer(min(left, max(in.got, trustedRoom), maxBuffer))
		in.room = b.bytes[:min(left, len(b.bytes))]
		m.buffers, m.chunks = append(m.buffers, b), append(m.chunks, in.room)
	}
	return in.room
}

// filled says that n bytes of next are there.
func (in *inbox) filled(n int) error {
	if in.prefixed == prefixLen {
		in.got += n
		in.room = in.room[n:]
		return nil
	}
	if in.prefixed += n; in.prefixed < prefixLen {
		return nil
	}
	size := binary.BigEndian.Uint32(in.prefix[1:])
	switch flag := in.prefix[0]; {
	case flag > 1:
		return refuse(rollout.Internal, "a gRPC message begins with the flag %d: want 0 or 1", flag)
	case flag == 1 && (in.encoding == "" || in.encoding == identity):
		return refuse(rollout.Internal, "a compressed message without a grpc-encoding that says how")
	case uint64(size) > uint64(in.limit):
		return refuse(rollout.ResourceExhausted, "a message of %d bytes is larger than the limit of %d", size, in.limit)
	}
	in.size = int(size)
	return nil
}

// payload gives away the complete message, and tells whether it is still to be
// decompressed. The inbox is then ready for another.
func (in *inbox) payload() (p *rollout.Payload, compressed bool) {
	m := in.message
	if m == nil {
		m = newMessage()
	}
	compressed = in.prefix[0] == 1
	*in = inbox{limit: in.limit, encoding: in.encoding}
	lent.Add(1)
	m.Begin(m.chunks, m)
	return &m.Payload, compressed
}

// The encodings of messages that are understood; nothing is sent but identity.
const (
	identity = "identity"
	zipped   = "gzip"
)

// unzip decompresses a message up to a limit; its error is a *refusal.
func unzip(p *rollout.Payload, limit int) (*rollout.Payload, error) {
	z, err := gzip.NewReader(bytes.NewReader(p.Bytes()))
	if err != nil {
		return nil, refuse(rollout.Internal, "a message that should be gzip: %v", err)
	}
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(z, int64(limit)+1))
	switch {
	case err != nil:
		return nil, refuse(rollout.Internal, "a message that should be gzip: %v", err)
	case n > int64(limit):
		return nil, refuse(rollout.ResourceExhausted, "a message is decompressed larger than the limit of %d bytes", limit)
	}
	return rollout.NewPayload([][]byte{out.Bytes()}, nil), nil
}
