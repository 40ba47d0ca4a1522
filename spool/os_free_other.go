//go:build !linux && !darwin && !freebsd

package spool

import "errors"

// Free is not known here.
func (OS) Free(string) (bytes int64, err error) { return 0, errors.ErrUnsupported }
