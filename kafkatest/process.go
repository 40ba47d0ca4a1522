package kafkatest

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a running command that dies with this one (on Linux also when this one is
// killed).
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // set when done is closed
}

// Spawn starts a command in a process group of its own, out of Ctrl-C's reach. One
// goroutine, and so one thread, starts it and waits for it: Linux sends the signal that
// makes it die with us when that thread ends.
func Spawn(output *os.File, name string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = output, output
	p.cmd.SysProcAttr = attributes()
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	return p, <-started
}

// PID is the operating system's number for it.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err waits for its end, and says how it ended: nil for exit code 0.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Signal sends s to it alone; one that has ended does not mind.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// stop asks the process to end, and kills it after timeout.
func (p *Process) stop(timeout time.Duration) {
	_ = p.resume() // a paused process cannot end
	if p.terminate() == nil {
		select {
		case <-p.done:
			return
		case <-time.After(timeout):
		}
	}
	p.kill()
}
