package transport

import (
	"bytes"
	"testing"
)

// Who announces much and sends little holds little.
func TestInboxBelievesWhatComes(t *testing.T) {
	const size = 5 << 20
	in := inbox{limit: size}
	stream := framed(make([]byte, size))
	for sent := 0; sent < len(stream); {
		n := min(1000, len(stream)-sent)
		if _, err := in.take(bytes.NewReader(stream[sent:sent+n]), n); err != nil {
			t.Fatal(err)
		}
		sent += n
		held := 0
		for _, b := range in.buffers {
			held += len(b.bytes)
		}
		if held > 3*sent+2*trustedRoom {
			t.Fatalf("%d bytes are held for %d", held, sent)
		}
	}
	p, _ := in.payload()
	if !bytes.Equal(p.AppendTo(nil), stream[prefixLen:]) {
		t.Error("the message is another")
	}
	p.Free()
}

func TestBuffersAreAsLargeAsAsked(t *testing.T) {
	for _, n := range []int{0, 1, 512, 513, 1024, 1025, maxBuffer - 1, maxBuffer} {
		b := newBuffer(n)
		if got := len(b.bytes); got < n || got > max(2*n, 512) {
			t.Errorf("for %d bytes a buffer of %d", n, got)
		}
		b.recycle()
	}
}
