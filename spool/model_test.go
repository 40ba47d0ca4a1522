package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// The model test drives a spool over a file system that forgets, ends its process or
// takes its power away at any change, and holds what comes back to what was promised:
//
//   - what was acknowledged is there, or was trimmed, or counted as evicted, or lost in
//     a power loss that the mode of fsync admits;
//   - nothing else is there: no record that was refused, evicted or whose segment was
//     trimmed away, none twice, none altered, none out of order;
//   - no position comes twice.

// crashes is how many ends of a process the model test goes through.
func crashes(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("UNDERSTUDY_CRASHES"))
	if err != nil {
		if n = 600; testing.Short() {
			n = 200
		}
	}
	t.Logf("%d crashes; UNDERSTUDY_CRASHES sets another number", n)
	return n
}

const crashesPerWorld = 4

func TestPowerLoss(t *testing.T) {
	for _, mode := range []Fsync{Always, Interval, Never} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			var sum tally
			for seed := range uint64(max(1, crashes(t)/3/crashesPerWorld)) {
				w := newWorld(seed, mode, "")
				if err := w.run(crashesPerWorld); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				sum.add(w.tally)
			}
			t.Logf("%+v", sum)
			if sum.Recovered == 0 || sum.Evicted == 0 || sum.Refused == 0 || sum.Trimmed == 0 {
				t.Error("the test does not reach all it should")
			}
		})
	}
}

// misses are worlds that miss an fsync, where that takes long to find. A change to the
// spool or the test may make them wrong: then the search only takes longer, and its log
// says which ones to put here.
var misses = map[string]struct {
	mode Fsync
	seed uint64
}{
	"anchor in Append":      {Never, 456},
	"anchor in Trim":        {Interval, 1766},
	"copyTail in Append":    {Interval, 90},
	"disown in Append":      {Always, 127},
	"syncRemoved in Append": {Never, 22},
	"syncRound in Append":   {Interval, 150},
	"salvage in Append":     {Interval, 2160},
	"salvage in Close":      {Always, 61},
	"salvage in syncRound":  {Interval, 689},
}

// Every fsync is there for a reason: without it a promise breaks.
func TestEachFsyncIsNeeded(t *testing.T) {
	sites := map[string]bool{}
	for _, mode := range []Fsync{Always, Interval, Never} {
		for seed := range uint64(40) {
			w := newWorld(seed, mode, "")
			if err := w.run(crashesPerWorld); err != nil {
				t.Fatal(err)
			}
			for site := range w.fs.sites {
				sites[site] = true
			}
		}
	}
	if len(sites) < 15 {
		t.Errorf("only %d call sites are reached", len(sites))
	}
	for _, site := range slices.Sorted(maps.Keys(sites)) {
		t.Run(site, func(t *testing.T) {
			t.Parallel()
			if m, ok := misses[site]; ok && newWorld(m.seed, m.mode, site).run(crashesPerWorld) != nil {
				return
			}
			const seeds = 3000
			for seed := range uint64(seeds) {
				for _, mode := range []Fsync{Always, Interval, Never} {
					if err := newWorld(seed, mode, site).run(crashesPerWorld); err != nil {
						t.Logf("%s, seed %d: %v", mode, seed, err)
						return
					}
				}
			}
			t.Errorf("%d worlds did not miss it", 3*seeds)
		})
	}
}

// tally is what a run has seen.
type tally struct{ Kills, Losses, Acknowledged, Refused, Evicted, Trimmed, Recovered, Forgiven int }

func (t *tally) add(u tally) {
	t.Kills += u.Kills
	t.Losses += u.Losses
	t.Acknowledged += u.Acknowledged
	t.Refused += u.Refused
	t.Evicted += u.Evicted
	t.Trimmed += u.Trimmed
	t.Recovered += u.Recovered
	t.Forgiven += u.Forgiven
}

type fate int

const (
	unknown fate = iota // Append did not return, or could not disown it
	kept
	refused
)

// item is one record and what was said of it.
type item struct {
	id       int
	bytes    []byte
	fate     fate
	position uint64
	acked    bool // by Append; else it was found
	life     int  // which process appended it
	safe     bool // it must survive a power loss
	trimmed  bool // delivered: it may come back
	gone     bool // evicted, or its segment is removed: it must not
	free     bool // evicted, but the process ended or the disk failed at it
	lost     bool // in a way that the mode admits
}

type world struct {
	r      *rand.Rand
	fs     *modelFS
	mode   Fsync
	o      Options
	d      *Disk
	now    time.Time
	items  []*item
	byPos  map[uint64]*item
	high   uint64 // the highest position used
	read   uint64
	life   int
	faulty bool // changes fail in this life
	lazy   bool // the consumer is
	tally  tally
}

func newWorld(seed uint64, mode Fsync, skip string) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &world{r: r, fs: newModelFS(r), mode: mode, byPos: map[uint64]*item{}, now: time.Unix(1e9, 0)}
	w.fs.skip, w.lazy = skip, r.IntN(2) == 0
	w.o = Options{Dir: "/spool", FS: w.fs, MaxBytes: 16 << 10, SegmentBytes: 1 << (9 + r.IntN(3)),
		ReserveBytes: 1 << 10, Fsync: mode, Full: DropNewest, manual: true,
		Now: func() time.Time { w.now = w.now.Add(time.Minute); return w.now }}
	if r.IntN(2) == 0 {
		w.o.Full = DropOldest
	}
	if seed%3 == 0 { // not by r, for the seeds in misses
		w.o.UnsyncedBytes = 1 << (9 + seed%5)
	}
	return w
}

// run lives through n ends of the process, some in the midst of starting.
func (w *world) run(n int) error {
	for range n {
		if err := w.start(); err != nil {
			return fmt.Errorf("life %d, start: %w", w.life, err)
		}
		if err := w.live(); err != nil {
			return fmt.Errorf("life %d: %w", w.life, err)
		}
	}
	w.faulty = false
	if err := w.start(); err != nil {
		return fmt.Errorf("last start: %w", err)
	}
	return nil
}

// start opens the spool, whatever it takes, and checks what is there.
func (w *world) start() error {
	w.life++
	w.d, w.fs.syncFailed = nil, 0
	for range w.r.IntN(3) {
		w.fs.endAt = 1 + w.r.IntN(12)
		d, err := Open(w.o)
		if err == nil {
			_, _ = d.Close()
		} else if !errors.Is(err, errEnded) {
			return err
		}
		w.end()
	}
	if w.r.IntN(3) == 0 {
		w.fs.faulty = faults(w.r, 4, "write sync syncdir create rename remove")
	}
	for {
		d, err := Open(w.o)
		switch {
		case err == nil && !w.fs.ended:
			w.fs.faulty = nil
			w.d, w.read = d, 0
			return w.check()
		case w.fs.ended:
			w.end()
		case w.fs.faulty == nil:
			return err
		}
		w.fs.faulty = nil
	}
}

// end ends the process, one way or the other.
func (w *world) end() {
	kill := w.r.IntN(3) == 0
	if kill {
		w.fs.restart()
		w.tally.Kills++
	} else {
		w.fs.powerLoss()
		w.tally.Losses++
	}
	broken := w.d != nil && slices.ContainsFunc(w.d.segments, func(s *segment) bool { return s.broken })
	for _, it := range w.items {
		// An fsync that failed, and was not made up for, may cost what a kill does not.
		if kill && !broken && (w.fs.syncFailed == 0 || it.life == w.life && w.mode != Never) {
			continue
		}
		if it.fate == kept && !it.safe && (w.mode != Always || !it.acked) {
			it.lost = true // maybe; check knows
		}
	}
}

// live does this and that until the process ends.
func (w *world) live() error {
	if w.faulty = w.r.IntN(2) == 0; w.faulty {
		w.fs.faulty = faults(w.r, 3+w.r.IntN(20), []string{"write sync", "write", "sync", "create rename", "write sync syncdir create rename remove"}[w.r.IntN(5)])
	}
	w.fs.endAt = w.fs.ops + 1 + w.r.IntN(8<<w.r.IntN(7))
	for range 1 + w.r.IntN(8<<w.r.IntN(6)) {
		if err := w.step(); err != nil {
			return err
		}
		if w.fs.ended {
			break
		}
		if len(w.d.unnamed) == 0 {
			w.disowned()
		}
	}
	return w.shut()
}

// shut closes the spool, unless the process is gone.
func (w *world) shut() error {
	before := w.kept()
	_, err := w.d.Close()
	w.fs.faulty = nil
	if err == nil && !w.fs.ended {
		if err := w.mark(before); err != nil {
			return err
		}
	}
	w.end()
	return nil
}

func (w *world) step() error {
	switch n := w.r.IntN(20); {
	case n < 9:
		return w.append()
	case n < 17 && w.lazy && w.r.IntN(12) > 0:
		return w.append()
	case n < 14:
		return w.take()
	case n < 17:
		return w.trim()
	case n < 19 && w.mode == Interval:
		before := w.kept()
		if err := w.d.syncRound(); err == nil && !w.fs.ended {
			return w.mark(before)
		}
	}
	return nil
}

// disowned makes refusals firm: their bytes are not in the spool.
func (w *world) disowned() {
	for _, it := range w.items {
		if it.fate == unknown && it.life == w.life {
			it.fate = refused
		}
	}
}

func (w *world) kept() (items []*item) {
	for _, it := range w.items {
		if it.fate == kept && !it.trimmed && !it.gone && !it.free && !it.lost {
			items = append(items, it)
		}
	}
	return items
}

// mark enters that items are durable now. Those that a failed fsync has cost before are
// not; it can cost none whose bytes are kept in memory, those of this process.
func (w *world) mark(items []*item) error {
	there := w.intact()
	for _, it := range items {
		switch {
		case there[it.position]:
			// Never copies nothing that it found, so an fsync of it proves little.
			it.safe = it.safe || it.life == w.life || w.mode != Never
		case it.safe || it.life == w.life && w.mode != Never:
			return fmt.Errorf("record %d is lost at an fsync (durable: %v)", it.id, it.safe)
		default:
			it.lost, it.free = true, true
		}
	}
	return nil
}

// intact returns which positions can be read.
func (w *world) intact() map[uint64]bool {
	m := map[uint64]bool{}
	for _, s := range w.d.segments {
		file, err := s.open(w.fs, w.o.Dir)
		if err != nil {
			continue
		}
		scan := s.scan(liveReader{w.d, s, file})
		for f, ok, err := scan.frame(); ok && err == nil; f, ok, err = scan.frame() {
			if f.intact {
				m[f.position] = true
			}
		}
	}
	return m
}

// append appends a batch, and follows where each record went.
func (w *world) append() error {
	var batch [][]byte
	var items []*item
	for range 1 + w.r.IntN(5) {
		it := &item{id: len(w.items), life: w.life}
		it.bytes = binary.LittleEndian.AppendUint32(nil, uint32(it.id))
		for range w.r.IntN(1 << (1 + w.r.IntN(9))) {
			it.bytes = append(it.bytes, byte(w.r.Uint32()))
		}
		if w.r.IntN(8) == 0 {
			it.bytes = append(it.bytes, marker...)
		}
		w.items, items = append(w.items, it), append(items, it)
		batch = append(batch, it.bytes)
	}
	syncs, before := w.fs.dirFailed, w.positions(w.d.trimmed)
	n, evicted, err := w.d.Append(batch, w.now)
	if (n == len(batch)) != (err == nil) {
		return fmt.Errorf("kept %d of %d with error %w", n, len(batch), err)
	}
	there := w.there()
	before = slices.DeleteFunc(before, func(p uint64) bool { return there[p] })
	if fresh := len(w.positions(w.high)); len(before)+n-fresh != evicted {
		return fmt.Errorf("%d evicted, said to be %d", len(before)+n-fresh, evicted)
	}
	return w.follow(items, n, syncs != w.fs.dirFailed)
}

func (w *world) follow(items []*item, n int, dirFailed bool) error {
	fresh := w.positions(w.high)
	if len(fresh) > n {
		return fmt.Errorf("%d new positions for %d records", len(fresh), n)
	}
	for i, it := range items[:n] {
		it.fate, it.acked, it.safe = kept, true, w.mode == Always
		w.tally.Acknowledged++
		if i < n-len(fresh) {
			it.gone = true // evicted in the same call
			continue
		}
		it.position = fresh[i-n+len(fresh)]
		if w.byPos[it.position] != nil {
			return fmt.Errorf("position %x comes twice", it.position)
		}
		w.byPos[it.position] = it
		w.high = it.position
	}
	w.tally.Refused += len(items) - n
	there := w.there()
	for _, it := range w.items {
		if it.fate != kept || it.trimmed || it.gone || it.free || it.lost || there[it.position] {
			continue
		}
		w.tally.Evicted++
		it.gone = !w.fs.ended && !dirFailed
		it.free = !it.gone
	}
	return nil
}

// positions returns those over high that the spool has, and there whether it has one.
func (w *world) positions(high uint64) (ps []uint64) {
	for _, s := range w.d.segments {
		for p := max(s.first, high+1); p < s.end; p++ {
			ps = append(ps, p)
		}
	}
	return ps
}

func (w *world) there() map[uint64]bool {
	m := map[uint64]bool{}
	for _, p := range w.positions(0) {
		m[p] = true
	}
	return m
}

// take reads on.
func (w *world) take() error {
	entries, err := w.d.Read(nil, w.read, 1+w.r.IntN(20), w.r.IntN(4000))
	if err != nil && !w.fs.ended {
		return err
	}
	for _, e := range entries {
		if e.Position <= w.read {
			return fmt.Errorf("position %x after %x", e.Position, w.read)
		}
		w.read = e.Position
		it := w.byPos[e.Position]
		if e.Record == nil && it != nil && it.safe {
			return fmt.Errorf("record %d is durable, and damaged", it.id)
		}
		if e.Record == nil && it != nil && it.life == w.life {
			return fmt.Errorf("record %d of this process is damaged", it.id)
		}
		if e.Record != nil && (it == nil || !bytes.Equal(it.bytes, e.Record)) {
			return fmt.Errorf("a phantom at position %x", e.Position)
		}
	}
	return nil
}

// trim trims some of what was read.
func (w *world) trim() error {
	if w.read == 0 {
		return nil
	}
	upTo := w.read - min(w.read, uint64(w.r.IntN(5)))
	err := w.d.Trim(upTo)
	there := w.there()
	for _, it := range w.items {
		if it.fate != kept || it.position > upTo || it.gone || it.free {
			continue
		}
		if !it.trimmed {
			w.tally.Trimmed++
		}
		it.trimmed = true
		it.gone = err == nil && !w.fs.ended && !there[it.position]
	}
	if records := w.d.Stats().Records; err == nil && records != len(w.positions(w.d.trimmed)) {
		return fmt.Errorf("%d records counted, %d there", records, len(w.positions(w.d.trimmed)))
	}
	return nil
}

// check holds what the spool has after a start to what was said before.
func (w *world) check() error {
	found := map[int]bool{}
	last := -1
	var after uint64
	var count int
	for {
		entries, err := w.d.Read(nil, after, 7, 3000)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			count++
			after = e.Position
			if e.Record == nil {
				continue
			}
			it, err := w.recognize(e, last)
			if err != nil {
				return err
			}
			last = it.id
			found[it.id] = true
		}
	}
	if w.high = max(w.high, after); w.d.next <= w.high {
		return fmt.Errorf("positions begin again at %x, after %x", w.d.next, w.high)
	}
	if records := w.d.Stats().Records; records != count {
		return fmt.Errorf("%d records counted, %d read", records, count)
	}
	for _, s := range w.d.segments {
		s.claimed = false // the check is no consumer
	}
	w.d.handed, w.d.seen = nil, 0
	return w.missing(found)
}

// recognize finds the item that e is, or says why it must not be there.
func (w *world) recognize(e Entry, last int) (*item, error) {
	if len(e.Record) < 4 {
		return nil, fmt.Errorf("a phantom of %d bytes", len(e.Record))
	}
	id := int(binary.LittleEndian.Uint32(e.Record))
	if id >= len(w.items) || !bytes.Equal(w.items[id].bytes, e.Record) {
		return nil, errors.New("an altered record")
	}
	it := w.items[id]
	switch {
	case id <= last:
		return nil, fmt.Errorf("record %d after %d", id, last)
	case it.fate == refused:
		return nil, fmt.Errorf("record %d was refused and is there", id)
	case it.gone:
		return nil, fmt.Errorf("record %d at %x was evicted or trimmed away and is there", id, e.Position)
	case it.position != 0 && it.position != e.Position:
		return nil, fmt.Errorf("record %d moved from %x to %x", id, it.position, e.Position)
	case it.position == 0 && w.byPos[e.Position] != nil:
		return nil, fmt.Errorf("position %x comes twice", e.Position)
	}
	w.byPos[e.Position] = it
	it.position, it.fate = e.Position, kept
	w.tally.Recovered++
	return it, nil
}

// missing holds what is not found to what the mode admits.
func (w *world) missing(found map[int]bool) error {
	for _, it := range w.items {
		if it.fate != kept {
			continue
		}
		if found[it.id] {
			it.lost = false
			// What a start finds is durable when it returns and has said nothing else.
			it.safe = it.safe || w.mode != Never && !w.d.failing
			continue
		}
		if it.trimmed || it.gone || it.free {
			continue
		}
		if !it.lost && (it.safe || !w.d.failing) {
			return fmt.Errorf("record %d at %x is lost (durable: %v)", it.id, it.position, it.safe)
		}
		w.tally.Forgiven++
		it.free = true // for good; it must not hide another loss
	}
	return nil
}
