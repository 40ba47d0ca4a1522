package sink

import "time"

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
		file, err := s.rejects.keep(string(d.message.key), d.why, d.record)
		if err != nil {
			kept = "nowhere, it is lost: " + err.Error()
			break
		}
		kept, why = file, DropDeadLetter
	}
	if now := time.Now(); now.Sub(s.rejected) >= quiet {
		s.rejected = now
		s.sink.log.Error("the broker refuses a record for good: compare maxRecordBytes with the topic's max.message.bytes, and look at the broker's log",
			"id", string(d.message.key), "bytes", len(d.record), "kept", kept, "error", d.err)
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
	d.settled, d.record, d.message, d.why = true, nil, letter{}, nil
}
