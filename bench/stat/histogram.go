package stat

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// A Histogram counts durations in buckets whose width is at most 1/128 of their
// value, in microseconds; below 256 µs they are exact to 1 µs. The zero value is
// ready to use. It belongs to one goroutine.
type Histogram struct {
	counts []uint32
	total  int64
	max    time.Duration
}

const (
	histogramBits = 7 // 128 buckets for each power of two
	// maxBucket holds 18 minutes; what is longer counts there.
	maxBucket = 24 << histogramBits
)

// Add counts d. A negative one, from a clock that was set, counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	i := min(bucketOf(uint64(d.Microseconds())), maxBucket)
	if i >= len(h.counts) {
		h.counts = append(h.counts, make([]uint32, i+1-len(h.counts))...)
	}
	h.counts[i]++
	h.total++
	h.max = max(h.max, d)
}

// bucketOf numbers the buckets: 128 exact ones, then 128 for each power of two.
func bucketOf(us uint64) int {
	if us < 1<<histogramBits {
		return int(us)
	}
	shift := bits.Len64(us) - 1 - histogramBits
	return shift<<histogramBits + int(us>>shift)
}

// bucketTop returns the largest value that bucket i counts.
func bucketTop(i int) time.Duration {
	us := uint64(i)
	if i >= 2<<histogramBits {
		shift := i>>histogramBits - 1
		us = uint64(i-shift<<histogramBits+1)<<shift - 1
	}
	return time.Duration(us) * time.Microsecond
}

// Merge adds what o counted.
func (h *Histogram) Merge(o *Histogram) {
	if len(o.counts) > len(h.counts) {
		h.counts = append(h.counts, make([]uint32, len(o.counts)-len(h.counts))...)
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// Count returns how many durations were added.
func (h *Histogram) Count() int64 { return h.total }

// Max returns the longest.
func (h *Histogram) Max() time.Duration { return h.max }

// Lost is the delay of an object that never came.
const Lost = time.Duration(math.MaxInt64)

// Quantile returns the duration that q (0 to 1) of all expected objects stay
// within, where those that were not added are later than every other. It is
// Lost if too many are missing, and for no objects at all.
func (h *Histogram) Quantile(q float64, expected int64) time.Duration {
	expected = max(expected, h.total)
	rank := max(1, int64(math.Ceil(q*float64(expected))))
	if rank > h.total {
		return Lost
	}
	var below int64
	for i, n := range h.counts {
		if below += int64(n); below >= rank {
			return min(bucketTop(i), h.max)
		}
	}
	return Lost
}

// MarshalJSON writes the buckets that count something, as pairs of bucket and
// count.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	pairs := [][2]int64{}
	for i, n := range h.counts {
		if n > 0 {
			pairs = append(pairs, [2]int64{int64(i), int64(n)})
		}
	}
	return json.Marshal(histogramJSON{MaxNS: int64(h.max), Buckets: pairs})
}

type histogramJSON struct {
	MaxNS   int64      `json:"max_ns"`
	Buckets [][2]int64 `json:"buckets"`
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var in histogramJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*h = Histogram{max: time.Duration(in.MaxNS)}
	for _, p := range in.Buckets {
		if p[0] < 0 || p[0] > maxBucket || p[1] < 0 || p[1] > math.MaxUint32 {
			return fmt.Errorf("stat: histogram has %d in bucket %d", p[1], p[0])
		}
		if n := int(p[0]) + 1; n > len(h.counts) {
			h.counts = append(h.counts, make([]uint32, n-len(h.counts))...)
		}
		h.counts[p[0]] += uint32(p[1])
		h.total += p[1]
	}
	return nil
}
