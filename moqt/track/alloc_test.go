//go:build !race

package track

import (
	"testing"
)

// TestAllocations holds the budgets of the data path. What a track allocates is
// its log: slabs and index, a fraction of an allocation for each small object.
func TestAllocations(t *testing.T) {
	payload := fill(400)
	tr := newTestTrack(Config{})
	f := &flagged{wake: make(chan struct{}, 1)}
	tr.Attach(f)
	w := open(t, tr, 0)
	s := w.sub
	id := uint64(0)
	var seen uint64
	write := func() {
		if err := w.WriteObject(Object{ID: id, Payload: payload}); err != nil {
			t.Fatal(err)
		}
		id++
	}
	b := stream(false, Object{Payload: payload})
	for _, tt := range []struct {
		name string
		max  float64
		f    func()
	}{
		{"commit of an object", 0, write},
		{"commit of stream bytes", 0, func() {
			if _, err := w.Write(b); err != nil {
				t.Fatal(err)
			}
		}},
		{"commit of stream bytes, cut in a header", 0, func() {
			for _, piece := range [][]byte{b[:1], b[1:]} {
				if _, err := w.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"wake-up", 0, tr.notify},
		{"look at the track", 0, func() { _, seen = tr.Since(seen) }},
		{"read of a piece", 0, func() { s.Bytes(s.Committed()-100, 100) }},
		{"read of an object", 0, func() { s.Load(s.Objects() - 2) }},
	} {
		if got := testing.AllocsPerRun(1000, tt.f); got > tt.max {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.max)
		}
		id = w.lastID + 1
	}
}
