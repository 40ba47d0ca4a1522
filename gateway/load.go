package gateway

import (
	"sync/atomic"

	"github.com/understudy-serving/understudy/rollout"
)

// load is the forwarded calls under way and the bytes of their requests. It bounds what
// an overload can hold: a call beyond is refused before its request is read. Copies are
// shed before: from half of either on.
type load struct {
	calls, bytes       atomic.Int64
	maxCalls, maxBytes int64
}

// overloaded is for clients to slow down, or to go elsewhere.
var overloaded = rollout.Status{Code: rollout.ResourceExhausted, Message: "the gateway is overloaded: too many calls under way; try again later"}

// enter takes a place, which leave gives back; false where there is none.
func (l *load) enter() bool {
	if l.calls.Add(1) > l.maxCalls || l.bytes.Load() >= l.maxBytes {
		l.leave()
		return false
	}
	return true
}

// hold counts the bytes of a call's request, or takes them off again.
func (l *load) hold(size int) { l.bytes.Add(int64(size)) }

func (l *load) leave() { l.calls.Add(-1) }

// Busy tells whether half of what the gateway can hold is under way. What no client waits for
// should be left out then: clients come next.
func (g *Gateway) Busy() bool {
	l := &g.load
	return 2*l.calls.Load() > l.maxCalls || 2*l.bytes.Load() > l.maxBytes
}
