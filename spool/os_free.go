//go:build linux || darwin || freebsd

package spool

import (
	"os"
	"syscall"
)

// Free is what statfs calls available.
func (OS) Free(dir string) (bytes int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
