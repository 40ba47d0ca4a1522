package sink

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// closePatience is how long Close waits for a Kafka that takes nothing where what
	// is left is on disk.
	closePatience = 2 * time.Second
	// closeGrace is what each part gets to end once the time is over.
	closeGrace = closeWatchdog + 250*time.Millisecond
)

var (
	// errHangs says that a part did not end.
	errHangs = errors.New("the spool's disk hangs")
	// errIdle says that the flush was not worth the wait.
	errIdle = errors.New("no record is being delivered")
)

// Close stops the intake, encodes what is there, and delivers until nothing is left or
// ctx ends. Where the spool is on disk it also ends when Kafka has taken nothing for
// two seconds: what is left there is the next process's. What is left in memory counts
// as dropped("shutdown"), and the error says how much. It returns within some four
// seconds after ctx, however disk and brokers hang. Later calls wait for the first.
func (s *Sink) Close(ctx context.Context) error {
	s.once.Do(func() {
		s.closed.Store(true)
		close(s.stop)
		defer close(s.ended)
		s.err = s.flush(ctx)
	})
	<-s.ended
	return s.err
}

func (s *Sink) flush(ctx context.Context) error {
	before := s.Snapshot().Dropped[DropShutdown]
	defer s.abort()
	defer context.AfterFunc(ctx, s.abort)()
	var errs []error
	if !within(s.hurry, s.encoded) {
		s.ledger.dropUnsent(DropShutdown, int(s.appending.Swap(0)))
		s.emptyIntake()
		errs = append(errs, fmt.Errorf("append the last records: %w", errHangs))
	}
	s.sender.finish()
	done := make(chan struct{})
	go s.watchDelivery(done)
	sent := within(s.hurry, s.sender.ended)
	close(done)
	errs = append(errs, s.closeSpool(ctx, sent))
	counts := s.Snapshot()
	if dropped := counts.Dropped[DropShutdown] - before; dropped > 0 && s.hurry.Err() != nil {
		s.log.Error("records dropped at shutdown: give the flush more time, or check the brokers and the spool's disk", "records", dropped)
		why := context.Cause(ctx)
		if why == nil {
			why = errIdle
		}
		errs = append(errs, fmt.Errorf("%d records dropped at shutdown: %w", dropped, why))
	}
	if counts.Spooled > 0 && len(errs) == 0 {
		s.log.Info("records that Kafka did not take yet stay in the spool, the next process delivers them", "records", counts.Spooled)
	}
	return errors.Join(errs...)
}

// within waits for done, at most a grace beyond ctx.
func within(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-done:
		return true
	case <-grace.C:
		return false
	}
}

// watchDelivery ends the flush where Kafka takes nothing and nothing is lost by that.
func (s *Sink) watchDelivery(done <-chan struct{}) {
	tick := time.NewTicker(closePatience / 8)
	defer tick.Stop()
	last, since := s.ledger.delivered.Load(), time.Now()
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			if n := s.ledger.delivered.Load(); n != last {
				last, since = n, now
			}
			if now.Sub(since) >= closePatience && durable(s.spool) {
				s.abort()
				return
			}
		}
	}
}

// closeSpool ends the spool, which waits for the disk: within the time to flush, and a
// little more. sent tells that the sender has ended.
func (s *Sink) closeSpool(ctx context.Context, sent bool) error {
	var lost int
	var err error
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		lost, err = s.spool.Close()
	}()
	if !within(ctx, closed) {
		return fmt.Errorf("close the spool: %w", errHangs)
	}
	if sent {
		lost -= s.sender.untrimmed()
	}
	s.ledger.dropUnsent(DropShutdown, max(0, lost))
	if err != nil {
		return fmt.Errorf("close the spool: %w", err)
	}
	return nil
}
