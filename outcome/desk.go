package outcome

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"

	"github.com/understudy-serving/understudy/rollout"
)

// Options are the desk's settings and dependencies. Dir, Window, MaxBytes and Horizons are
// required.
type Options struct {
	// Dir is the desk's alone. It is made if it is missing.
	Dir string
	// KeyFile holds the key that tickets are signed with: 32 bytes, or their hexadecimal
	// digits. Where it is empty the desk makes a key of its own, in Dir.
	KeyFile string
	// Window is how long requests are remembered, and the latest that an outcome may come.
	Window time.Duration
	// MaxBytes bounds what the file holds. Hours leave early where that is not enough.
	MaxBytes int64
	// Kafka is a topic of reports; nil for none.
	Kafka *KafkaOptions
	// Horizons returns the names of the outcomes that the model's gates judge, each with the
	// age of a request up to which its outcome counts; nil for a model that is not known. It
	// is called for each report, from any goroutine, and may change its mind.
	Horizons func(model string) map[string]time.Duration
	// Clock is time.Now if nil, Logger slog.Default.
	Clock  func() time.Time
	Logger *slog.Logger
	// Registerer takes the desk's metrics; nil keeps them to itself.
	Registerer prometheus.Registerer
}

// Request is what a reporter sends.
type Request = rollout.Report

// Desk takes reports of outcomes, joins them to their requests, and keeps them for the
// gates.
type Desk struct {
	opts    Options
	log     *slog.Logger
	signer  *signer
	file    *file
	metrics *metrics

	// issued are packed tickets that wait to be remembered.
	issued chan []byte
	// entries hands reports to the writer, which takes all that wait at once.
	entries chan []*entry
	// newest has each model's last sequence, as *atomic.Uint64.
	newest sync.Map

	started atomic.Bool
	stop    sync.Once
	closing chan struct{} // closed when Run shall end
	ended   chan struct{} // closed when nothing is written any more

	failing seldom
	// The writer's own: the first hour of which all reports are known, and the hour before
	// which nothing is kept.
	floor, tidied hour
}

// maxIssued bounds the tickets that wait: half a second's at 100,000 requests a second.
const maxIssued = 1 << 16

// errClosed refuses reports after Run has ended.
var errClosed = fmt.Errorf("%w: the gateway shuts down; report again", rollout.ErrUnavailable)

// Open opens the desk's file and reads its key, both made where they are missing. Nothing is
// written before Run.
func Open(o Options) (*Desk, error) {
	if o.Horizons == nil || o.Window <= 0 || o.MaxBytes <= 0 || o.Dir == "" {
		return nil, errors.New("outcome: Dir, Window, MaxBytes and Horizons are required")
	}
	if k := o.Kafka; k != nil && (len(k.Brokers) == 0 || k.Topic == "" || k.Group == "") {
		return nil, errors.New("outcome: Kafka needs brokers, topic and group")
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	d := &Desk{opts: o, log: o.Logger, issued: make(chan []byte, maxIssued), entries: make(chan []*entry),
		closing: make(chan struct{}), ended: make(chan struct{})}
	var err error
	if d.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("outcome: %w", err)
	}
	if d.file, err = openFile(o.Dir); err != nil {
		return nil, fmt.Errorf("outcome: %w", err)
	}
	if err := d.restore(); err != nil {
		return nil, fmt.Errorf("outcome: %w", errors.Join(err, d.file.close()))
	}
	return d, nil
}

// restore reads the key and what the file says of itself.
func (d *Desk) restore() error {
	read := func() ([]byte, error) { return ownKey(d.opts.Dir) }
	if d.opts.KeyFile != "" {
		read = func() ([]byte, error) { return readKey(d.opts.KeyFile) }
	}
	key, err := read()
	if err != nil {
		return fmt.Errorf("key of tickets: %w", err)
	}
	d.signer = newSigner(key)
	d.metrics.disk.Set(float64(d.file.size()))
	return d.file.view(func(tx *bolt.Tx) error {
		d.floor = floorIn(tx)
		models := tx.Bucket(logBucket)
		return models.ForEachBucket(func(model []byte) error {
			d.advance(string(model), models.Bucket(model).Sequence())
			return nil
		})
	})
}

// Issue returns the ticket's signed text, and remembers it for those who report by id. It
// never waits: where too many tickets wait to be remembered, this one is not.
func (d *Desk) Issue(t rollout.Ticket) string {
	packed := pack(make([]byte, 0, roomyTicket), t)
	signed := d.signer.sign(packed)
	select {
	case d.issued <- packed:
	default:
		d.metrics.unremembered.Inc()
	}
	return text.EncodeToString(signed)
}

// Report takes an outcome, at most once for each request and name: the first value stands.
// An accepted one is on disk when it returns. Errors wrap rollout.ErrMalformed, ErrForged,
// ErrUnknownOutcome, ErrUnavailable or ctx's error; after the last two the report may come again,
// and is a duplicate where it had been stored.
func (d *Desk) Report(ctx context.Context, r Request) (rollout.ReportResult, error) {
	e := d.receive(r)
	if e.settled() {
		return e.result, e.err
	}
	d.write(ctx, []*entry{e})
	switch {
	case e.settled():
		return e.result, e.err
	case ctx.Err() != nil:
		return "", fmt.Errorf("outcome: %w; it may have been stored, report it again", context.Cause(ctx))
	}
	return "", errClosed
}

// receive checks a report as far as that takes no disk. Some are settled by that.
func (d *Desk) receive(r Request) *entry {
	e := &entry{name: r.Name, value: r.Value, done: make(chan struct{})}
	err := d.read(e, r)
	result := rollout.ReportResult("")
	if err == nil && e.packed != nil {
		result, err = d.judge(e.ticket, e.name)
	}
	if err != nil || result != "" {
		d.settle(e, result, err)
	}
	return e
}

// read reads the fields of a report.
func (d *Desk) read(e *entry, r Request) (err error) {
	switch {
	case (r.Ticket == "") == (r.ID == ""):
		return fmt.Errorf("%w: ticket or id: want exactly one of them", rollout.ErrMalformed)
	case r.Name == "":
		return fmt.Errorf("%w: name: is empty; want the name of an outcome", rollout.ErrMalformed)
	case math.IsNaN(r.Value) || math.IsInf(r.Value, 0):
		return fmt.Errorf("%w: value: is %v; want a finite number", rollout.ErrMalformed, r.Value)
	case r.Ticket != "":
		if e.packed, e.ticket, err = d.signer.open(r.Ticket); err == nil {
			e.id = e.ticket.ID
		}
		return err
	}
	id, err := uuid.Parse(r.ID)
	if err != nil || len(r.ID) != 36 {
		return fmt.Errorf("%w: id: want one as x-understudy-id carried it, such as 01998a72-5f3c-7cc3-98c4-dc0c0c07398f", rollout.ErrMalformed)
	}
	e.id = id
	return nil
}

// judge tells whether an outcome of the request can be taken; result is "" where it can.
func (d *Desk) judge(t rollout.Ticket, name string) (result rollout.ReportResult, err error) {
	horizons := d.opts.Horizons(t.Model)
	horizon, known := horizons[name]
	if !known {
		return "", d.unknown(t.Model, name, slices.Sorted(maps.Keys(horizons)))
	}
	if d.opts.Clock().Sub(t.At) > min(horizon, d.opts.Window) {
		return rollout.Expired, nil
	}
	return "", nil
}

// maxNamed bounds how many names an error lists, and how much of each.
const maxNamed = 20

func (d *Desk) unknown(model, name string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("%w: name: model %q has no gate that judges outcomes", rollout.ErrUnknownOutcome, model)
	}
	return fmt.Errorf("%w: name: model %q has no outcome %q; there are: %s", rollout.ErrUnknownOutcome,
		model, name[:min(len(name), 100)], strings.Join(known[:min(len(known), maxNamed)], ", "))
}

// Last returns the sequence of the model's newest report, 0 where there is none. It does not
// touch the disk.
func (d *Desk) Last(model string) uint64 {
	if n, ok := d.newest.Load(model); ok {
		return n.(*atomic.Uint64).Load()
	}
	return 0
}

// advance is the writer's: it makes sequences known once they are on disk.
func (d *Desk) advance(model string, sequence uint64) {
	n, _ := d.newest.LoadOrStore(model, new(atomic.Uint64))
	n.(*atomic.Uint64).Store(sequence)
}

// After returns the model's accepted reports behind a sequence, at most so many, in order.
// A reader that keeps the last sequence with what it has counted reads each report exactly
// once. Reports leave after the window.
func (d *Desk) After(model string, sequence uint64, most int) (found []rollout.Reported, err error) {
	err = d.file.view(func(tx *bolt.Tx) error {
		entries := tx.Bucket(logBucket).Bucket([]byte(model))
		if entries == nil {
			return nil
		}
		c := entries.Cursor()
		for k, v := c.Seek(sequenceKey(sequence + 1)); k != nil && len(found) < most; k, v = c.Next() {
			r, err := unpackReport(k, v)
			if err != nil {
				return err
			}
			found = append(found, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("outcome: %w", err)
	}
	return found, nil
}

// Run writes what is reported, lets what is old leave, and reads reports from Kafka, until
// ctx ends or Close is called. What waited by then is written.
func (d *Desk) Run(ctx context.Context) {
	if !d.started.CompareAndSwap(false, true) {
		return
	}
	defer close(d.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var reading sync.WaitGroup
	if d.opts.Kafka != nil {
		reading.Go(func() { d.consume(ctx) })
	}
	stopWriting := make(chan struct{})
	go func() {
		select {
		case <-d.closing:
			cancel()
		case <-ctx.Done():
		}
		reading.Wait() // what Kafka's reader waits for is still written
		close(stopWriting)
	}()
	d.writeUntil(stopWriting)
}

// Close ends Run, waits until it has, and gives the file back.
func (d *Desk) Close(ctx context.Context) error {
	d.stop.Do(func() { close(d.closing) })
	if d.started.CompareAndSwap(false, true) {
		close(d.ended) // Run was never called
	}
	select {
	case <-d.ended:
	case <-ctx.Done():
		return fmt.Errorf("outcome: the disk takes too long to write what was reported: %w", context.Cause(ctx))
	}
	return d.file.close()
}
