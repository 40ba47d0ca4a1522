//go:build !linux

package transport

// writeNow takes nothing here: all is left to the goroutine that may wait.
func writeNow(uintptr, [][]byte) (int, error) { return 0, nil }
