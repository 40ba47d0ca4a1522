//go:build !race

package transport

// What tests under the race detector watch costs nothing without it.

type uncounted struct{}

func (uncounted) Add(int64)   {}
func (uncounted) Load() int64 { return 0 }

var lent uncounted

func (b *buffer) spoil() {}
