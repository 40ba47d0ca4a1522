package main

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// process is a running command that dies with the harness where the system can see to it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	// err is how it ended; set when done is closed.
	err error
}

// spawn starts a command. One goroutine, and so one thread, starts it and waits for it:
// Linux sends the signal that makes it die with us when that thread ends.
func spawn(output *os.File, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
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

func (p *process) pid() int { return p.cmd.Process.Pid }

// signal sends s; a process that has ended does not mind.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }
