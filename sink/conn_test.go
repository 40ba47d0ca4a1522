package sink

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A peer that says nothing is given up, with a deadline from kafka-go or without.
func TestConnNeverWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &conn{Conn: near, dialer: newDialer()}
		defer c.Close()
		for _, tt := range []struct {
			name     string
			deadline time.Duration // from now; 0 for none
			io       func([]byte) (int, error)
			want     time.Duration
		}{
			{"read", 0, c.Read, ioTimeout},
			{"read with a deadline", time.Second, c.Read, time.Second},
			{"write after the deadline was taken back", 0, c.Write, ioTimeout},
		} {
			began := time.Now()
			var deadline time.Time
			if tt.deadline > 0 {
				deadline = began.Add(tt.deadline)
			}
			if err := c.SetDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			_, err := tt.io(make([]byte, 1))
			if took := time.Since(began); took != tt.want || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v after %s, want %s", tt.name, err, took, tt.want)
			}
		}
	})
}

func TestDialerRefusesAfterClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := newDialer()
	before, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d.close()
	if _, err := before.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a connection from before: %v", err)
	}
	if _, err := d.DialContext(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, errClosed) {
		t.Errorf("a connection from after: %v", err)
	}
	before.Close()
	if len(d.open) != 0 {
		t.Errorf("%d connections are still tracked", len(d.open))
	}
}
