package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tree is a process with its children, as they were when it was ready.
type tree []int

// treeOf finds the descendants of a process.
func treeOf(root int) tree {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		// The name, in parentheses, may hold anything.
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
		if fields := strings.Fields(rest); len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	all := tree{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// cpu is the CPU time that the processes have used. It is read from their clocks, which
// count in nanoseconds what all threads used, also those that have ended.
func (t tree) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range t {
		var at unix.Timespec
		clock := int32(^uint32(pid)<<3 | 2) // what clock_getcpuclockid(3) makes of it
		if err := unix.ClockGettime(clock, &at); err != nil {
			return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
		}
		sum += time.Duration(at.Nano())
	}
	return sum, nil
}

// forget makes peak begin anew.
func (t tree) forget() {
	for _, pid := range t {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // else the peak is that of its whole life
	}
}

// peak is the most memory that was resident, in bytes. What processes share counts for each.
func (t tree) peak() (sum int64) {
	for _, pid := range t {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if _, after, ok := strings.Cut(string(text), "VmHWM:"); ok {
			var kb int64
			if _, err := fmt.Sscan(after, &kb); err == nil {
				sum += kb << 10
			}
		}
	}
	return sum
}

// machine describes what is measured on.
func describeMachine() machine {
	m := machine{CPU: "unknown", Kernel: "unknown"}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(text), "model name"); ok {
			line, _, _ := strings.Cut(after, "\n")
			m.CPU = strings.TrimSpace(strings.TrimLeft(line, "\t: "))
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return m
}
