package transport

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// mostPieces is how many one writev takes (IOV_MAX).
const mostPieces = 1024

// writeNow writes what a socket takes without waiting.
func writeNow(fd uintptr, pieces [][]byte) (n int, err error) {
	for {
		if len(pieces) == 1 {
			n, err = syscall.Write(int(fd), pieces[0])
		} else {
			n, err = unix.Writev(int(fd), pieces[:min(len(pieces), mostPieces)])
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		case err == nil && n == 0:
			return 0, io.ErrUnexpectedEOF
		}
		return max(n, 0), err
	}
}
