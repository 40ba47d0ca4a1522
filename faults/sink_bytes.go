package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/spool"
)

// unsynced is the operating system's file system without its fsyncs: what is damaged
// on purpose need not outlive a power loss.
type unsynced struct{ spool.OS }

func (unsynced) SyncDir(string) error { return nil }

func (u unsynced) Open(name string, flag int) (spool.File, error) {
	f, err := u.OS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

type unsyncedFile struct{ spool.File }

func (unsyncedFile) Sync() error { return nil }

// specimen is a small spool's folder, by file name.
type specimen struct {
	name  string
	files map[string][]byte
	// records are the appended ones, in order; those before left were trimmed.
	records [][]byte
	left    int
}

// specimens makes a spool that has been closed, and the same as a killed process leaves it.
func specimens(dir string) (out []specimen, err error) {
	var records [][]byte
	for i, size := range []int{40, 1, 90, 17, 64, 33, 120, 8} {
		record := bytes.Repeat([]byte{byte('a' + i)}, size)
		records = append(records, record)
	}
	const left = 2
	d, err := openSpecimen(dir)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if _, _, err := d.Append([][]byte{r}, time.Unix(1_700_000_000, 0)); err != nil {
			return nil, err
		}
	}
	read, err := d.Read(nil, 0, left, 1<<20)
	if err == nil {
		err = d.Trim(read[left-1].Position)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"left by a killed process", "closed"} {
		if name == "closed" {
			if _, err := d.Close(); err != nil {
				return nil, err
			}
		}
		files, err := contents(dir)
		if err != nil {
			return nil, err
		}
		out = append(out, specimen{name, files, records, left})
	}
	return out, nil
}

func openSpecimen(dir string) (*spool.Disk, error) {
	return spool.Open(spool.Options{Dir: dir, FS: unsynced{}, MaxBytes: 1 << 20, ReserveBytes: -1})
}

// contents reads all files of a folder but the lock.
func contents(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if e.Name() == "lock" {
			continue
		}
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// damage sums up what flipped bytes have done.
type damage struct {
	flips int
	// refused starts, flips that cost more than one record, records that are not what
	// was appended or out of order, losses that were not counted.
	refused, costly, altered, uncounted int
	lost                                int
	first                               string
}

func (d *damage) note(counter *int, format string, args ...any) {
	*counter++
	if d.first == "" {
		d.first = fmt.Sprintf(format, args...)
	}
}

// flipped flips every byte of a small spool, one at a time, and opens it.
func flipped(ctx context.Context, r *rig, f *finding) error {
	dir, err := r.folder("specimen")
	if err != nil {
		return err
	}
	all, err := specimens(dir)
	if err != nil {
		return err
	}
	masks := pick(r, []byte{0xff, 1, 2, 4, 8, 16, 32, 64, 128}, []byte{0xff, 1, 128})
	var d damage
	for _, s := range all {
		for name, whole := range s.files {
			r.progress("%s of a spool, %s: %d bytes", name, s.name, len(whole))
			if err := s.flipAll(ctx, r, name, masks, &d); err != nil {
				return err
			}
		}
	}
	f.check(d.flips > 0 && d.refused == 0, "%d flips, %d starts refused%s", d.flips, d.refused, firstOf(d.first))
	f.check(d.costly == 0, "%d records lost, never more than one a flip but for %d", d.lost, d.costly)
	f.check(d.altered == 0, "%d times a record altered or out of place", d.altered)
	f.check(d.uncounted == 0, "%d losses not counted", d.uncounted)
	return nil
}

func firstOf(text string) string {
	if text == "" {
		return ""
	}
	return " (first: " + text + ")"
}

// flipAll flips each byte of one file in each way.
func (s specimen) flipAll(ctx context.Context, r *rig, name string, masks []byte, d *damage) error {
	dir := filepath.Join(r.dir, r.name("flipped"))
	for off := range s.files[name] {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, mask := range masks {
			if err := s.lay(dir, name, off, mask); err != nil {
				return err
			}
			what := fmt.Sprintf("byte %d of %s ^ %#02x, %s", off, name, mask, s.name)
			s.inspect(dir, strings.HasSuffix(name, ".mark"), what, d)
		}
	}
	return os.RemoveAll(dir)
}

// lay puts the specimen into dir, with one byte flipped.
func (s specimen) lay(dir, name string, off int, mask byte) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for n, whole := range s.files {
		if n == name {
			whole = bytes.Clone(whole)
			whole[off] ^= mask
		}
		if err := os.WriteFile(filepath.Join(dir, n), whole, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// inspect opens a damaged spool and reads it. A damaged mark may bring trimmed records
// back, and costs none.
func (s specimen) inspect(dir string, mark bool, what string, d *damage) {
	d.flips++
	disk, err := openSpecimen(dir)
	if err != nil {
		d.note(&d.refused, "%s: %v", what, err)
		return
	}
	defer disk.Close()
	found := disk.Stats().Records
	if _, _, err := disk.Append([][]byte{[]byte("new")}, time.Unix(1_700_000_001, 0)); err != nil {
		d.note(&d.refused, "%s: takes no record: %v", what, err)
		return
	}
	entries, err := disk.Read(nil, 0, 1000, 1<<20)
	if err != nil {
		d.note(&d.refused, "%s: can't be read: %v", what, err)
		return
	}
	want := append(s.records[:len(s.records):len(s.records)], []byte("new"))
	from := s.left
	if mark && len(entries) > len(want)-s.left {
		from = 0
	}
	s.compare(entries, want[from:], found, mark, disk.Stats(), what, d)
}

// compare holds what was read against what should be there. A lost record is to be
// handed out empty.
func (s specimen) compare(entries []spool.Entry, want [][]byte, found int, mark bool, stats spool.Stats, what string, d *damage) {
	intact, empty := 0, 0
	for _, e := range entries {
		if e.Record == nil {
			empty++
			continue
		}
		for intact < len(want) && !bytes.Equal(want[intact], e.Record) {
			intact++ // a record of want is not there, or e is none of them
		}
		if intact == len(want) {
			d.note(&d.altered, "%s: %q", what, e.Record)
			return
		}
		intact++
	}
	lost := len(want) - (len(entries) - empty)
	d.lost += lost
	if lost > 1 || lost > 0 && mark {
		d.note(&d.costly, "%s: %d records lost", what, lost)
	}
	if lost != empty || stats.Corrupt != empty || found+1 != len(entries) {
		d.note(&d.uncounted, "%s: %d lost, %d handed out empty, %d counted, %d of %d at the start", what, lost, empty, stats.Corrupt, found, len(want)-1)
	}
}
