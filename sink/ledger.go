package sink

import (
	"slices"
	"sync/atomic"

	"github.com/understudy-serving/understudy/rollout"
)

// Why a record was dropped: all values of the label `reason`.
const (
	// DropIntakeFull says that exchanges came faster than they could be encoded, or
	// than the disk took them.
	DropIntakeFull rollout.Reason = "intake_full"
	// DropSpoolFull says that the spool has reached its bound; Kafka is slow or down.
	// The record was the newest one or, by choice, the oldest.
	DropSpoolFull rollout.Reason = "spool_full"
	// DropSpoolFailed says that the spool's disk failed or had no space.
	DropSpoolFailed rollout.Reason = "spool_failed"
	// DropTooLarge says that the record is over what the spool could ever take.
	DropTooLarge rollout.Reason = "too_large"
	// DropCorrupt says that the spool gave back no record: its disk has damaged it.
	DropCorrupt rollout.Reason = "corrupt"
	// DropDeadLetter says that the broker refuses this very record for good, and that
	// it was kept beside the topic: on the dead letter topic, or in a file.
	DropDeadLetter rollout.Reason = "dead_letter"
	// DropRejected says that the broker refuses it, and that it could not be kept.
	DropRejected rollout.Reason = "rejected"
	// DropShutdown says that the time to flush ran out, or that the record came after it.
	DropShutdown rollout.Reason = "shutdown"
)

var dropReasons = [...]rollout.Reason{DropIntakeFull, DropSpoolFull, DropSpoolFailed, DropTooLarge,
	DropCorrupt, DropDeadLetter, DropRejected, DropShutdown}

// Counts is the ledger at one instant. At every instant
//
//	Eligible + Recovered = Delivered + Spooled + InFlight + Σ Dropped
//
// and no term is negative.
type Counts struct {
	// Eligible counts calls of Accept.
	Eligible int64
	// Recovered counts the records that the spool already held at the start.
	Recovered int64
	// Delivered counts records that Kafka has confirmed.
	Delivered int64
	// Spooled records wait for Kafka, those being appended or sent included.
	Spooled int64
	// InFlight requests are accepted and not yet spooled or dropped.
	InFlight int64
	// Dropped has an entry for each reason, 0 included.
	Dropped map[rollout.Reason]int64
}

// DroppedTotal sums Dropped.
func (c Counts) DroppedTotal() int64 {
	var n int64
	for _, dropped := range c.Dropped {
		n += dropped
	}
	return n
}

// ledger counts records. The client's path adds to it, so it has no lock: its
// counters only rise, each counts one way through the sink, and a record is counted
// upstream before it is counted downstream. What is in between (in flight, spooled)
// is never stored but is the difference of its two sides, so the equation of Counts
// holds by construction; and because counts reads the downstream side first, no
// difference comes out negative.
type ledger struct {
	eligible  atomic.Int64
	recovered atomic.Int64
	spooled   atomic.Int64 // offered to the spool by this process, refused ones included
	delivered atomic.Int64
	unspooled [len(dropReasons)]atomic.Int64 // dropped on the way to the spool
	unsent    [len(dropReasons)]atomic.Int64 // dropped at or behind the spool
}

func (l *ledger) dropUnspooled(why rollout.Reason) {
	l.unspooled[slices.Index(dropReasons[:], why)].Add(1)
}

func (l *ledger) dropUnsent(why rollout.Reason, n int) {
	l.unsent[slices.Index(dropReasons[:], why)].Add(int64(n))
}

func (l *ledger) counts() Counts {
	c := Counts{Dropped: make(map[rollout.Reason]int64, len(dropReasons))}
	var unsent, unspooled int64
	c.Delivered = l.delivered.Load()
	for i, why := range dropReasons {
		n := l.unsent[i].Load()
		unsent += n
		c.Dropped[why] = n
	}
	spooled := l.spooled.Load()
	for i, why := range dropReasons {
		n := l.unspooled[i].Load()
		unspooled += n
		c.Dropped[why] += n
	}
	c.Eligible, c.Recovered = l.eligible.Load(), l.recovered.Load()
	c.Spooled = c.Recovered + spooled - c.Delivered - unsent
	c.InFlight = c.Eligible - spooled - unspooled
	return c
}
