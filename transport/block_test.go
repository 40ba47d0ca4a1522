package transport

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-serving/understudy/rollout"
)

// What is remembered of a header block is right only while HPACK's table is as it was.
func TestAnswersAreReadWhateverTheTable(t *testing.T) {
	p := newRig(t).rawClient()
	r := rand.New(rand.NewPCG(1, 1))
	for i := range uint32(200) {
		if r.IntN(5) == 0 {
			size := []uint32{0, 40, 60, 100, 4096, 1 << 20}[r.IntN(6)]
			p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
		}
		id := 2*i + 1
		if r.IntN(3) == 0 {
			p.ask(id, nobody, nil)
			p.wantField(id, "grpc-status", "12")
			continue
		}
		p.ask(id, echoMethod, []byte("x"))
		p.wantField(id, "content-type", grpcType)
		p.wantField(id, "grpc-status", "0")
	}
}

// As many methods as the table does not hold push one another out of it.
func TestRequestsAreReadWhateverTheTable(t *testing.T) {
	const callers, each = 10, 30
	p, c := rawServer(t)
	var calls sync.WaitGroup
	for i := range callers {
		calls.Go(func() {
			for n := range each {
				method := fmt.Sprintf("/service/%s%d", strings.Repeat("m", 100), (i*each+n)%47)
				got, reply := call(t.Context(), c, method, nil, rollout.Metadata{"method": {method}})
				if string(got) != method {
					t.Errorf("%q is called as %q, %+v", method, got, reply.Status)
				}
			}
		})
	}
	for i := range callers * each {
		if i%50 == 49 {
			p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(i % 4 * 1000)}))
		}
		h := p.await("a request", func(f http2.Frame) bool {
			_, ok := f.(*http2.MetaHeadersFrame)
			return ok
		}).(*http2.MetaHeadersFrame)
		var said string
		for _, f := range h.RegularFields() {
			if f.Name == "method" {
				said = f.Value
			}
		}
		if h.PseudoValue("path") != said || h.PseudoValue("authority") != "test" {
			t.Errorf("%q stands for %q", h.PseudoValue("path"), said)
		}
		p.answer(h.StreamID, []byte(h.PseudoValue("path")))
	}
	calls.Wait()
}

func TestLargeHeadersTakeSeveralFrames(t *testing.T) {
	r := newRig(t, func(o *ServerOptions) { o.MaxHeaderBytes = 200_000 })
	c := newClient(t, r.dial(), ClientOptions{Authority: "test", Scheme: "http", MaxMessageBytes: 100, MaxHeaderBytes: 200_000,
		KeepaliveTime: clientOptions().KeepaliveTime, KeepaliveTimeout: clientOptions().KeepaliveTimeout})
	for _, n := range []int{minFrameSize - 300, minFrameSize, 3*minFrameSize + 1, 100_000} {
		want := strings.Repeat("\x7e", n) // of more bits in HPACK than as it is
		got, reply := call(t.Context(), c, echoMethod, []byte("x"), rollout.Metadata{"large": {want}})
		if string(got) != "x" || reply.Header["large"][0] != want || reply.Trailer["large"][0] != want {
			t.Errorf("%d bytes: %+v", n, reply.Status)
		}
	}
}

// What rare writes past HPACK's encoder its decoder reads, at every length of a length.
func TestRareFieldsAreHPACK(t *testing.T) {
	c := newConn(nil, 1<<20, 0)
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
		c := newConn(nil, 1<<20, 0)
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
