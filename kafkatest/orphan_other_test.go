//go:build !linux

package kafkatest

// Only Linux can tie a child's life to its parent's.
const envOrphan = "KAFKATEST_ORPHAN"

func orphan() {}
