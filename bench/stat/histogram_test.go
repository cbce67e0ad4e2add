package stat

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestQuantile(t *testing.T) {
	var h Histogram
	for i := range 100 { // 1 ms to 100 ms
		h.Add(time.Duration(i+1) * ms)
	}
	for _, tt := range []struct {
		name     string
		q        float64
		expected int64
		want     time.Duration
	}{
		{"median", 0.5, 100, 50 * ms},
		{"p99", 0.99, 100, 99 * ms},
		{"all", 1, 100, 100 * ms},
		{"least", 0, 100, 1 * ms},
		{"nobody expected", 0.5, 0, 50 * ms},
		{"half is missing: the median is the last that came", 0.5, 200, 100 * ms},
		{"half is missing", 0.51, 200, Lost},
		{"one is missing", 1, 101, Lost},
	} {
		got := h.Quantile(tt.q, tt.expected)
		if tt.want == Lost && got != Lost || tt.want != Lost && (got < tt.want || got > tt.want+tt.want/128) {
			t.Errorf("%s: Quantile(%v, %d) = %v, want %v", tt.name, tt.q, tt.expected, got, tt.want)
		}
	}
	if got := new(Histogram).Quantile(0.5, 0); got != Lost {
		t.Errorf("of nothing: %v, want Lost", got)
	}
}

// TestQuantileExact compares with sorted values, over nine decades.
func TestQuantileExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h, a, b Histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(math.Exp(r.Float64() * math.Log(float64(500*time.Second))))
		all = append(all, d)
		h.Add(d)
		if i%3 == 0 {
			a.Add(d)
		} else {
			b.Add(d)
		}
	}
	a.Merge(&b)
	slices.Sort(all)
	text, err := json.Marshal(&a)
	if err != nil {
		t.Fatal(err)
	}
	var back Histogram
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	for _, q := range []float64{0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[int(math.Ceil(q*float64(len(all))))-1]
		got := h.Quantile(q, 0)
		if got < want.Truncate(time.Microsecond) || got > want+want/128 {
			t.Errorf("Quantile(%v) = %v, want %v", q, got, want)
		}
		if m, j := a.Quantile(q, 0), back.Quantile(q, 0); m != got || j != got {
			t.Errorf("Quantile(%v) = %v merged, %v through JSON, want %v", q, m, j, got)
		}
	}
	if back.Count() != h.Count() || back.Max() != h.Max() {
		t.Errorf("through JSON: %d, %v, want %d, %v", back.Count(), back.Max(), h.Count(), h.Max())
	}
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	h.Add(-time.Second)
	h.Add(1000 * time.Hour)
	if h.Count() != 2 || h.Quantile(0.5, 0) != 0 || len(h.counts) != maxBucket+1 {
		t.Errorf("count %d, least %v, %d buckets", h.Count(), h.Quantile(0.5, 0), len(h.counts))
	}
	for _, text := range []string{`{"buckets":[[-1,1]]}`, `{"buckets":[[1000000000,1]]}`, `{"buckets":[[1,-1]]}`, `[]`} {
		if err := new(Histogram).UnmarshalJSON([]byte(text)); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
	for us := range uint64(1 << 20) { // every bucket holds what it says
		if i := bucketOf(us); uint64(bucketTop(i).Microseconds()) < us || i > 0 && uint64(bucketTop(i-1).Microseconds()) >= us {
			t.Fatalf("%d µs is in bucket %d, which ends at %v", us, i, bucketTop(i))
		}
	}
}
