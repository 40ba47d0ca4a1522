package rollout

import "sync/atomic"

// Payload is a protobuf message as received: immutable bytes in one or more chunks,
// shared by counting references. Whoever keeps it beyond a call takes a Ref and calls
// Free once; behind the last Free the bytes may be reused, so nobody may keep a slice
// of them.
type Payload struct {
	refs    atomic.Int32
	chunks  [][]byte
	size    int
	release func()
}

// NewPayload returns a payload with one reference. release, if not nil, runs at the
// last Free.
func NewPayload(chunks [][]byte, release func()) *Payload {
	p := &Payload{chunks: chunks, release: release}
	for _, c := range chunks {
		p.size += len(c)
	}
	p.refs.Store(1)
	return p
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
	case left == 0 && p.release != nil:
		p.release()
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
