package cmaf

import (
	"math"
	"testing"
	"time"
)

func TestRescale(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ticks    uint64
		from, to uint32 // ticks per second
		want     uint64
	}{
		{"29.97 fps frame at 90 kHz", 1001, 30000, 90000, 3003},
		{"nearest, not down", 1, 90000, 48000, 1},
		{"halves up", 1, 2, 1, 1},
		{"a century fits", 283824000000000, 90000, 48000, 151372800000000},
		{"a century of nanoseconds", 3155760000000000000, 1000000000, 90000, 284018400000000},
		{"too much becomes the most", math.MaxUint64, 1, 2, math.MaxUint64},
		{"the most that fits", math.MaxUint64, 7, 7, math.MaxUint64},
		{"no timescale", 5, 0, 1000, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Rescale(tt.ticks, tt.from, tt.to); got != tt.want {
				t.Errorf("Rescale(%d, %d, %d) = %d, want %d", tt.ticks, tt.from, tt.to, got, tt.want)
			}
		})
	}
}

func TestTimeCompare(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b Time
		want int
	}{
		{"equal across scales", Time{1001, 30000}, Time{3003, 90000}, 0},
		{"one tick less", Time{1001, 30000}, Time{3004, 90000}, -1},
		{"negative", Time{-1, 1000}, Time{1, 90000}, -1},
		{"both negative", Time{-1, 1000}, Time{-91, 90000}, 1},
		{"beyond 64 bits", Time{math.MaxInt64, 90000}, Time{math.MaxInt64, 90001}, 1},
		{"the zero Time is 0", Time{}, Time{0, 48000}, 0},
		{"the zero Time before", Time{}, Time{1, 48000}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.a.Compare(tt.b); got != tt.want {
				t.Errorf("%v.Compare(%v) = %d, want %d", tt.a, tt.b, got, tt.want)
			}
			if got := tt.b.Compare(tt.a); got != -tt.want {
				t.Errorf("%v.Compare(%v) = %d, want %d", tt.b, tt.a, got, -tt.want)
			}
		})
	}
}

func TestTimeArithmetic(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want Time
	}{
		{"a whole number of seconds stays exact", Time{1001, 30000}.Add(Time{1795190400, 1}), Time{53855712001001, 30000}},
		{"difference in the first's scale", Time{90000, 90000}.Sub(Time{512, 12800}), Time{86400, 90000}},
		{"from nothing", Time{}.Sub(Time{5, 1000}), Time{-5, 1000}},
		{"negative halves away from 0", Time{-1, 2}.In(1), Time{-1, 1}},
		{"duration", FromDuration(-1500*time.Millisecond, 48000), Time{-72000, 48000}},
		{"too much becomes the most", Time{math.MinInt64, 1}.In(2), Time{-math.MaxInt64, 2}},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	if got, want := (Time{1001, 30000}).Duration(), 33366667*time.Nanosecond; got != want {
		t.Errorf("Duration = %v, want %v", got, want)
	}
	if got := (Time{-45, 90}).Seconds(); got != -0.5 {
		t.Errorf("Seconds = %v, want -0.5", got)
	}
}
