//go:build unix && !linux

package kafkatest

import "syscall"

// attributes makes a process leader of its own group.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
