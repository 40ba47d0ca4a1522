package sink

import (
	"sync/atomic"

	"github.com/understudy-serving/understudy/rollout"
)

// exchangeOverhead is what a queued exchange costs besides its payloads.
const exchangeOverhead = 1 << 10

// intake is the queue in front of the encoder, bounded in count and bytes.
type intake struct {
	queue    chan *rollout.Exchange
	maxBytes int64
	bytes    atomic.Int64
	enough   int64         // bytes for which the encoder need not wait for more
	plenty   chan struct{} // told when they have come
}

func newIntake(maxRecords int, maxBytes int64) *intake {
	return &intake{queue: make(chan *rollout.Exchange, maxRecords), maxBytes: maxBytes,
		enough: min(gatherBytes, maxBytes/4), plenty: make(chan struct{}, 1)}
}

// offer takes x if there is room, and never waits. An empty intake takes an exchange
// of any size, for one over the whole bound is to be cut later, not lost.
func (in *intake) offer(x *rollout.Exchange) bool {
	size := x.Size() + exchangeOverhead
	held := in.bytes.Add(size)
	if held > in.maxBytes && held != size {
		in.bytes.Add(-size)
		return false
	}
	select {
	case in.queue <- x:
		if held >= in.enough && held-size < in.enough {
			select {
			case in.plenty <- struct{}{}:
			default:
			}
		}
		return true
	default:
		in.bytes.Add(-size)
		return false
	}
}

// done frees x, which came out of the queue, and gives its room back.
func (in *intake) done(x *rollout.Exchange) {
	size := x.Size() + exchangeOverhead
	x.Free()
	in.bytes.Add(-size)
}
