package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// lockWait bounds the wait for another process that holds the file.
const lockWait = 500 * time.Millisecond

// newFileID is the transaction that bbolt's new files are at.
const newFileID = 1

var errClosed = errors.New("the store is closed")

// opener opens a bbolt file at its first use, and guards its use.
type opener struct {
	path string
	// maxSize is the most that the file may grow to, in bytes; 0 is no limit.
	maxSize int

	// mu is held for reading while the file is used.
	mu     sync.RWMutex
	db     *bolt.DB
	file   *os.File // db's
	closed bool
	// broken is why the file is never used again by this process.
	broken atomic.Pointer[error]
}

// use runs work on the open file.
func (o *opener) use(work func(*bolt.DB) error) error {
	for {
		o.mu.RLock()
		if o.db != nil {
			defer o.mu.RUnlock()
			return o.guard(func() error { return work(o.db) })
		}
		o.mu.RUnlock()
		if err := o.open(); err != nil {
			return err
		}
	}
}

// guard turns what bbolt panics at into ErrCorrupt, for good: it trusts the pages that
// it maps, and behind a panic its locks are in no known state.
func (o *opener) guard(work func() error) (err error) {
	if broken := o.broken.Load(); broken != nil {
		return *broken
	}
	// A page beyond the end of a cut file is a fault, not a panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v; restore it from a backup or, to begin anew, stop the gateway and move it away", ErrCorrupt, r)
			o.broken.CompareAndSwap(nil, &err)
		}
	}()
	return work()
}

// open opens the file unless it is open.
func (o *opener) open() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return errClosed
	case o.db != nil:
		return nil
	}
	// Not made here: a volume that is not mounted would look like a store without rollbacks.
	if _, err := os.Stat(filepath.Dir(o.path)); err != nil {
		return fmt.Errorf("its folder must exist, on a volume that outlives the process: %w", err)
	}
	var file *os.File
	options := &bolt.Options{Timeout: lockWait, MaxSize: o.maxSize, NoStatistics: true,
		OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		}}
	var db *bolt.DB
	err := o.guard(func() (err error) {
		db, err = bolt.Open(o.path, 0o600, options)
		return err
	})
	if err == nil {
		err = o.guard(func() error { return prepare(db) })
	}
	switch {
	case err == nil:
		o.db, o.file = db, file
	case o.broken.Load() != nil && file != nil:
		_ = file.Close() // behind a panic db.Close might wait for ever
	case db != nil:
		_ = db.Close()
	}
	return explain(err)
}

// prepare makes the buckets of a new file. One that has been written to and has none is
// damaged: taking it for empty would forget every rollback.
func prepare(db *bolt.DB) error {
	var writes int
	missing := false
	err := db.View(func(tx *bolt.Tx) error {
		writes = tx.ID() - newFileID
		missing = tx.Bucket(statesBucket) == nil || tx.Bucket(progressBucket) == nil
		return nil
	})
	switch {
	case err != nil || !missing:
		return err
	case writes > 0:
		return fmt.Errorf("%w: its buckets are missing; restore it from a backup or, to begin anew, move it away", ErrCorrupt)
	}
	return db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(statesBucket)
		if err != nil {
			return err
		}
		_, err = tx.CreateBucketIfNotExists(progressBucket)
		return err
	})
}

// explain says what bbolt's errors of opening mean for an operator.
func explain(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("another process holds it; stop that one, or give each gateway its own `store.path`: %w", err)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w; restore it from a backup or, to begin anew, move it away", ErrCorrupt, err)
	}
	return err
}

// close gives the file back once nobody uses it.
func (o *opener) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	db := o.db
	o.db, o.closed = nil, true
	switch {
	case db == nil:
		return nil
	case o.broken.Load() != nil:
		return o.file.Close() // db.Close would wait for bbolt's own locks
	}
	return db.Close()
}
