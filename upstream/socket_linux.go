package upstream

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// boundUnacknowledged breaks a connection whose bytes nobody acknowledges for pingTimeout:
// the host has vanished.
func boundUnacknowledged(network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	if outer := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(pingTimeout.Milliseconds()))
	}); outer != nil {
		return outer
	}
	return err
}
