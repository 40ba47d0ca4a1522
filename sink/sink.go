package sink

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/spool"
)

// Options configure a Sink. Only Kafka is required.
type Options struct {
	Kafka KafkaOptions
	// Disk keeps records on disk until Kafka has confirmed them. Without it they wait
	// in memory, and end with the process.
	Disk *spool.Options
	// RejectedDir is a folder for records that the broker refuses for good and that no
	// dead letter topic takes. Empty: they are dropped, or with Disk kept in "rejected"
	// below its folder.
	RejectedDir string
	// Spool takes the place of spool and Disk; the sink closes it.
	Spool Spool
	// MaxQueueBytes bounds the records that wait in memory: with Disk for the disk,
	// without it for Kafka. Default 64 MiB.
	MaxQueueBytes int64
	// IntakeRecords and IntakeBytes bound what waits to be encoded. Defaults 8192 and
	// 64 MiB; with Disk 65,536 and MaxQueueBytes.
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
	if o.RejectedDir == "" && o.Disk != nil {
		o.RejectedDir = filepath.Join(o.Disk.Dir, "rejected")
	}
	if o.IntakeRecords <= 0 {
		o.IntakeRecords = 8192
		if o.Disk != nil {
			o.IntakeRecords = 65_536
		}
	}
	if o.IntakeBytes <= 0 {
		o.IntakeBytes = 64 << 20
		if o.Disk != nil {
			o.IntakeBytes = o.MaxQueueBytes
		}
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
	opts     Options
	log      *slog.Logger
	ledger   ledger
	intake   *intake
	spool    Spool
	encoder  encoder
	policies policies
	sender   *sender
	metrics  *metrics

	closed  atomic.Bool   // Record takes nothing any more
	stop    chan struct{} // closed with it: the encoder empties the intake and ends
	hurry   context.Context
	abort   context.CancelFunc // the time to flush is over
	encoded chan struct{}      // the encoder has ended
	once    sync.Once
	ended   chan struct{}
	err     error // why Close failed; set before ended is closed

	newest    atomic.Int64 // when a record was appended last, in Unix nanoseconds
	appending atomic.Int64 // records that the spool is taking; see Sink.append

	// The encoder's own.
	records    [][]byte
	refusing   rollout.Reason // why the spool refused something lately, ...
	refusedAt  time.Time      // ... and when last
	overrun    int64          // drops at the intake that were logged, ...
	overrunLog time.Time
}

// New starts a sink. It waits for nothing but, for two seconds at most, the spool's
// disk: Kafka may come later, and so may the disk. An error says which setting is
// invalid; a spool that another process owns is one.
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
		opts: o, log: o.Logger, metrics: m,
		intake:  newIntake(o.IntakeRecords, o.IntakeBytes),
		encoder: encoder{limit: o.Kafka.MaxRecordBytes},
		stop:    make(chan struct{}),
		encoded: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	s.encoder.policies = &s.policies
	if err := s.open(); err != nil {
		p.close()
		return nil, err
	}
	s.found(s.spool.Stats().Records)
	if o.Registerer != nil {
		if err := m.register(o.Registerer, s, h); err != nil {
			p.close()
			_, _ = s.spool.Close() // nothing was put in
			return nil, err
		}
	}
	s.hurry, s.abort = context.WithCancel(context.Background())
	s.sender = newSender(s, h, p)
	go s.encodeAll()
	go s.sender.run(s.hurry)
	return s, nil
}

// open makes the spool that the options ask for.
func (s *Sink) open() (err error) {
	switch o := &s.opts; {
	case o.Spool != nil:
		s.spool = o.Spool
	case o.Disk == nil:
		s.spool = spool.NewMemory(o.MaxQueueBytes)
	default:
		disk := *o.Disk
		if disk.Logger == nil {
			disk.Logger = o.Logger
		}
		disk.FS = s.metrics.meter(disk.FS)
		s.spool, err = openDisk(disk, o.MaxQueueBytes, o.Logger, s.found, func(records int) {
			s.ledger.dropUnsent(DropSpoolFull, records)
		})
	}
	return err
}

// found enters what an earlier process left into the ledger.
func (s *Sink) found(records int) { s.ledger.recovered.Add(int64(records)) }

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
