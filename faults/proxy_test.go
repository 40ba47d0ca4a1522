package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
)

// echo is a server that sends everything back, and counts what it got.
type echo struct {
	net.Listener
	mu  sync.Mutex
	got int
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{Listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, io.TeeReader(c, e))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return e
}

func (e *echo) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.got += len(b)
	return len(b), nil
}

func (e *echo) received() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got
}

// lineTo opens a line to a server.
func lineTo(t *testing.T, e *echo) *proxy {
	t.Helper()
	p, err := newProxy()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close) // before the server's end
	p.connect(e.Addr().String())
	return p
}

func dial(t *testing.T, p *proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends bytes and reads as many.
func exchange(c net.Conn, n int) error {
	sent := bytes.Repeat([]byte("x"), n)
	if _, err := c.Write(sent); err != nil {
		return err
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return errors.New("other bytes came back")
	}
	return nil
}

func TestLineCarries(t *testing.T) {
	p := lineTo(t, newEcho(t))
	c := dial(t, p)
	if err := exchange(c, 50_000); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("%d bytes and %v behind an orderly end", len(rest), err)
	}
}

func TestLineDown(t *testing.T) {
	p := lineTo(t, newEcho(t))
	c := dial(t, p)
	if err := exchange(c, 10); err != nil {
		t.Fatal(err)
	}
	p.set(quality{down: true})
	if err := exchange(c, 10); err == nil {
		t.Error("a connection outlived the line")
	}
	if c, err := net.Dial("tcp", p.addr()); err == nil {
		if err := exchange(c, 10); err == nil {
			t.Error("a line that is down carried a new connection")
		}
		_ = c.Close()
	}
	p.set(quality{})
	if err := exchange(dial(t, p), 10); err != nil {
		t.Errorf("the line is up again: %v", err)
	}
}

func TestLineSlow(t *testing.T) {
	p := lineTo(t, newEcho(t))
	p.set(quality{delay: 30 * time.Millisecond, bytesPerSecond: 100_000})
	c := dial(t, p)
	began := time.Now()
	if err := exchange(c, 1000); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 80*time.Millisecond {
		t.Errorf("1000 bytes there and back took %s, want 2 × (30 ms + 10 ms) at least", took)
	}
}

// What a slow line holds back comes as soon as it is a good one.
func TestLineGetsBetter(t *testing.T) {
	p := lineTo(t, newEcho(t))
	p.set(quality{delay: time.Hour})
	c := dial(t, p)
	done := make(chan error, 1)
	go func() { done <- exchange(c, 10) }()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		p.set(quality{}) // again, for the bytes may not have come to the line yet
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
	t.Error("held back for good")
}

// Cuts lose the answer; half of them come when the broker has got everything.
func TestLineCuts(t *testing.T) {
	const n = 1000
	e := newEcho(t)
	p := lineTo(t, e)
	p.set(quality{cutAfter: 1})
	for i := range 4 {
		before := e.received()
		if err := exchange(dial(t, p), n); err == nil {
			t.Fatal("a line that cuts carried everything")
		}
		want := 0
		if i%2 == 1 {
			want = n
		}
		deadline := time.Now().Add(2 * time.Second)
		for e.received() < before+want && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if got := e.received() - before; got != want {
			t.Errorf("cut %d: the server got %d bytes, want %d", i, got, want)
		}
	}
	if p.cut() != 4 {
		t.Errorf("%d cuts counted, want 4", p.cut())
	}
}

// A process's end is seen, however it came.
func TestProcess(t *testing.T) {
	if _, err := exec.LookPath("sleep"); err != nil {
		t.Skip("no sleep here")
	}
	g := &gateway{}
	var err error
	if g.proc, err = kafkatest.Spawn(os.Stderr, "sleep", "60"); err != nil {
		t.Fatal(err)
	}
	if rss, err := g.rss(); err != nil || rss == 0 {
		t.Errorf("resident memory: %d, %v", rss, err)
	}
	g.kill()
	if g.proc.Err() == nil {
		t.Error("a killed process ended well")
	}
	g.kill() // once more does no harm
}
