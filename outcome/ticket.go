package outcome

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

const (
	// ticketVersion is a packed ticket's first byte.
	ticketVersion = 1
	// macBytes are kept of the signature: 128 bits, which nobody can guess.
	macBytes = 16
	// maxTicketText is far over what any ticket takes: the model's name and four segments.
	maxTicketText = 4 << 10
	// roomyTicket holds most tickets with their signature.
	roomyTicket = 128
)

// text is a ticket's form in metadata, JSON and command lines.
var text = base64.RawURLEncoding.Strict()

// signer makes tickets and tells its own from others'.
type signer struct{ macs sync.Pool }

func newSigner(key []byte) *signer {
	return &signer{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// sign appends the signature of what is packed.
func (s *signer) sign(packed []byte) []byte {
	mac := s.macs.Get().(hash.Hash)
	defer s.macs.Put(mac)
	mac.Reset()
	mac.Write(packed) // never fails
	return mac.Sum(packed)[:len(packed)+macBytes]
}

// open returns the packed ticket and what it says.
func (s *signer) open(ticket string) (packed []byte, t rollout.Ticket, err error) {
	if len(ticket) > maxTicketText {
		return nil, t, fmt.Errorf("%w: ticket: %d characters, want one as x-understudy-ticket carried it", rollout.ErrMalformed, len(ticket))
	}
	signed, err := text.DecodeString(ticket)
	if err != nil || len(signed) <= macBytes {
		return nil, t, fmt.Errorf("%w: ticket: want one as x-understudy-ticket carried it, whole", rollout.ErrMalformed)
	}
	packed = signed[: len(signed)-macBytes : len(signed)-macBytes]
	if !hmac.Equal(s.sign(packed), signed) {
		return nil, t, fmt.Errorf("%w: ticket: its signature is not of this gateway's key; it was changed, or comes from a gateway with another outcomes.keyFile", rollout.ErrForged)
	}
	if t, err = unpack(packed); err != nil {
		return nil, t, fmt.Errorf("%w: ticket: %w", rollout.ErrMalformed, err)
	}
	return packed, t, nil
}

// pack appends a ticket in binary form. Numbers are varints; the time is stored relative
// to the id's, which is of the same moment.
func pack(b []byte, t rollout.Ticket) []byte {
	b = append(b, ticketVersion)
	b = append(b, t.ID[:]...)
	b = appendText(b, t.Model)
	b = binary.AppendUvarint(b, t.Rollout)
	b = binary.AppendVarint(b, t.At.UnixMilli()-millisOf(t.ID))
	b = append(b, byte(t.Arm), byte(t.Vote))
	b = binary.AppendUvarint(b, t.Entered)
	b = binary.AppendVarint(b, int64(t.Index))
	b = binary.AppendUvarint(b, uint64(t.Weight))
	used := len(t.Segments)
	for used > 0 && t.Segments[used-1] == "" {
		used--
	}
	b = append(b, byte(used))
	for _, s := range t.Segments[:used] {
		b = appendText(b, s)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errCut = errors.New("it does not hold what a ticket holds")

// unpack is the inverse of pack.
func unpack(b []byte) (t rollout.Ticket, err error) {
	p := parser{rest: b}
	if v := p.byte(); v != ticketVersion {
		return t, fmt.Errorf("its version is %d, want %d; another version of the gateway made it", v, ticketVersion)
	}
	copy(t.ID[:], p.bytes(len(t.ID)))
	t.Model = p.text()
	t.Rollout = p.uvarint()
	t.At = time.UnixMilli(millisOf(t.ID) + p.varint())
	t.Arm, t.Vote = rollout.Arm(p.byte()), rollout.Vote(p.byte())
	t.Entered = p.uvarint()
	t.Index = int(p.varint())
	t.Weight = rollout.Weight(p.uvarint())
	used := int(p.byte())
	for i := range min(used, len(t.Segments)) {
		t.Segments[i] = p.text()
	}
	if p.failed || len(p.rest) > 0 || used > len(t.Segments) || t.Model == "" {
		return rollout.Ticket{}, errCut
	}
	return t, nil
}

// parser takes fields off the front of bytes. Where they end too early it has failed, and
// returns zeroes.
type parser struct {
	rest   []byte
	failed bool
}

func (p *parser) bytes(n int) []byte {
	if n < 0 || n > len(p.rest) {
		p.failed, p.rest = true, nil
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) byte() byte {
	if b := p.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.rest)
	return number(p, v, n)
}

func (p *parser) varint() int64 {
	v, n := binary.Varint(p.rest)
	return number(p, v, n)
}

func number[T any](p *parser, v T, n int) (zero T) {
	if n <= 0 || p.bytes(n) == nil {
		p.bytes(-1)
		return zero
	}
	return v
}

func (p *parser) text() string {
	n := p.uvarint()
	return string(p.bytes(int(min(n, maxTicketText))))
}

// millisOf returns when a UUIDv7 was made, in milliseconds since 1970.
func millisOf(id [16]byte) int64 {
	return int64(binary.BigEndian.Uint64(id[:8]) >> 16)
}
