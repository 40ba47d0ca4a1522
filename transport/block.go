package transport

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-serving/understudy/rollout"
)

// A header block is encoded where it is sent from, between beginBlock and endBlock, and
// c.mu is held from one to the other.

// beginBlock makes room for a frame's header, and returns where.
func (c *conn) beginBlock() (mark int) {
	mark = len(c.out.tail)
	_, _ = c.out.Write(make([]byte, frameHeaderLen))
	return mark
}

// common are fields that many messages share, word for word. HPACK remembers them, and we
// remember what it made of them: to look each up again would cost more than the rest of the
// block.
type common struct {
	fields  []hpack.HeaderField
	encoded []byte
	// epoch is the conn's when encoded held.
	epoch int
}

func commonOf(pairs ...string) *common {
	m := new(common)
	for i := 0; i < len(pairs); i += 2 {
		m.fields = append(m.fields, hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return m
}

// common adds such fields. Where each is one byte, all were in HPACK's table already, and it is as it was;
// whatever else was written may have changed it, and with it what all bytes mean.
func (c *conn) common(m *common) {
	if m.encoded != nil && m.epoch == c.epoch {
		_, _ = c.out.Write(m.encoded)
		return
	}
	from := len(c.out.tail)
	for _, f := range m.fields {
		_ = c.encoder.WriteField(f) // output's Write does not fail
	}
	if got := c.out.tail[from:]; len(got) == len(m.fields) {
		m.encoded, m.epoch = bytes.Clone(got), c.epoch
	} else {
		c.epoch++
	}
}

// lead adds what a block begins with where that is nothing common, and leaves HPACK's table as it is.
// The encoder must begin each block: it may have to say that its table has another size.
func (c *conn) lead(name, value string) {
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: true})
}

// rare adds one that is another each time, and would only push what is useful out of
// HPACK's table, which stays as it is: a literal that is never indexed, with a literal name
// (RFC 7541, section 6.2.3). To look for the name in the tables, and to count what
// Huffman's code would save, costs several times as much as the bytes do.
func (c *conn) rare(name, value string) { c.out.grown(appendRare(c.out.tail, name, value)) }

func appendRare[T string | []byte](b []byte, name string, value T) []byte {
	return appendLiteral(appendLiteral(append(b, 0x10), name), value)
}

// appendLiteral writes a string without Huffman's code: its length in a prefix of seven bits
// (RFC 7541, sections 5.1 and 5.2), and its bytes.
func appendLiteral[T string | []byte](b []byte, s T) []byte {
	const most = 1<<7 - 1
	if len(s) < most {
		b = append(b, byte(len(s)))
	} else {
		b = binary.AppendUvarint(append(b, most), uint64(len(s)-most))
	}
	return append(b, s...)
}

func (c *conn) metadata(md rollout.Metadata) {
	for key, values := range md {
		for _, v := range values {
			c.rare(key, encodeValue(key, v))
		}
	}
}

// endBlock completes the frame, or frames where it is too large for one.
func (c *conn) endBlock(mark int, stream uint32, last bool) {
	c.spoke = true
	f := frame{kind: http2.FrameHeaders, stream: stream, length: len(c.out.tail) - mark - frameHeaderLen}
	if last {
		f.flags = http2.FlagHeadersEndStream
	}
	if f.length <= c.peer.frame {
		f.flags |= http2.FlagHeadersEndHeaders
		f.append(c.out.tail[:mark])
		return
	}
	block := append([]byte(nil), c.out.tail[mark+frameHeaderLen:]...)
	tail := c.out.tail[:mark]
	for len(block) > 0 {
		part := block[:min(len(block), c.peer.frame)]
		block = block[len(part):]
		f.length = len(part)
		if len(block) == 0 {
			f.flags |= http2.FlagHeadersEndHeaders
		}
		tail = append(f.append(tail), part...)
		f.kind, f.flags = http2.FrameContinuation, 0
	}
	c.out.grown(tail)
}
