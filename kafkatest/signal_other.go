//go:build !unix

package kafkatest

import (
	"errors"
	"syscall"
)

// errNoSignals is the answer where a process cannot be paused from outside.
var errNoSignals = errors.New("this system has no signals")

func attributes() *syscall.SysProcAttr { return nil }

func (p *Process) kill() {
	_ = p.cmd.Process.Kill() // it has ended already where this fails
	<-p.done
}

func (p *Process) terminate() error { return errNoSignals }
func (p *Process) pause() error     { return errNoSignals }
func (p *Process) resume() error    { return errNoSignals }

// lock does nothing here: run one test binary at a time until the artifacts are there.
func lock(string) (unlock func(), err error) { return func() {}, nil }
