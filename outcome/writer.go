package outcome

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/understudy-serving/understudy/rollout"
)

const (
	// rememberEvery is how often tickets are written where no report comes. What a killed
	// process had not written can't be reported by id, only by ticket.
	rememberEvery = 500 * time.Millisecond
	// tidyEvery is how often the desk looks for hours that are over.
	tidyEvery = time.Minute
	// maxBatch reports are enough for a transaction.
	maxBatch = 1000
)

// entry is a report on its way to the disk. It is its sender's, then the writer's, and
// whoever sees done closed may read it.
type entry struct {
	name  string
	value float64
	id    [16]byte
	// packed is nil where the report came by id, until the ticket is found.
	packed []byte
	ticket rollout.Ticket

	result rollout.ReportResult
	err    error
	done   chan struct{}
}

// settle is the end of a report.
func (d *Desk) settle(e *entry, result rollout.ReportResult, err error) {
	e.result, e.err = result, err
	d.count(e)
	close(e.done)
}

// settled tells whether result and err are there to be read.
func (e *entry) settled() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// again is the same report for another try.
func (e *entry) again() *entry {
	return &entry{name: e.name, value: e.value, id: e.id, packed: e.packed, ticket: e.ticket, done: make(chan struct{})}
}

// write hands reports to the writer and waits until all are settled, or ctx or the writer
// has ended.
func (d *Desk) write(ctx context.Context, batch []*entry) {
	select {
	case d.entries <- batch:
	case <-ctx.Done():
		return
	case <-d.ended:
		return
	}
	for _, e := range batch {
		select {
		case <-e.done:
		case <-ctx.Done():
			return
		case <-d.ended:
			return
		}
	}
}

// writeUntil is the one goroutine that changes the file.
func (d *Desk) writeUntil(stop <-chan struct{}) {
	remember, tidy := time.NewTicker(rememberEvery), time.NewTicker(tidyEvery)
	defer remember.Stop()
	defer tidy.Stop()
	d.tidy()
	for {
		select {
		case batch := <-d.entries:
			d.commit(d.gather(batch))
		case <-remember.C:
			d.commit(nil)
		case <-tidy.C:
			d.tidy()
		case <-stop:
			d.commit(d.gather(nil))
			return
		}
	}
}

// gather adds the reports that wait: all share the next fsync.
func (d *Desk) gather(batch []*entry) []*entry {
	for len(batch) < maxBatch {
		select {
		case more := <-d.entries:
			batch = append(batch, more...)
		default:
			return batch
		}
	}
	return batch
}

// waiting returns the tickets that wait to be remembered. It is asked behind gather: who
// reports by id has got that id before, so its ticket waits here or is written.
func (d *Desk) waiting() (tickets [][]byte) {
	for range len(d.issued) {
		tickets = append(tickets, <-d.issued)
	}
	return tickets
}

// commit writes a batch of reports and the tickets that wait, all or nothing.
func (d *Desk) commit(batch []*entry) {
	tickets := d.waiting()
	if len(batch) == 0 && len(tickets) == 0 {
		return
	}
	var last map[string]uint64
	err := d.file.update(func(tx *bolt.Tx) (err error) {
		if err = d.remember(tx, tickets); err == nil {
			last, err = d.enter(tx, batch)
		}
		return err
	})
	if err != nil {
		d.metrics.unremembered.Add(float64(len(tickets)))
		if unsaid, ok := d.failing.say(); ok {
			d.log.Error("outcomes can't be stored; reports are answered UNAVAILABLE until they can", "error", err, "unsaid", unsaid)
		}
	}
	for model, sequence := range last {
		if err == nil {
			d.advance(model, sequence)
		}
	}
	for _, e := range batch {
		if err != nil {
			e.result, e.err = "", err
		}
		d.settle(e, e.result, e.err)
	}
	d.metrics.disk.Set(float64(d.file.size()))
	d.bound()
}

// remember stores tickets by their ids. Ids rise with time, so pages can be filled.
func (d *Desk) remember(tx *bolt.Tx, tickets [][]byte) error {
	hours := tx.Bucket(idsBucket)
	for _, packed := range tickets {
		id := [16]byte(packed[1:17])
		ids, err := hours.CreateBucketIfNotExists(hourOf(id).key())
		if err != nil {
			return err
		}
		ids.FillPercent = 0.95
		if err := ids.Put(id[:], packed); err != nil {
			return err
		}
	}
	return nil
}

// enter settles reports inside a transaction, and returns the last sequence of each model
// that got one.
func (d *Desk) enter(tx *bolt.Tx, batch []*entry) (last map[string]uint64, err error) {
	last = map[string]uint64{}
	for _, e := range batch {
		if e.result, e.err = d.find(tx, e); e.result != "" || e.err != nil {
			continue
		}
		sequence, err := d.enterOne(tx, e)
		if err != nil {
			return nil, err
		}
		if e.result == rollout.Accepted {
			last[e.ticket.Model] = sequence
		}
	}
	return last, nil
}

// find completes a report by id with its ticket; result is "" where it can be entered.
func (d *Desk) find(tx *bolt.Tx, e *entry) (result rollout.ReportResult, err error) {
	if e.packed == nil {
		ids := tx.Bucket(idsBucket).Bucket(hourOf(e.id).key())
		if ids == nil {
			return rollout.Unmatched, nil
		}
		packed := ids.Get(e.id[:])
		if packed == nil {
			return rollout.Unmatched, nil
		}
		if e.ticket, err = unpack(packed); err != nil {
			return "", err
		}
		e.packed = append([]byte(nil), packed...) // bbolt's bytes end with the transaction
		if result, err = d.judge(e.ticket, e.name); result != "" || err != nil {
			return result, err
		}
	}
	if hourOf(e.id) < d.floor {
		return rollout.Expired, nil // whether it was reported before is forgotten
	}
	return "", nil
}

// enterOne stores a report unless the outcome was reported before.
func (d *Desk) enterOne(tx *bolt.Tx, e *entry) (sequence uint64, err error) {
	seen, err := tx.Bucket(seenBucket).CreateBucketIfNotExists(hourOf(e.id).key())
	if err != nil {
		return 0, err
	}
	key := seenKey(e.id, e.name)
	if seen.Get(key) != nil {
		e.result = rollout.Duplicate
		return 0, nil
	}
	entries, err := d.entriesOf(tx, e.ticket.Model)
	if err != nil {
		return 0, err
	}
	if sequence, err = entries.NextSequence(); err != nil {
		return 0, err
	}
	now := d.opts.Clock()
	entries.FillPercent = 0.95
	if err := entries.Put(sequenceKey(sequence), packReport(now, e.name, e.value, e.packed)); err != nil {
		return 0, err
	}
	e.result = rollout.Accepted
	return sequence, seen.Put(key, []byte{1})
}

// entriesOf returns the model's log. The first sequence of a new one is the time, so that
// sequences go on rising where the file was lost: who read the old log reads on.
func (d *Desk) entriesOf(tx *bolt.Tx, model string) (*bolt.Bucket, error) {
	models := tx.Bucket(logBucket)
	if b := models.Bucket([]byte(model)); b != nil {
		return b, nil
	}
	b, err := models.CreateBucket([]byte(model))
	if err != nil {
		return nil, err
	}
	return b, b.SetSequence(uint64(max(d.opts.Clock().UnixMicro(), 0)))
}
