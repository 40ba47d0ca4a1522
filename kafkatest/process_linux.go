package kafkatest

import "syscall"

// attributes makes a process leader of its own group that dies with us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
