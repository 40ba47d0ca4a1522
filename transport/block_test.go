package transport

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What rare writes past HPACK's encoder its decoder reads, at every length of a length.
func TestRareFieldsAreHPACK(t *testing.T) {
	c := newConn(nil, 1<<20)
	texts := []string{"", "v", strings.Repeat("a", 126), strings.Repeat("b", 127), strings.Repeat("c", 128),
		strings.Repeat("d", 127+127), strings.Repeat("e", 127+128), strings.Repeat("f", 100_000), "\x00\xff"}
	for _, text := range texts {
		c.rare("x-"+text, text)
	}
	var got []hpack.HeaderField
	if _, err := hpack.NewDecoder(0, func(f hpack.HeaderField) { got = append(got, f) }).Write(c.out.tail); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(texts) || c.out.size != len(c.out.tail) {
		t.Fatalf("%d fields, want %d; %d bytes counted of %d", len(got), len(texts), c.out.size, len(c.out.tail))
	}
	for i, f := range got {
		if want := (hpack.HeaderField{Name: "x-" + texts[i], Value: texts[i], Sensitive: true}); f != want {
			t.Errorf("%.60v, want %.60v", f, want)
		}
	}
}

// A peer that wants another table is told at the very beginning of the next block, whatever
// that begins with.
func TestTableSizeComesFirst(t *testing.T) {
	for name, begin := range map[string]func(c *conn, m *common){
		"common": func(c *conn, m *common) { c.common(m) },
		"lead":   func(c *conn, _ *common) { c.lead("grpc-status", "3") },
	} {
		c := newConn(nil, 1<<20)
		m := commonOf("content-type", grpcType)
		for range 3 { // until its fields are in the table, and what they are is remembered
			c.common(m)
		}
		c.mu.Lock()
		if err := c.set(http2.SettingHeaderTableSize, 0); err != nil {
			t.Fatal(err)
		}
		c.out.tail = c.out.tail[:0]
		begin(c, m)
		c.mu.Unlock()
		c.rare("x-id", "1")
		if first := c.out.tail[0]; first>>5 != 1 {
			t.Errorf("%s: the block begins with %#x, want a size update (001…)", name, first)
		}
		if _, err := hpack.NewDecoder(0, func(hpack.HeaderField) {}).Write(c.out.tail); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
