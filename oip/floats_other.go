//go:build !amd64

package oip

// These would decode elements with vector instructions, and return how many: none here.

func floats32Wide([]float64, []byte) int    { return 0 }
func halvesWide([]float64, []byte) int      { return 0 }
func upperHalvesWide([]float64, []byte) int { return 0 }
