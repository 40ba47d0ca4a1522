//go:build unix

package kafkatest

import (
	"os"
	"syscall"
)

// kill ends the process and its children, and waits for it.
func (p *Process) kill() {
	_ = p.send(syscall.SIGKILL) // it has ended already where this fails
	<-p.done
}

func (p *Process) terminate() error { return p.send(syscall.SIGTERM) }
func (p *Process) pause() error     { return p.send(syscall.SIGSTOP) }
func (p *Process) resume() error    { return p.send(syscall.SIGCONT) }

// send signals the whole group.
func (p *Process) send(s syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, s) }

// lock takes a lock that processes share, by a file; it is free again after unlock or
// when the process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
