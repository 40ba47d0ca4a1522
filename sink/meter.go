package sink

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/spool"
)

// meteredFS observes how long each fsync of the spool takes.
type meteredFS struct {
	spool.FS
	fsync prometheus.Observer
}

// meter wraps fs, the operating system's if it is nil.
func (m *metrics) meter(fs spool.FS) spool.FS {
	if fs == nil {
		fs = spool.OS{}
	}
	return meteredFS{fs, m.fsync}
}

// Open implements spool.FS.
func (m meteredFS) Open(name string, flag int) (spool.File, error) {
	f, err := m.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return meteredFile{f, m.fsync}, nil
}

// SyncDir implements spool.FS.
func (m meteredFS) SyncDir(dir string) error {
	began := time.Now()
	err := m.FS.SyncDir(dir)
	m.fsync.Observe(time.Since(began).Seconds())
	return err
}

type meteredFile struct {
	spool.File
	fsync prometheus.Observer
}

// Sync implements spool.File.
func (m meteredFile) Sync() error {
	began := time.Now()
	err := m.File.Sync()
	m.fsync.Observe(time.Since(began).Seconds())
	return err
}
