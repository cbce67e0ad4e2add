package stat

import (
	"encoding/json"
	"math"
	"slices"
)

// A Number is a figure. What is not finite is null in JSON.
type Number float64

// NaN is the figure of what was not measured.
var NaN = Number(math.NaN())

// Known reports whether n is a figure at all.
func (n Number) Known() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Known() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON implements json.Unmarshaler; null is no figure.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = NaN
		return nil
	}
	return json.Unmarshal(b, (*float64)(n))
}

// A Spread is what one figure was over several runs.
type Spread struct {
	Median Number `json:"median"`
	// Low and High are order statistics: the median of what was sampled from
	// lies between them with at least the probability Coverage, whatever the
	// distribution is. It is 0.95 or more from 6 runs on. With fewer they are the
	// least and the most, and Coverage is 1 - 2^(1-n).
	Low      Number  `json:"low"`
	High     Number  `json:"high"`
	Coverage float64 `json:"coverage"`
}

// Wanted is the coverage that an interval has where the runs allow it.
const Wanted = 0.95

// Of returns the spread of values. The median of an even number is the mean of
// the two in the middle. One value that is not known makes the whole unknown.
func Of(values []Number) Spread {
	if len(values) == 0 || slices.ContainsFunc(values, func(n Number) bool { return !n.Known() }) {
		return Spread{Median: NaN, Low: NaN, High: NaN}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	median := v[n/2]
	if n%2 == 0 {
		median = (v[n/2-1] + median) / 2
	}
	out, coverage := interval(n)
	return Spread{Median: median, Low: v[out], High: v[n-1-out], Coverage: coverage}
}

// interval returns how many values to leave out at each end, so that the rest
// covers the median with the probability Wanted, and the probability that it
// does: the number of values below the median is binomial (n, 1/2).
func interval(n int) (out int, coverage float64) {
	tail := math.Pow(0.5, float64(n)) // P(no value is below the median)
	term := tail
	coverage = 1 - 2*tail
	for k := 1; 2*k < n; k++ {
		term *= float64(n-k+1) / float64(k)
		tail += term
		if 1-2*tail < Wanted {
			break
		}
		out, coverage = k, 1-2*tail
	}
	return out, coverage
}

// Ratios divides pair by pair.
func Ratios(a, b []Number) []Number {
	r := make([]Number, min(len(a), len(b)))
	for i := range r {
		r[i] = Ratio(float64(a[i]), float64(b[i]))
	}
	return r
}

// Differences subtracts pair by pair.
func Differences(a, b []Number) []Number {
	r := make([]Number, min(len(a), len(b)))
	for i := range r {
		r[i] = a[i] - b[i]
	}
	return r
}

// Ratio is a/b, and NaN where that means nothing.
func Ratio(a, b float64) Number {
	if b == 0 || math.IsInf(a, 0) || math.IsInf(b, 0) {
		return NaN
	}
	return Number(a / b)
}
