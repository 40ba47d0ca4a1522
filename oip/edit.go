package oip

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/understudy-serving/understudy/rollout"
)

// maxCuts bounds what an edit keeps in mind, whatever a client sends. Clients write each
// name once and side by side, which is one cut.
const maxCuts = 3

// cuts are the ranges of a message that an edit leaves out, in order. Neighbours are
// one.
type cuts struct {
	spans [maxCuts]span
	n     int
	size  int
	// more says that there are others, which are found by reading the message again.
	more bool
}

func (c *cuts) add(from, to int) {
	c.size += to - from
	switch {
	case c.n > 0 && !c.more && c.spans[c.n-1].to == from:
		c.spans[c.n-1].to = to
	case c.n < maxCuts:
		c.spans[c.n] = span{from, to}
		c.n++
	default:
		c.more = true
	}
}

// edited is an edited message, with the memory that it needs beside its original: one
// allocation in the common case.
type edited struct {
	rollout.Payload
	original *rollout.Payload
	chunks   [4][]byte
	head     [64]byte
}

// Release gives the original's reference back.
func (m *edited) Release() { m.original.Free() }

// edit returns the message with the string fields 1, 2, … set to names. They come first,
// as protobuf's own writers put them.
func (s *schema) edit(h *header, names ...string) *rollout.Payload {
	if h.has(names) {
		return h.payload.Ref()
	}
	if h.cuts.more {
		b := make([]byte, 0, h.payload.Len()+namesSize(names))
		return rollout.NewPayload([][]byte{s.appendOthers(appendNames(b, names), h.payload, len(names))}, nil)
	}
	mem := new(edited)
	chunks := mem.chunks[:0]
	// One for the names, and each cut can make two chunks out of one.
	if n := 1 + len(h.payload.Chunks()) + h.cuts.n; n > cap(chunks) {
		chunks = make([][]byte, 0, n)
	}
	if head := appendNames(mem.head[:0], names); len(head) > 0 {
		chunks = append(chunks, head)
	}
	chunks = h.cuts.keep(chunks, h.payload.Chunks())
	if h.payload != nil {
		mem.original = h.payload.Ref()
	}
	mem.Begin(chunks, mem)
	return &mem.Payload
}

// has tells whether the message says names already, each once or, if empty, not at all.
func (h *header) has(names []string) bool {
	for i, name := range names {
		if string(h.names[i]) != name {
			return false
		}
	}
	// Each name that is not empty takes at least its shortest form, so there is nothing else.
	return h.payload != nil && h.cuts.size == namesSize(names)
}

// namesSize returns the length of what appendNames writes.
func namesSize(names []string) (n int) {
	for i, name := range names {
		if name != "" {
			n += protowire.SizeTag(protowire.Number(i+1)) + protowire.SizeBytes(len(name))
		}
	}
	return n
}

// appendNames writes the fields 1, 2, …; proto3 leaves empty ones out.
func appendNames(b []byte, names []string) []byte {
	for i, name := range names {
		if name != "" {
			b = protowire.AppendTag(b, protowire.Number(i+1), protowire.BytesType)
			b = protowire.AppendString(b, name)
		}
	}
	return b
}

// keep appends to dst what the cuts leave of a message's chunks.
func (c *cuts) keep(dst, chunks [][]byte) [][]byte {
	next, off := 0, 0
	for _, chunk := range chunks {
		end := off + len(chunk)
		for pos := off; pos < end; {
			for next < c.n && c.spans[next].to <= pos {
				next++
			}
			upTo := end
			if next < c.n {
				if c.spans[next].from <= pos {
					pos = min(c.spans[next].to, end)
					continue
				}
				upTo = min(c.spans[next].from, end)
			}
			dst = append(dst, chunk[pos-off:upTo-off])
			pos = upTo
		}
		off = end
	}
	return dst
}

// appendOthers appends a copy of all but the string fields 1 to edited. The message has
// been read before, so that nothing in it can be wrong.
func (s *schema) appendOthers(dst []byte, p *rollout.Payload, edited int) []byte {
	b := p.Bytes()
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			return append(dst, b...)
		}
		if int(num) > edited || typ != protowire.BytesType {
			dst = append(dst, b[:n]...)
		}
		b = b[n:]
	}
	return dst
}
