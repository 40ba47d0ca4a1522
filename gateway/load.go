package gateway

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/understudy-serving/understudy/rollout"
)

// load is the forwarded calls under way and the bytes of their requests. It bounds what
// an overload can hold: a call beyond is refused before its request is read. Copies are
// shed long before, at the mirror's own bounds.
type load struct {
	calls, bytes       atomic.Int64
	maxCalls, maxBytes int64
}

// errOverloaded is for clients to slow down, or to go elsewhere.
var errOverloaded = status.Error(codes.ResourceExhausted, "the gateway is overloaded: too many calls under way; try again later")

// enter takes a place, which leave gives back; false where there is none.
func (l *load) enter() bool {
	if l.calls.Add(1) > l.maxCalls || l.bytes.Load() >= l.maxBytes {
		l.calls.Add(-1)
		return false
	}
	return true
}

// hold counts a call's request.
func (l *load) hold(size int) { l.bytes.Add(int64(size)) }

// leave gives back the place, and what was held.
func (l *load) leave(held int) {
	l.bytes.Add(-int64(held))
	l.calls.Add(-1)
}

// headerKey is where keepHeader puts the metadata.
type headerKey struct{}

// keepHeader lends a call's metadata to its handler, which would else make a copy: the
// transport does not look at it again.
func keepHeader(ctx context.Context, info *tap.Info) (context.Context, error) {
	return context.WithValue(ctx, headerKey{}, info.Header), nil
}

// metadataOf returns a call's metadata, to be changed at will.
func metadataOf(ctx context.Context) rollout.Metadata {
	if md, ok := ctx.Value(headerKey{}).(metadata.MD); ok {
		return rollout.Metadata(md)
	}
	md, _ := metadata.FromIncomingContext(ctx) // a copy
	return rollout.Metadata(md)
}
