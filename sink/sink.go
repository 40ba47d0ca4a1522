package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/rollout"
)

// Options configure a Sink. Only Kafka is required.
type Options struct {
	Kafka KafkaOptions
	// Spool replaces the spool in memory; the sink closes it.
	Spool Spool
	// MaxQueueBytes bounds the spool in memory. Default 64 MiB.
	MaxQueueBytes int64
	// IntakeRecords and IntakeBytes bound what waits to be encoded.
	// Defaults 8192 and 64 MiB.
	IntakeRecords int
	IntakeBytes   int64

	Registerer prometheus.Registerer
	Logger     *slog.Logger
	// Clock tells the time; default time.Now.
	Clock func() time.Time
}

func (o *Options) setDefaults() {
	if o.MaxQueueBytes <= 0 {
		o.MaxQueueBytes = 64 << 20
	}
	if o.Spool == nil {
		o.Spool = NewMemorySpool(o.MaxQueueBytes)
	}
	if o.IntakeRecords <= 0 {
		o.IntakeRecords = 8192
	}
	if o.IntakeBytes <= 0 {
		o.IntakeBytes = 64 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
}

// Sink records exchanges on a Kafka topic. See the package's documentation.
type Sink struct {
	opts    Options
	log     *slog.Logger
	ledger  ledger
	intake  *intake
	spool   Spool
	encoder encoder
	sender  *sender
	metrics *metrics

	closed  atomic.Bool   // Record takes nothing any more
	stop    chan struct{} // closed with it: the encoder empties the intake and ends
	hurry   context.Context
	abort   context.CancelFunc // the time to flush is over
	encoded chan struct{}      // the encoder has ended
	once    sync.Once
	ended   chan struct{}
	err     error // why Close failed; set before ended is closed

	// The encoder's own.
	full       bool  // the spool refused the last record
	overrun    int64 // drops at the intake that were logged, ...
	overrunLog time.Time
}

// New starts a sink. It waits for nothing: Kafka may come later. An error says which
// setting is invalid.
func New(o Options) (*Sink, error) {
	if err := o.Kafka.setDefaults(); err != nil {
		return nil, err
	}
	o.setDefaults()
	m, health := newMetrics(), newHealth(o.Logger, o.Kafka, o.Clock)
	p, err := newKafkaProducer(o.Kafka, health)
	if err != nil {
		return nil, err
	}
	return start(o, m, health, p)
}

// start is New behind the choice of a producer.
func start(o Options, m *metrics, h *health, p producer) (*Sink, error) {
	s := &Sink{
		opts: o, log: o.Logger, spool: o.Spool, metrics: m,
		intake:  newIntake(o.IntakeRecords, o.IntakeBytes),
		encoder: encoder{limit: o.Kafka.MaxRecordBytes},
		stop:    make(chan struct{}),
		encoded: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	s.ledger.recovered.Store(int64(s.spool.Stats().Records))
	if o.Registerer != nil {
		if err := m.register(o.Registerer, s, h); err != nil {
			p.close()
			return nil, err
		}
	}
	s.hurry, s.abort = context.WithCancel(context.Background())
	s.sender = newSender(s, h, p)
	go s.encodeAll()
	go s.sender.run(s.hurry)
	return s, nil
}

// Accept enters one eligible request into the ledger. Record or nothing follows: a
// request accepted here stays in flight until its exchange is recorded. It takes no lock.
func (s *Sink) Accept() { s.ledger.eligible.Add(1) }

// Record takes x over and never waits. x becomes exactly one record or one counted
// drop; its payloads are freed.
func (s *Sink) Record(x *rollout.Exchange) {
	switch {
	case s.closed.Load():
		s.refuse(x, DropShutdown)
	case !s.intake.offer(x):
		s.refuse(x, DropIntakeFull)
	default:
		s.swept()
	}
}

// swept sees to it that nothing stays in the intake where Close came between Record's
// look at closed and the offer: the encoder may have left already.
func (s *Sink) swept() {
	if s.closed.Load() {
		s.emptyIntake()
	}
}

func (s *Sink) refuse(x *rollout.Exchange, why rollout.Reason) {
	x.Free()
	s.ledger.dropUnspooled(why)
}

func (s *Sink) emptyIntake() {
	for {
		select {
		case x := <-s.intake.queue:
			s.intake.done(x)
			s.ledger.dropUnspooled(DropShutdown)
		default:
			return
		}
	}
}

// Snapshot returns the ledger as it stands at one instant during the call.
func (s *Sink) Snapshot() Counts { return s.ledger.counts() }

// encodeAll is the encoder's goroutine: intake to spool.
func (s *Sink) encodeAll() {
	defer close(s.encoded)
	for {
		select {
		case x := <-s.intake.queue:
			s.encodeOne(x)
			continue
		case <-s.stop:
		}
		break
	}
	for s.hurry.Err() == nil {
		select {
		case x := <-s.intake.queue:
			s.encodeOne(x)
		default:
			return
		}
	}
	s.emptyIntake()
}

func (s *Sink) encodeOne(x *rollout.Exchange) {
	record, cut := s.encoder.encode(x)
	s.intake.done(x)
	if cut {
		s.metrics.cut.Inc()
	}
	// Counted first: the sender may have delivered the record before Append returns.
	s.ledger.spooled.Add(1)
	evicted, err := s.spool.Append(record, s.opts.Clock())
	if err != nil {
		evicted++
	}
	s.ledger.dropUnsent(DropSpoolFull, evicted)
	s.reportSpool(err)
	s.reportIntake()
	s.sender.poke()
}

// reportIntake logs drops at the intake, for Record must not wait for a logger.
func (s *Sink) reportIntake() {
	n := s.ledger.unspooled[slices.Index(dropReasons[:], DropIntakeFull)].Load()
	if n == s.overrun {
		return
	}
	if now := s.opts.Clock(); now.Sub(s.overrunLog) >= 10*time.Second {
		s.log.Warn("records were dropped because they came faster than they can be encoded: give the gateway more CPU, or the intake more room",
			"dropped", n-s.overrun)
		s.overrun, s.overrunLog = n, now
	}
}

// reportSpool logs the first refusal of the spool in a row, and its end.
func (s *Sink) reportSpool(err error) {
	switch {
	case err != nil && !s.full:
		s.log.Warn("the spool takes no more records and drops new ones until Kafka catches up: "+
			"see understudy_records_dropped_total, check the brokers, or give the queue more bytes", "error", err)
	case err == nil && s.full:
		s.log.Info("the spool takes records again", "spool_full_total", s.Snapshot().Dropped[DropSpoolFull])
	}
	s.full = err != nil
}

// Close stops the intake, then encodes and delivers what is there until ctx ends.
// What is left then, but for a durable spool, counts as dropped("shutdown"), and the
// error says how much. It returns at most a second after ctx. Later calls wait for
// the first.
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
	<-s.encoded
	s.sender.finish()
	<-s.sender.ended
	lost, err := s.spool.Close()
	s.ledger.dropUnsent(DropShutdown, max(0, lost-s.sender.untrimmed()))
	if err != nil {
		err = fmt.Errorf("close the spool: %w", err)
	}
	if dropped := s.Snapshot().Dropped[DropShutdown] - before; dropped > 0 && ctx.Err() != nil {
		s.log.Error("records dropped at shutdown: give the flush more time, or check the brokers", "records", dropped)
		err = errors.Join(err, fmt.Errorf("%d records dropped at shutdown: %w", dropped, context.Cause(ctx)))
	}
	return err
}
