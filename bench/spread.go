package bench

import (
	"math"
	"slices"
)

// spreadOf returns the spread of values. The median of an even number is the
// mean of the two in the middle. A value that is not a number makes the whole
// spread none.
func spreadOf(values []Number) Spread {
	none := Number(math.NaN())
	if len(values) == 0 || slices.ContainsFunc(values, func(n Number) bool { return math.IsNaN(float64(n)) }) {
		return Spread{none, none, none}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	median := v[n/2]
	if n%2 == 0 && v[n/2-1] != median {
		median = (v[n/2-1] + median) / 2
	}
	return Spread{median, v[0], v[n-1]}
}

// ratios divides pair by pair.
func ratios(a, b []Number) []Number {
	r := make([]Number, min(len(a), len(b)))
	for i := range r {
		r[i] = Number(ratio(float64(a[i]), float64(b[i])))
	}
	return r
}
