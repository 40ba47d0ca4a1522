package sink

import (
	"context"
	"errors"
	"sync/atomic"
)

// producer sends records to Kafka.
type producer interface {
	// message readies d for the broker, and tells whether payloads had to go for it.
	// An error says that d.record is no record.
	message(d *delivery) (cut bool, err error)
	// write sends batch, and returns when the end of each delivery is known or ctx
	// has ended; how each ended stands in the deliveries.
	write(ctx context.Context, batch []*delivery)
	// close cuts off what is still being written, and returns when nothing is any more,
	// or after a second.
	close()
}

// delivery is one record on its way to Kafka.
type delivery struct {
	position uint64
	record   []byte
	message  letter
	// alone asks for a produce request of its own, so that its answer is about
	// nothing else.
	alone   bool
	cuts    int // how often it was cut on the way
	strikes int // see sender.doubt
	seen    int64
	settled bool
	// why is the answer for which the topic will never take it; nil as long as that is
	// not so. It is a dead letter then.
	why error

	// How the last write ended, filled in by the producer. done tells that the
	// answer in err is the broker's or the transport's for the very request that
	// carried the record, along with company-1 others.
	done    atomic.Bool
	err     error
	company int
}

// end says how the last write ended.
func (d *delivery) end(err error, company int) {
	d.err, d.company = err, company
	d.done.Store(true)
}

// errUnwritten is the end of a delivery for which there was no answer.
var errUnwritten = errors.New("no answer")
