package spool

import "io"

// FS is what a Disk needs of a file system. Names are full paths, flags those of
// os.OpenFile, and errors wrap fs.ErrExist, fs.ErrNotExist and syscall.ENOSPC where
// they apply.
type FS interface {
	// Mkdir makes one folder.
	Mkdir(dir string) error
	// List returns the plain files in dir, in any order.
	List(dir string) ([]Info, error)
	Open(name string, flag int) (File, error)
	// Rename is atomic, and replaces what has the name to.
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes all that was created, renamed and removed in dir durable.
	SyncDir(dir string) error
	// Free returns how many bytes dir's file system still has for this process.
	Free(dir string) (bytes int64, err error)
	// Lock makes the file name, if it has to, and holds it for this process until
	// it is closed or the process ends. Where another holds it: ErrLocked.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the bytes and the length durable. After an error nothing is known
	// of the bytes written since the last success, and a second try proves nothing.
	Sync() error
}

// Info describes a file.
type Info struct {
	Name  string // without the folder
	Bytes int64
}
