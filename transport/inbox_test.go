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
		for _, b := range in.message.buffers {
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

// A buffer is a quarter empty at most, or half as large and full.
func TestBuffersFit(t *testing.T) {
	for n, want := range map[int]int{0: 512, 1: 512, 512: 512, 513: 512, 767: 512, 768: 1024, 1024: 1024, 1025: 1024, 1536: 2048,
		maxBuffer / 2: maxBuffer / 2, maxBuffer - 1: maxBuffer, maxBuffer: maxBuffer} {
		b := newBuffer(n)
		if got := len(b.bytes); got != want {
			t.Errorf("for %d bytes a buffer of %d, want %d", n, got, want)
		}
		b.recycle()
	}
}
