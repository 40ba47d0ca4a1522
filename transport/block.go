package transport

import (
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

// field adds one that is the same for many messages: HPACK remembers it.
func (c *conn) field(name, value string) {
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value}) // output's Write does not fail
}

// rare adds one that is another each time, and would only push what is useful out of HPACK's
// table.
func (c *conn) rare(name, value string) {
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: true})
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
