package sink

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"syscall"
	"time"

	"github.com/understudy-serving/understudy/spool"
)

// Spool keeps encoded records between the data path and Kafka, oldest first:
// spool.Disk and spool.Memory do. One goroutine appends, another reads forward and
// trims, and any asks for Stats, which never waits.
//
// A spool opens with what an earlier process left: Stats counts it then, and the sink
// enters it as recovered.
type Spool interface {
	// Append keeps the first kept of records as the newest ones, all of them exactly
	// where err is nil. It copies them. evicted counts older records
	// that were given up to make room, never one that Read has handed out.
	Append(records [][]byte, at time.Time) (kept, evicted int, err error)
	// Read appends to dst the records behind position after, oldest first, as many as
	// fit in both bounds, but at least one if there is one. A record that can't be
	// read any more is handed out empty, so that it is counted. With an error, which
	// is retried, dst is unchanged.
	Read(dst []spool.Entry, after uint64, maxRecords, maxBytes int) ([]spool.Entry, error)
	// Trim forgets the records up to and including position upTo. With an error they
	// may come back in a later process, and are sent twice.
	Trim(upTo uint64) error
	Stats() spool.Stats
	// Close ends the spool, and says how many records are gone with it: all that are
	// left for one in memory, none for one on disk.
	Close() (lost int, err error)
}

// openPatience is how long New waits for the disk before it goes on without it.
const openPatience = 2 * time.Second

// openDisk opens the spool on disk. Where the disk does not let it for now, it returns
// one that waits in memory until the disk does; found hears then how many records an
// earlier process left, and evicted how many were given up to make room. The error is for settings that can't work.
func openDisk(o spool.Options, memoryBytes int64, log *slog.Logger, found, evicted func(records int)) (Spool, error) {
	open := func() (Spool, error) { return spool.Open(o) }
	first := make(chan opened, 1)
	go func() {
		d, err := open()
		first <- opened{d, err}
	}()
	patience := time.NewTimer(openPatience)
	defer patience.Stop()
	select {
	case got := <-first:
		if got.err == nil {
			return got.spool, nil
		}
		if !mayHeal(got.err) {
			return nil, fmt.Errorf("%w: %w", ErrInvalidOptions, got.err)
		}
		log.Error("the spool can't be opened: requests are served, records wait in memory and are lost with the process: check the disk's space and health",
			"dir", o.Dir, "error", got.err)
		first <- got
	case <-patience.C:
		log.Error("the spool's disk does not answer: requests are served, records wait in memory and are lost with the process: check the disk",
			"dir", o.Dir, "waited", openPatience)
	}
	return newStandby(standbyOptions{first: first, open: open, memoryBytes: memoryBytes, found: found, evicted: evicted, log: log}), nil
}

// mayHeal tells whether a folder that can't be opened may be opened later, settings
// unchanged.
func mayHeal(err error) bool {
	var errno syscall.Errno
	switch {
	case errors.Is(err, spool.ErrLocked), errors.Is(err, fs.ErrPermission),
		errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return false
	}
	return errors.As(err, &errno) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
