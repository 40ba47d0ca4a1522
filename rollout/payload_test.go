package rollout

import (
	"bytes"
	"errors"
	"sync"
	"testing"
)

func TestPayloadIsReleasedAtItsLastFree(t *testing.T) {
	released := 0
	p := NewPayload([][]byte{[]byte("ab"), nil, []byte("c")}, func() { released++ })
	if p.Len() != 3 || !bytes.Equal(p.Bytes(), []byte("abc")) || !bytes.Equal(p.AppendTo([]byte("-")), []byte("-abc")) {
		t.Errorf("%d bytes, %q", p.Len(), p.Bytes())
	}
	var holders sync.WaitGroup
	for range 100 {
		q := p.Ref()
		holders.Go(q.Free)
	}
	holders.Wait()
	if released != 0 {
		t.Fatal("released while held")
	}
	p.Free()
	if released != 1 {
		t.Fatalf("released %d times", released)
	}
	for name, misuse := range map[string]func(*Payload){"Free": (*Payload).Free, "Ref": func(p *Payload) { p.Ref() }} {
		func() {
			p := NewPayload(nil, nil)
			p.Free()
			defer func() {
				if recover() == nil {
					t.Errorf("%s of a freed payload did not panic", name)
				}
			}()
			misuse(p)
		}()
	}
}

func TestNoPayloadIsEmpty(t *testing.T) {
	var p *Payload
	p.Free()
	if p.Len() != 0 || p.Bytes() != nil || p.Chunks() != nil {
		t.Error("a nil payload has bytes")
	}
}

func TestExchangeGivesAllItHoldsBack(t *testing.T) {
	released := 0
	payload := func(s string) *Payload { return NewPayload([][]byte{[]byte(s)}, func() { released++ }) }
	x := &Exchange{Request: payload("1234"), Champion: Call{Response: payload("56")}, Challenger: Call{Absent: Shed}}
	if x.Size() != 6 {
		t.Errorf("size %d, want 6", x.Size())
	}
	x.Free()
	x.Free()
	if released != 2 {
		t.Errorf("%d payloads released, want 2", released)
	}
}

func TestStaleErrorNamesBothRevisions(t *testing.T) {
	err := error(&StaleError{Model: "fraud", Expected: 3, Current: State{Revision: 5}})
	if !errors.Is(err, ErrStale) || errors.Is(err, ErrUnavailable) ||
		err.Error() != "stale revision: model fraud is at revision 5, not 3; look at it again and decide anew" {
		t.Errorf("%v", err)
	}
}
