package main

import (
	"fmt"
	"syscall"
)

// mountMemory mounts a file system of bytes in memory at dir.
func mountMemory(dir string, bytes int64) error {
	if err := syscall.Mount("understudy-faults", dir, "tmpfs", 0, room(bytes)); err != nil {
		return fmt.Errorf("%w: mount a tmpfs: %w (needs root)", errSkip, err)
	}
	return nil
}

// resizeMemory gives a file system of mountMemory another size.
func resizeMemory(dir string, bytes int64) error {
	if err := syscall.Mount("understudy-faults", dir, "tmpfs", syscall.MS_REMOUNT, room(bytes)); err != nil {
		return fmt.Errorf("resize a tmpfs: %w", err)
	}
	return nil
}

func room(bytes int64) string { return fmt.Sprintf("size=%d,mode=755", bytes) }

// unmount takes a file system away, as soon as nobody uses it.
func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
