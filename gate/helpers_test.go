package gate

import "math"

// near tells whether got is want but for a part of 1 + |want|.
func near(got, want, part float64) bool {
	return math.Abs(got-want) <= part*(1+math.Abs(want)) || got == want
}
