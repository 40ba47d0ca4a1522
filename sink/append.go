package sink

import (
	"errors"
	"slices"
	"time"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/spool"
)

// What goes into the spool at a time, if so much is waiting. A batch is what piled up
// while the one before was written, and for a moment behind it.
const (
	batchMost = 256
	batchSize = 1 << 20
	// gatherMoment is how long the encoder lets records pile up when it has none left, unless they
	// come to gatherBytes: waking up and a write of its own cost a record more than all else.
	gatherMoment = 5 * time.Millisecond
	gatherBytes  = 512 << 10
)

// encodeAll is the encoder's goroutine: intake to spool.
func (s *Sink) encodeAll() {
	defer close(s.encoded)
	for {
		select {
		case x := <-s.intake.queue:
			s.encodeSome(x)
			s.gather()
			continue
		case <-s.stop:
		}
		break
	}
	for s.hurry.Err() == nil {
		select {
		case x := <-s.intake.queue:
			s.encodeSome(x)
		default:
			return
		}
	}
	s.emptyIntake()
}

// encodeSome makes records of x and what waits behind it, and appends them.
func (s *Sink) encodeSome(x *rollout.Exchange) {
	s.records = s.records[:0]
	for size := 0; ; {
		record := s.encodeOne(x)
		s.records = append(s.records, record)
		if size += len(record); len(s.records) == batchMost || size >= batchSize {
			break
		}
		select {
		case x = <-s.intake.queue:
			continue
		default:
		}
		break
	}
	s.append(s.records)
	s.encoder.reset()
	s.reportIntake()
	s.sender.poke()
}

// gather waits a moment for more to come.
func (s *Sink) gather() {
	if len(s.intake.queue) > 0 {
		return
	}
	t := time.NewTimer(gatherMoment)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.intake.plenty:
	case <-s.stop:
	}
}

func (s *Sink) encodeOne(x *rollout.Exchange) []byte {
	record, cut := s.encoder.encode(x)
	s.intake.done(x)
	if cut {
		s.metrics.cut.Inc()
	}
	return record
}

// append puts records into the spool and counts those that it does not keep. It may
// wait for the disk, for ever: then Close takes what is being appended for lost, which
// it does by taking s.appending.
func (s *Sink) append(records [][]byte) {
	// Counted first: the sender may have delivered them before Append returns.
	s.ledger.spooled.Add(int64(len(records)))
	at := s.opts.Clock()
	s.newest.Store(at.UnixNano())
	refused := error(nil)
	for len(records) > 0 {
		s.appending.Store(int64(len(records)))
		kept, evicted, err := s.spool.Append(records, at)
		if s.appending.Swap(0) == 0 {
			return
		}
		s.ledger.dropUnsent(DropSpoolFull, evicted)
		if err == nil {
			break
		}
		refused = err
		why, n := refusal(err), 1
		if why == DropSpoolFailed || why == DropShutdown {
			n = len(records) - kept // the others would fare no better
		}
		s.ledger.dropUnsent(why, n)
		records = records[kept+n:]
	}
	s.reportSpool(refused)
}

// refusal says why the spool did not keep a record.
func refusal(err error) rollout.Reason {
	switch {
	case errors.Is(err, spool.ErrTooLarge):
		return DropTooLarge
	case errors.Is(err, spool.ErrFull):
		return DropSpoolFull
	case errors.Is(err, spool.ErrClosed):
		return DropShutdown
	}
	return DropSpoolFailed
}

// reportIntake logs drops at the intake, for Record must not wait for a logger.
func (s *Sink) reportIntake() {
	n := s.ledger.unspooled[slices.Index(dropReasons[:], DropIntakeFull)].Load()
	if n == s.overrun {
		return
	}
	if now := s.opts.Clock(); now.Sub(s.overrunLog) >= 10*time.Second {
		s.log.Warn("records were dropped because they came faster than they can be encoded or the spool's disk takes them: "+
			"give the gateway more CPU, a faster disk, or a larger maxQueueBytes", "dropped", n-s.overrun)
		s.overrun, s.overrunLog = n, now
	}
}

// calm is how long the spool must have refused nothing before that is worth a line: one
// that is full takes a record now and then.
const calm = 10 * time.Second

// reportSpool logs when the spool begins to refuse records, for each reason, and when
// it has stopped to.
func (s *Sink) reportSpool(err error) {
	now := s.opts.Clock()
	if err == nil {
		if s.refusing != "" && now.Sub(s.refusedAt) >= calm {
			s.refusing = ""
			counts := s.Snapshot()
			s.log.Info("the spool takes records again", "spool_full_total", counts.Dropped[DropSpoolFull],
				"spool_failed_total", counts.Dropped[DropSpoolFailed])
		}
		return
	}
	why := refusal(err)
	switch before := s.refusing; {
	case why == before:
	case why == DropSpoolFailed:
		s.log.Error("the spool's disk does not take records, new ones are dropped until it does: check its space and health", "error", err)
	case why == DropSpoolFull:
		s.log.Warn("the spool is full and drops new records until Kafka catches up: "+
			"see understudy_records_dropped_total, check the brokers, or give the spool more bytes", "error", err)
	default:
		s.log.Warn("the spool refused a record, which was dropped: compare maxRecordBytes with the spool's maxBytes", "error", err)
	}
	s.refusing, s.refusedAt = why, now
}
