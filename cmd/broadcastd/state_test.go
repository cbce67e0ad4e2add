package main

import (
	"math"
	"testing"
)

func TestCacheBytes(t *testing.T) {
	if got := cacheBytes(5 << 20); got != 5<<20 {
		t.Errorf("cacheBytes(5 MiB) = %d", got)
	}
	if got := cacheBytes(0); got < 1<<20 || got > 2<<30 {
		t.Errorf("cacheBytes(0) = %d, want a quarter of the memory, at most 2 GiB", got)
	}
	for text, want := range map[string]int64{
		"MemTotal:        2048 kB\nMemFree: 1 kB\n": 2 << 20,
		"MemFree: 1 kB\n":                                 math.MaxInt64,
		"MemTotal: many kB\n":                             math.MaxInt64,
		"MemTotal: 9223372036854775807 kB\n":              math.MaxInt64,
		"MemFree: 1 kB\nMemTotal:       16314044 kB\n...": 16314044 << 10,
	} {
		if got := memTotal(text); got != want {
			t.Errorf("memTotal(%q) = %d, want %d", text, got, want)
		}
	}
}
