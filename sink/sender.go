package sink

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/understudy-serving/understudy/spool"
)

// The window of records being sent, and how the sender waits for what can heal.
const (
	windowRecords = 4096
	windowBytes   = 8 << 20
	backoffMin    = 100 * time.Millisecond
	backoffMax    = 2 * time.Second
	// What is read at a time, and how many times as long as a write took the sender then
	// rests, gatherTime at least, while it works a backlog off. Compressing and sending one at full speed would
	// take the processor from the requests, right after the outage that users did not notice.
	readRecords = 512
	readBytes   = 1 << 20
	restTimes   = 2
	// gentleRecords are read at a time between rests: a burst of more is felt by requests.
	gentleRecords = 128
	// probeRecords are so many that they are not all of one partition but in an outage of all.
	probeRecords = 256
	// gatherTime is the least time between the beginnings of two writes while few records
	// come.
	gatherTime = 25 * time.Millisecond
	// maxStrikes is how often one record may get an answer that could be meant for
	// it or for all, before the broker is taken at its word; see sender.doubt.
	maxStrikes = 5
	// quiet is the least time between two log lines about the same.
	quiet = time.Second
)

// sender moves records from the spool to Kafka: one goroutine, one write at a time.
// Its window holds the oldest unsettled records in spool order. Records that fail
// stay in it and wait out a backoff while later ones go on, so that one bad
// partition does not hold up the others before it has filled the window.
type sender struct {
	sink     *Sink
	health   *health
	producer producer
	wake     chan struct{}
	stop     chan struct{} // closed by finish
	ended    chan struct{}

	window               []*delivery
	bytes                int       // of records in the window
	read                 uint64    // position of the last record read
	began                time.Time // the last write
	backoff              time.Duration
	retryAt              time.Time
	due                  bool      // the batch at hand has all records that had failed before
	barren               int       // writes in a row that delivered nothing
	outage               bool      // more than one was barren, for a single one may have held a single record
	backlog              int       // records in the spool after the last write
	gentle               bool      // it shrinks, and there is time for small writes
	accepted             int64     // records that Kafka took, ever
	rejected             time.Time // when one that it refuses was logged last
	deadLog              time.Time // when a failure of the dead letter topic was, ...
	damaged, untrimmable time.Time // ... or one of the spool
	rejects              *rejects  // nil where there is no folder for them
	entries              []spool.Entry
	batch                []*delivery
	spare                []*delivery // to be used again
}

func newSender(s *Sink, h *health, p producer) *sender {
	return &sender{sink: s, health: h, producer: p, rejects: newRejects(s.opts.RejectedDir, s.opts.Clock),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
}

// poke tells that the spool has something.
func (s *sender) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// finish lets run end once the spool is empty.
func (s *sender) finish() { close(s.stop) }

// untrimmed counts records that are settled but still in the spool: after run only.
func (s *sender) untrimmed() (n int) {
	for _, d := range s.window {
		if d.settled {
			n++
		}
	}
	return n
}

// run sends until the spool is empty after finish, or ctx ends.
func (s *sender) run(ctx context.Context) {
	defer close(s.ended)
	for ctx.Err() == nil {
		s.gather(ctx)
		batch, stopped, drained := s.next()
		if len(batch) > 0 {
			s.began = time.Now()
			s.send(ctx, batch)
			s.rest(ctx, time.Since(s.began))
			continue
		}
		if drained {
			break
		}
		s.wait(ctx, stopped)
	}
	// A write that was cut off may have reached Kafka all the same: its end counts.
	s.producer.close()
	for _, d := range s.window {
		if !d.settled && d.done.Load() && d.err == nil {
			s.deliver(d)
		}
	}
	s.trim()
}

// gather waits a moment behind the last write for more records to come: a request costs
// the same with one and with a hundred.
func (s *sender) gather(ctx context.Context) {
	left := gatherTime - time.Since(s.began)
	if left > 0 && len(s.window) == 0 && s.sink.spool.Stats().Records < readRecords {
		s.pause(ctx, left)
	}
}

// pause waits, but not longer than for Close.
func (s *sender) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.stop:
	case <-ctx.Done():
	}
}

// rest leaves the processor to the requests after a write that took so long, while a
// backlog is worked off: not when it grows all the same, and not at the end.
func (s *sender) rest(ctx context.Context, took time.Duration) {
	before := s.backlog
	s.backlog = s.sink.spool.Stats().Records
	s.gentle = s.backlog >= readRecords && s.backlog < before
	if !s.gentle {
		return
	}
	s.pause(ctx, max(restTimes*took, gatherTime))
}

// next returns what is due: failed records when their backoff is over, and fresh
// ones unless nothing gets through. drained says that after finish nothing is left.
func (s *sender) next() (batch []*delivery, stopped, drained bool) {
	select { // before the spool is read, for all is in it by then
	case <-s.stop:
		stopped = true
	default:
	}
	s.due = !time.Now().Before(s.retryAt)
	if s.outage && !s.due {
		return nil, stopped, false
	}
	probing := s.outage
	s.outage = false
	s.batch = s.batch[:0]
	for _, d := range s.window {
		if !d.settled && s.due {
			s.batch = append(s.batch, d)
		}
	}
	// What has failed is enough to find out with whether an outage is over, but for a few
	// records: those may all belong to one bad partition.
	if probing && len(s.window) >= probeRecords {
		return s.batch, stopped, false
	}
	err := s.fill()
	if err != nil {
		s.sink.log.Error("the spool can't be read, trying again: check its disk", "error", err)
		s.outage = true
		s.postpone()
	}
	return s.batch, stopped, stopped && err == nil && len(s.window) == 0
}

// fill reads fresh records into the window and the batch.
func (s *sender) fill() (err error) {
	portion := readRecords
	if s.gentle {
		portion = gentleRecords
	}
	room, bytes := min(windowRecords-len(s.window), portion), min(windowBytes-s.bytes, readBytes)
	if room <= 0 || bytes <= 0 {
		return nil
	}
	if s.entries, err = s.sink.spool.Read(s.entries[:0], s.read, room, bytes); err != nil {
		return err
	}
	for _, e := range s.entries {
		d := s.fresh()
		d.position, d.record = e.Position, e.Record
		s.read = e.Position
		s.window = append(s.window, d)
		s.bytes += len(d.record)
		if err := s.ready(d); err != nil {
			if now := time.Now(); now.Sub(s.damaged) >= quiet {
				s.damaged = now
				s.sink.log.Error("a record in the spool is damaged and was dropped: check the spool's disk", "error", err)
			}
			s.sink.ledger.dropUnsent(DropCorrupt, 1)
			s.settle(d)
			continue
		}
		s.batch = append(s.batch, d)
	}
	clear(s.entries)
	s.trim()
	return nil
}

// fresh returns an empty delivery, one that was used if there is one.
func (s *sender) fresh() *delivery {
	n := len(s.spare) - 1
	if n < 0 {
		return new(delivery)
	}
	d := s.spare[n]
	s.spare = s.spare[:n]
	*d = delivery{}
	return d
}

func (s *sender) ready(d *delivery) error {
	cut, err := s.producer.message(d)
	if cut {
		s.sink.metrics.cut.Inc()
	}
	return err
}

// wait returns when something may have become due.
func (s *sender) wait(ctx context.Context, stopped bool) {
	stop := s.stop
	if stopped {
		stop = nil
	}
	var retry <-chan time.Time
	if s.outage || len(s.window) > 0 {
		t := time.NewTimer(time.Until(s.retryAt))
		defer t.Stop()
		retry = t.C
	}
	wake := s.wake
	if s.outage {
		wake = nil
	}
	select {
	case <-wake:
	case <-retry:
	case <-stop:
	case <-ctx.Done():
	}
}

// send writes batch and settles each record by how it ended.
func (s *sender) send(ctx context.Context, batch []*delivery) {
	began := time.Now()
	for _, d := range batch {
		d.done.Store(false)
		d.err, d.company = errUnwritten, 0
	}
	s.producer.write(ctx, batch)
	if ctx.Err() != nil {
		return // run looks again when nothing is being written any more
	}
	s.sink.metrics.produce.Observe(time.Since(began).Seconds())
	var heal, dead error
	delivered, again := 0, false
	for _, d := range batch {
		if d.err == nil {
			s.deliver(d)
			delivered++
		}
	}
	for _, d := range batch {
		if d.err == nil {
			continue
		}
		now := s.judge(d)
		again = again || now
		switch {
		case now || d.settled:
		case d.why != nil:
			dead = d.err
		default:
			heal = d.err
		}
	}
	s.trim()
	if dead != nil {
		s.reportDead(dead)
	}
	s.schedule(delivered, again, heal, dead)
}

// schedule decides when to write again after a write that delivered some records, of
// which others are to be tried again at once, or failed with heal. dead is why the
// dead letter topic did not take what it should: nobody else waits for that.
func (s *sender) schedule(delivered int, again bool, heal, dead error) {
	s.outage = false
	if s.barren++; delivered > 0 {
		s.barren = 0
	}
	switch {
	case heal != nil || dead != nil:
		s.health.sent(heal)
		s.outage = heal != nil && s.barren > 1 && !again
		if s.due { // else a retry is pending: fresh failures must not put it off
			s.postpone()
		}
	case len(s.window) == 0:
		s.health.sent(nil)
		s.backoff, s.retryAt = 0, time.Time{}
	}
	if again {
		s.retryAt = time.Time{}
	}
}

// postpone puts the next try off, a little longer each time, by chance so that many
// gateways do not come back as one.
func (s *sender) postpone() {
	s.backoff = min(max(2*s.backoff, backoffMin), backoffMax)
	s.retryAt = time.Now().Add(s.backoff/2 + rand.N(s.backoff/2+1))
}

// trim lets the settled records at the front of the window go.
func (s *sender) trim() {
	n := 0
	for n < len(s.window) && s.window[n].settled {
		n++
	}
	if n == 0 {
		return
	}
	if err := s.sink.spool.Trim(s.window[n-1].position); err != nil && time.Since(s.untrimmable) >= quiet {
		s.untrimmable = time.Now()
		s.sink.log.Warn("the spool did not forget delivered records, some may be sent twice: check its disk", "error", err)
	}
	s.spare = append(s.spare, s.window[:n]...)
	s.window = append(s.window[:0], s.window[n:]...)
}
