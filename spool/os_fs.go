package spool

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// OS is the file system of the operating system. Folders and files are for the owner alone.
type OS struct{}

// Mkdir is os.Mkdir.
func (OS) Mkdir(dir string) error { return os.Mkdir(dir, 0o700) }

// List leaves out what vanishes meanwhile.
func (OS) List(dir string) (files []Info, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, Info{e.Name(), info.Size()})
	}
	return files, nil
}

// Open is os.OpenFile.
func (OS) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename is os.Rename.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove is os.Remove.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir opens dir and syncs it.
func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// Lock takes an exclusive lock that ends with the process.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// osFile syncs data alone where the system can: the times of a segment don't matter.
type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }
