package upstream

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc/resolver/dns"

	"github.com/understudy-serving/understudy/rollout"
)

// nameserver answers every question for an IPv4 address with the one it is told.
type nameserver struct {
	address atomic.Pointer[[4]byte]
	asked   atomic.Int32
	conn    net.PacketConn
}

func nameserverOf(t *testing.T, first [4]byte) *nameserver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameserver{conn: conn}
	n.address.Store(&first)
	var wg sync.WaitGroup
	wg.Go(n.run)
	t.Cleanup(func() {
		conn.Close()
		wg.Wait()
	})
	return n
}

func (n *nameserver) run() {
	buf := make([]byte, 4096)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
			continue
		}
		if out, err := n.answer(m.ID, m.Questions[0]); err == nil {
			_, _ = n.conn.WriteTo(out, from)
		}
	}
}

func (n *nameserver) answer(id uint16, q dnsmessage.Question) ([]byte, error) {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: true, Authoritative: true},
		Questions: []dnsmessage.Question{q},
	}
	if q.Type == dnsmessage.TypeA {
		n.asked.Add(1)
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: *n.address.Load()},
		}}
	}
	return m.Pack()
}

// TestNamesAreResolvedAgain: a server that goes, and comes back under another address of
// the same name, is found there. The break makes grpc-go ask again, and nothing else does.
func TestNamesAreResolvedAgain(t *testing.T) {
	// The floor between two questions is grpc-go's, for the whole process.
	dns.SetMinResolutionInterval(10 * time.Millisecond)
	t.Cleanup(func() { dns.SetMinResolutionInterval(30 * time.Second) })
	names := nameserverOf(t, [4]byte{192, 0, 2, 1})
	servers := map[string]*atomic.Pointer[string]{"192.0.2.1:8081": {}, "192.0.2.2:8081": {}} // where they really are
	first, stop := serve(t, "", saying("first"))
	servers["192.0.2.1:8081"].Store(&first)

	c := dial(t, Options{
		Spec: rollout.Spec{Target: fmt.Sprintf("dns://%s/models.test:8081", names.conn.LocalAddr())},
		Dialer: func(ctx context.Context, address string) (net.Conn, error) {
			at := servers[address]
			if at == nil || at.Load() == nil {
				return nil, fmt.Errorf("nobody lives at %s", address)
			}
			return new(net.Dialer).DialContext(ctx, "tcp", *at.Load())
		},
	})
	expect(t, c, "first")
	asked := names.asked.Load()
	if asked == 0 {
		t.Fatal("the name was not resolved over DNS")
	}
	second, _ := serve(t, "", saying("second"))
	servers["192.0.2.2:8081"].Store(&second)
	names.address.Store(&[4]byte{192, 0, 2, 2})
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; time.Sleep(5 * time.Millisecond) { // ten times the floor
		expect(t, c, "first")
	}
	if got := names.asked.Load(); got != asked {
		t.Errorf("%d more questions without a break", got-asked)
	}
	stop()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		reply, out := call(t, within(t, 10*time.Second), c, []byte("x"), nil)
		if reply.Status.Code == rollout.OK && string(out) == "second" {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("status %+v, answer %q, %d questions: the new address is not used", reply.Status, out, names.asked.Load())
		}
		if reply.Status.Code != rollout.Unavailable {
			t.Fatalf("status %+v, answer %q between the addresses, want UNAVAILABLE", reply.Status, out)
		}
	}
	if names.asked.Load() == asked {
		t.Error("the new address was found without a question")
	}
}

// saying answers with its name.
func saying(name string) script {
	return func(context.Context, []byte) ([]byte, error) { return []byte(name), nil }
}

func expect(t *testing.T, c *Client, name string) {
	t.Helper()
	reply, out := call(t, within(t, 10*time.Second), c, []byte("x"), nil)
	if reply.Status.Code != rollout.OK || string(out) != name {
		t.Fatalf("status %+v, answer %q, want %q", reply.Status, out, name)
	}
}
