package sink

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/understudy-serving/understudy/spool"
)

// The window of records being sent, and how the sender waits for what can heal.
const (
	windowRecords = 4096
	windowBytes   = 8 << 20
	backoffMin    = 100 * time.Millisecond
	backoffMax    = 2 * time.Second
	// maxStrikes is how often one record may get an answer that could be meant for
	// it or for all, before the broker is taken at its word; see sender.doubt.
	maxStrikes = 5
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

	window   []*delivery
	bytes    int    // of records in the window
	read     uint64 // position of the last record read
	backoff  time.Duration
	retryAt  time.Time
	due      bool      // the batch at hand has all records that had failed before
	barren   int       // writes in a row that delivered nothing
	outage   bool      // more than one was barren, for a single one may have held a single record
	accepted int64     // records that Kafka took, ever
	rejected time.Time // when one that it refuses was logged last
	deadLog  time.Time // when a failure of the dead letter topic was
	rejects  *rejects  // nil where there is no folder for them
	entries  []spool.Entry
	batch    []*delivery
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
		batch, stopped, drained := s.next()
		if len(batch) > 0 {
			s.send(ctx, batch)
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
	s.outage = false
	s.batch = s.batch[:0]
	for _, d := range s.window {
		if !d.settled && s.due {
			s.batch = append(s.batch, d)
		}
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
	room, bytes := windowRecords-len(s.window), windowBytes-s.bytes
	if room <= 0 || bytes <= 0 {
		return nil
	}
	if s.entries, err = s.sink.spool.Read(s.entries[:0], s.read, room, bytes); err != nil {
		return err
	}
	fresh := make([]delivery, len(s.entries))
	for i, e := range s.entries {
		d := &fresh[i]
		d.position, d.record = e.Position, e.Record
		s.read = e.Position
		s.window = append(s.window, d)
		s.bytes += len(d.record)
		if err := s.ready(d); err != nil {
			s.sink.log.Error("a record in the spool is damaged and was dropped: check the spool's disk", "error", err)
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

// judge decides what becomes of a record whose write failed, and whether to try it
// again at once.
func (s *sender) judge(d *delivery) (again bool) {
	verdict, reason := classify(d.err)
	s.sink.metrics.errors.WithLabelValues(reason).Inc()
	switch {
	case verdict == heals:
		return false
	case verdict == tooLarge && d.company > 1:
		return true // the producer makes its requests smaller
	case verdict == tooLarge:
		return s.shrink(d)
	case d.company > 1:
		d.alone = true // find out which one was meant
		return true
	case verdict == doubtful && s.doubt(d):
		return false
	}
	return s.reject(d)
}

// doubt tells whether the broker's answer to a record may have been meant for all
// records, and will heal: yes, until it has come maxStrikes times while the broker
// took others.
func (s *sender) doubt(d *delivery) bool {
	if d.strikes == 0 {
		d.seen = s.accepted
	}
	d.strikes++
	return d.strikes < maxStrikes || d.seen == s.accepted
}

// shrink cuts a record that the broker found too large, harder each time.
func (s *sender) shrink(d *delivery) (again bool) {
	for d.cuts < 2 {
		d.cuts++
		smaller, err := recut(d.record, d.cuts > 1)
		if err != nil {
			break
		}
		if len(smaller) >= len(d.record) {
			continue
		}
		s.bytes += len(smaller) - len(d.record)
		d.record = smaller
		if s.ready(d) != nil {
			break
		}
		s.sink.metrics.cut.Inc()
		return true
	}
	return s.reject(d)
}

// reject gives up on d as a record of the topic. It is tried again at once where there
// is a dead letter topic.
func (s *sender) reject(d *delivery) (again bool) {
	first := d.why == nil
	if first {
		d.why = d.err
	}
	kept := "nowhere, it is lost: configure a spool or a dead letter topic"
	why := DropRejected
	switch {
	case first && s.sink.opts.Kafka.DeadLetterTopic != "":
		d.alone, d.strikes, again = true, 0, true
		kept = "topic " + s.sink.opts.Kafka.DeadLetterTopic
		if s.ready(d) != nil {
			again = false
		}
	case s.rejects != nil:
		file, err := s.rejects.keep(string(d.message.Key), d.why, d.record)
		if err != nil {
			kept = "nowhere, it is lost: " + err.Error()
			break
		}
		kept, why = file, DropDeadLetter
	}
	if now := time.Now(); now.Sub(s.rejected) >= time.Second { // one a second is enough to see why
		s.rejected = now
		s.sink.log.Error("the broker refuses a record for good: compare maxRecordBytes with the topic's max.message.bytes, and look at the broker's log",
			"id", string(d.message.Key), "bytes", len(d.record), "kept", kept, "error", d.err)
	}
	if !again {
		s.sink.ledger.dropUnsent(why, 1)
		s.settle(d)
	}
	return again
}

// reportDead logs once a minute that dead letters wait.
func (s *sender) reportDead(err error) {
	if now := time.Now(); now.Sub(s.deadLog) >= time.Minute {
		s.deadLog = now
		s.sink.log.Error("the dead letter topic does not take records, they wait: create it, and check its ACLs",
			"topic", s.sink.opts.Kafka.DeadLetterTopic, "error", err)
	}
}

// deliver counts a record that Kafka took, as a dead letter if it is one.
func (s *sender) deliver(d *delivery) {
	if d.why != nil {
		s.sink.ledger.dropUnsent(DropDeadLetter, 1)
	} else {
		s.accepted++
		s.sink.ledger.delivered.Add(1)
	}
	s.settle(d)
}

// settle lets go of a record that has been counted.
func (s *sender) settle(d *delivery) {
	s.bytes -= len(d.record)
	d.settled, d.record, d.message, d.why = true, nil, kafka.Message{}, nil
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
	if err := s.sink.spool.Trim(s.window[n-1].position); err != nil {
		s.sink.log.Warn("the spool did not forget delivered records, some may be sent twice: check its disk", "error", err)
	}
	clear(s.window[:n])
	if s.window = s.window[n:]; len(s.window) == 0 {
		s.window = nil
	}
}
