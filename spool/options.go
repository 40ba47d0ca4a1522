package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// What an error of a Disk wraps. Errors of the file system are wrapped as well, so
// errors.Is(err, syscall.ENOSPC) tells a full disk.
var (
	// ErrFull says that a record does not fit into MaxBytes.
	ErrFull = errors.New("spool full")
	// ErrTooLarge says that a record is over what the spool could ever take.
	ErrTooLarge = errors.New("record too large for the spool")
	// ErrDisk says that the disk did not take a record.
	ErrDisk = errors.New("the spool's disk fails")
	// ErrLocked says that another process owns the folder.
	ErrLocked = errors.New("locked by another process")
	// ErrClosed says that Close was called.
	ErrClosed = errors.New("spool closed")
)

// Fsync says when records are made to survive a power loss.
type Fsync string

// The modes of Fsync. docs/durability.md says what each can cost.
const (
	// Interval syncs every Options.Interval, beside the appends.
	Interval Fsync = "interval"
	// Always syncs each Append before it returns.
	Always Fsync = "always"
	// Never leaves it to the operating system, but for Close.
	Never Fsync = "never"
)

// Full says which record goes when MaxBytes is reached.
type Full string

// The policies of Full.
const (
	// DropNewest refuses what is appended.
	DropNewest Full = "dropNewest"
	// DropOldest gives up the oldest segment that Read has not touched, and refuses
	// what is appended where there is none.
	DropOldest Full = "dropOldest"
)

// Options configure a Disk. Only Dir is required.
type Options struct {
	// Dir is made if it is missing. It belongs to the spool alone.
	Dir string
	// FS is the file system; nil is the operating system's.
	FS FS
	// MaxBytes bounds what the spool takes on disk, the reserve included. Default 10 GiB.
	MaxBytes int64
	// SegmentBytes is the size of a file, in which steps disk space is given back.
	// Default 32 MiB, and at most an eighth of MaxBytes.
	SegmentBytes int64
	// ReserveBytes are held in a file that is given up when a full disk keeps
	// records from being trimmed. Default 1 MiB, at most an eighth of MaxBytes;
	// negative is none.
	ReserveBytes int64
	Fsync        Fsync         // default Interval
	Interval     time.Duration // default 100 ms
	// UnsyncedBytes bounds what Interval keeps in memory until it is durable, in case an
	// fsync fails. Append first waits for a round of fsyncs where that is reached, and
	// refuses what it would have to keep where the round fails. Default 32 MiB; a larger
	// record is kept alone.
	UnsyncedBytes int64
	Full          Full // default DropNewest
	Logger        *slog.Logger
	// Now tells the time; default time.Now.
	Now func() time.Time

	manual bool // no goroutine syncs: a test calls syncRound
}

const (
	minBytes = 16 << 10 // the least MaxBytes
	// maxRecordBytes bounds what a reader must hold at once.
	maxRecordBytes = 64 << 20
	chunkBytes     = 1 << 20                // what is encoded or copied at a time
	retryPause     = 100 * time.Millisecond // between tries on a disk that fails
	rescuePause    = time.Second            // between tries to copy what an fsync failed on
	freePause      = time.Second            // between looks at the disk's free bytes
)

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("spool: dir: must name a folder")
	}
	if o.FS == nil {
		o.FS = OS{}
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 10 << 30
	}
	if o.MaxBytes < minBytes {
		return fmt.Errorf("spool: maxBytes: %d is too small, at least %d", o.MaxBytes, minBytes)
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 32 << 20
	}
	o.SegmentBytes = min(o.SegmentBytes, o.MaxBytes/8)
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 1 << 20
	}
	o.ReserveBytes = max(0, min(o.ReserveBytes, o.MaxBytes/8))
	if o.Interval <= 0 {
		o.Interval = 100 * time.Millisecond
	}
	if o.UnsyncedBytes <= 0 {
		o.UnsyncedBytes = 32 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o.setPolicies()
}

func (o *Options) setPolicies() error {
	switch o.Fsync {
	case "":
		o.Fsync = Interval
	case Interval, Always, Never:
	default:
		return fmt.Errorf("spool: fsync: %q is none of %s, %s, %s", o.Fsync, Interval, Always, Never)
	}
	switch o.Full {
	case "":
		o.Full = DropNewest
	case DropNewest, DropOldest:
	default:
		return fmt.Errorf("spool: full: %q is none of %s, %s", o.Full, DropNewest, DropOldest)
	}
	return nil
}

// capacity is what segments may take.
func (o *Options) capacity() int64 { return o.MaxBytes - o.ReserveBytes }

// maxRecord is the largest record that is taken.
func (o *Options) maxRecord() int64 { return min(maxRecordBytes, o.capacity()/4-headerBytes) }
