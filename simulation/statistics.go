package simulation

import (
	"cmp"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// Share is how many of all, with the interval that holds its true value at a confidence.
type Share struct {
	Of   int     `json:"of"`
	All  int     `json:"all"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// ShareOf returns the two-sided interval of Clopper and Pearson, which is exact: either end
// is wrong with probability (1 − confidence)/2 at most.
func ShareOf(of, all int, confidence float64) Share {
	s := Share{Of: of, All: all, High: 1}
	tail := (1 - confidence) / 2
	if of > 0 {
		s.Low = mathext.InvRegIncBeta(float64(of), float64(all-of+1), tail)
	}
	if of < all {
		s.High = mathext.InvRegIncBeta(float64(of+1), float64(all-of), 1-tail)
	}
	return s
}

// CountIf counts those that are so.
func CountIf[T any](all []T, is func(T) bool) (n int) {
	for _, x := range all {
		if is(x) {
			n++
		}
	}
	return n
}

// Quantile returns the smallest value that at least a share q of all do not exceed; zero of
// none.
func Quantile[T cmp.Ordered](all []T, q float64) (x T) {
	if len(all) == 0 {
		return x
	}
	sorted := slices.Sorted(slices.Values(all))
	rank := int(q * float64(len(sorted)))
	if float64(rank) < q*float64(len(sorted)) {
		rank++
	}
	return sorted[min(max(rank-1, 0), len(sorted)-1)]
}

// Of collects one figure of each.
func Of[R, T any](all []R, figure func(R) T) []T {
	out := make([]T, len(all))
	for i, r := range all {
		out[i] = figure(r)
	}
	return out
}
