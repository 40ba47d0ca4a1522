package transport

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
)

// What both sides of a connection are told: windows of a fixed size, in which most
// messages fit, so that a sender does not stop within one.
const (
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
)

// Bounds that RFC 9113 sets, or begins with.
const (
	frameHeaderLen   = 9
	minFrameSize     = 16 << 10 // also the most that we take
	maxFrameSize     = 1<<24 - 1
	initialWindow    = 1<<16 - 1
	maxWindow        = 1<<31 - 1
	initialTableSize = 4096
)

// frame is the header of one.
type frame struct {
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
	length int
}

func parseFrame(b []byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   http2.FrameType(b[3]),
		flags:  http2.Flags(b[4]),
		stream: binary.BigEndian.Uint32(b[5:]) & maxWindow,
	}
}

func (f frame) append(b []byte) []byte {
	b = append(b, byte(f.length>>16), byte(f.length>>8), byte(f.length), byte(f.kind), byte(f.flags))
	return binary.BigEndian.AppendUint32(b, f.stream)
}

// connectionError ends a connection, with a GOAWAY of that code.
type connectionError struct {
	code   http2.ErrCode
	reason string
}

func (e *connectionError) Error() string { return fmt.Sprintf("HTTP/2 %s: %s", e.code, e.reason) }

func broken(code http2.ErrCode, format string, args ...any) error {
	return &connectionError{code, fmt.Sprintf(format, args...)}
}

// streamError ends one stream, with an RST_STREAM of that code.
type streamError struct {
	stream uint32
	code   http2.ErrCode
}

func (e *streamError) Error() string { return fmt.Sprintf("HTTP/2 stream %d: %s", e.stream, e.code) }

// appendSettings appends a SETTINGS frame of pairs.
func appendSettings(b []byte, pairs ...http2.Setting) []byte {
	b = frame{length: 6 * len(pairs), kind: http2.FrameSettings}.append(b)
	for _, s := range pairs {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

func appendWindowUpdate(b []byte, stream uint32, by int) []byte {
	b = frame{length: 4, kind: http2.FrameWindowUpdate, stream: stream}.append(b)
	return binary.BigEndian.AppendUint32(b, uint32(by))
}

func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	b = frame{length: 4, kind: http2.FrameRSTStream, stream: stream}.append(b)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode, reason string) []byte {
	b = frame{length: 8 + len(reason), kind: http2.FrameGoAway}.append(b)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, reason...)
}

func appendPing(b []byte, flags http2.Flags, data [8]byte) []byte {
	b = frame{length: 8, kind: http2.FramePing, flags: flags}.append(b)
	return append(b, data[:]...)
}
