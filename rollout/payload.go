package rollout

import "sync/atomic"

// Payload is a protobuf message as received: immutable bytes in one or more chunks,
// shared by counting references. Whoever keeps it beyond a call takes a Ref and calls
// Free once; behind the last Free the bytes may be reused, so nobody may keep a slice
// of them.
type Payload struct {
	refs   atomic.Int32
	chunks [][]byte
	size   int
	owner  Owner
}

// Owner is told when nobody needs a payload's bytes any more.
type Owner interface{ Release() }

// NewPayload returns a payload with one reference. release, if not nil, runs at the
// last Free.
func NewPayload(chunks [][]byte, release func()) *Payload {
	p := new(Payload)
	if release == nil {
		p.Begin(chunks, nil)
	} else {
		p.Begin(chunks, releasing(release))
	}
	return p
}

type releasing func()

func (f releasing) Release() { f() }

// Begin makes a zero Payload what NewPayload returns: for an owner that has it among its
// fields, so that both are one allocation. A nil owner is fine.
func (p *Payload) Begin(chunks [][]byte, owner Owner) {
	p.chunks, p.owner = chunks, owner
	for _, c := range chunks {
		p.size += len(c)
	}
	p.refs.Store(1)
}

// Ref adds a reference and returns p.
func (p *Payload) Ref() *Payload {
	if p.refs.Add(1) <= 1 {
		panic("rollout: Ref of a freed Payload")
	}
	return p
}

// Free gives one reference back. A nil payload is fine.
func (p *Payload) Free() {
	if p == nil {
		return
	}
	switch left := p.refs.Add(-1); {
	case left < 0:
		panic("rollout: Payload freed twice")
	case left == 0 && p.owner != nil:
		p.owner.Release()
	}
}

// Len returns the size in bytes; 0 for a nil payload.
func (p *Payload) Len() int {
	if p == nil {
		return 0
	}
	return p.size
}

// Chunks returns the bytes in order. The caller must not change them.
func (p *Payload) Chunks() [][]byte {
	if p == nil {
		return nil
	}
	return p.chunks
}

// Bytes returns the bytes in one slice: the payload's own where it has one chunk,
// else a copy.
func (p *Payload) Bytes() []byte {
	switch {
	case p == nil:
		return nil
	case len(p.chunks) == 1:
		return p.chunks[0]
	}
	return p.AppendTo(make([]byte, 0, p.size))
}

// AppendTo appends the bytes to dst.
func (p *Payload) AppendTo(dst []byte) []byte {
	for _, c := range p.Chunks() {
		dst = append(dst, c...)
	}
	return dst
}
