//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package spool

import (
	"errors"
	"os"
)

// Without a lock that ends with its process, two could write into one folder.
func lockFile(*os.File) error { return errors.ErrUnsupported }
