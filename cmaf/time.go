package cmaf

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// A Time is an instant or a span of media time: Ticks units of 1/Scale
// second. It is exact; nothing rounds until it changes scale. A Scale of 0
// belongs to the zero Time, which counts as 0 in every scale.
type Time struct {
	Ticks int64
	Scale uint32 // ticks per second
}

// FromDuration returns d in ticks of 1/scale second, to the nearest tick.
func FromDuration(d time.Duration, scale uint32) Time {
	return Time{int64(d), uint32(time.Second)}.In(scale)
}

// In returns t in ticks of 1/scale second, to the nearest tick, halves away
// from zero. A value that does not fit becomes the largest of its sign.
func (t Time) In(scale uint32) Time {
	if t.Scale == scale {
		return t
	}
	if t.Ticks < 0 {
		n := Rescale(uint64(-t.Ticks), t.Scale, scale) // right for MinInt64 too
		return Time{-int64(min(n, math.MaxInt64)), scale}
	}
	return Time{int64(min(Rescale(uint64(t.Ticks), t.Scale, scale), math.MaxInt64)), scale}
}

// Duration returns t to the nearest nanosecond. It ends at about 292 years.
func (t Time) Duration() time.Duration {
	return time.Duration(t.In(uint32(time.Second)).Ticks)
}

// Add returns t + u in t's scale (u's when t is the zero Time).
func (t Time) Add(u Time) Time {
	scale := cmp.Or(t.Scale, u.Scale)
	return Time{t.Ticks + u.In(scale).Ticks, scale}
}

// Sub returns t - u in t's scale (u's when t is the zero Time).
func (t Time) Sub(u Time) Time {
	scale := cmp.Or(t.Scale, u.Scale)
	return Time{t.Ticks - u.In(scale).Ticks, scale}
}

// Compare returns -1, 0 or +1 as t is before, at or after u. It is exact
// across scales: 1001/30000 s and 3003/90000 s are equal.
func (t Time) Compare(u Time) int {
	if t.Scale == u.Scale {
		return cmp.Compare(t.Ticks, u.Ticks)
	}
	ts, us := sign(t), sign(u)
	if ts != us || ts == 0 {
		return cmp.Compare(ts, us)
	}
	th, tl := bits.Mul64(abs(t.Ticks), uint64(u.Scale))
	uh, ul := bits.Mul64(abs(u.Ticks), uint64(t.Scale))
	return ts * cmp.Or(cmp.Compare(th, uh), cmp.Compare(tl, ul))
}

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool { return t.Compare(u) < 0 }

// Seconds returns t in seconds, for display; compare and add Times instead.
func (t Time) Seconds() float64 {
	if t.Scale == 0 {
		return 0
	}
	return float64(t.Ticks) / float64(t.Scale)
}

func (t Time) String() string { return fmt.Sprintf("%d/%d", t.Ticks, t.Scale) }

func sign(t Time) int {
	if t.Scale == 0 {
		return 0
	}
	return cmp.Compare(t.Ticks, 0)
}

func abs(n int64) uint64 {
	if n < 0 {
		return uint64(-n) // right for MinInt64 too
	}
	return uint64(n)
}

// Rescale converts ticks of 1/from second to ticks of 1/to second, to the
// nearest tick, halves up. The product is 128 bits wide, so a century at any
// timescale fits; a result beyond 64 bits becomes the largest uint64. With a
// from of 0, which no timescale is, the result is 0.
func Rescale(ticks uint64, from, to uint32) uint64 {
	if from == 0 {
		return 0
	}
	hi, lo := bits.Mul64(ticks, uint64(to))
	lo, carry := bits.Add64(lo, uint64(from/2), 0)
	hi += carry
	if hi >= uint64(from) {
		return math.MaxUint64
	}
	q, _ := bits.Div64(hi, lo, uint64(from))
	return q
}
