package outcome

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/understudy-serving/understudy/rollout"
)

// lockWait bounds the wait for another process that holds the file.
const lockWait = 500 * time.Millisecond

// fileName is the database in Options.Dir.
const fileName = "outcomes.db"

// file is the database. Its errors wrap rollout.ErrUnavailable.
type file struct {
	path string
	db   *bolt.DB
	os   *os.File // db's
	// broken is why the file is never used again by this process.
	broken atomic.Pointer[error]
}

func openFile(dir string) (*file, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f := &file{path: filepath.Join(dir, fileName)}
	// The map of free pages stays quick where a whole hour has become free.
	options := &bolt.Options{Timeout: lockWait, FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (o *os.File, err error) {
			f.os, err = os.OpenFile(name, flag, mode)
			return f.os, err
		}}
	err := f.guard(func() (err error) {
		f.db, err = bolt.Open(f.path, 0o600, options)
		return err
	})
	if err == nil {
		err = f.update(prepare)
	}
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, berrors.ErrTimeout):
		err = fmt.Errorf("%s: another process has it; stop that one, or give each gateway its own outcomes.dir: %w", f.path, err)
	case f.broken.Load() != nil && f.os != nil:
		_ = f.os.Close() // behind a panic db.Close might wait for ever
	case f.db != nil:
		_ = f.db.Close()
	}
	return nil, err
}

// guard turns what bbolt panics at into an error, for good: it trusts the pages that it
// maps, and behind a panic its locks are in no known state.
func (f *file) guard(work func() error) (err error) {
	if broken := f.broken.Load(); broken != nil {
		return *broken
	}
	// A page beyond the end of a cut file is a fault, not a panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: file %s is damaged: %v; stop the gateway and move it away to begin anew", rollout.ErrUnavailable, f.path, r)
			f.broken.CompareAndSwap(nil, &err)
		}
	}()
	if err = work(); err != nil {
		return fmt.Errorf("%w: file %s: %w", rollout.ErrUnavailable, f.path, err)
	}
	return nil
}

// update is on disk when it returns nil; else nothing has changed.
func (f *file) update(change func(*bolt.Tx) error) error {
	return f.guard(func() error { return f.db.Update(change) })
}

func (f *file) view(look func(*bolt.Tx) error) error {
	return f.guard(func() error { return f.db.View(look) })
}

// used returns the bytes of the file that hold something. The file keeps free pages, and
// fills them before it grows.
func (f *file) used() (used int64, err error) {
	err = f.view(func(tx *bolt.Tx) error {
		free := f.db.Stats()
		used = tx.Size() - int64(free.FreePageN+free.PendingPageN)*int64(f.db.Info().PageSize)
		return nil
	})
	return used, err
}

// size returns what the file takes on disk.
func (f *file) size() int64 {
	info, err := os.Stat(f.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func (f *file) close() error {
	if f.broken.Load() != nil {
		return f.os.Close() // db.Close would wait for bbolt's own locks
	}
	return f.db.Close()
}
