package fmp4

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// TestSegmentsSentAgain is DASH-IF live media ingest, interface 1: after a
// connection that broke, the header and the last fragments come once more.
func TestSegmentsSentAgain(t *testing.T) {
	once := newBench(t, Config{}, 0)
	once.mustDo("PUT", "cam", fixture(t, "everyframe.mp4"))
	once.wait(t, "one second", once.whole)
	want := map[string][]int64{}
	for name, tr := range once.all[0].tracks {
		want[name] = tr.ends
	}
	for _, long := range []bool{false, true} { // a request per segment, or one that lasts
		t.Run(fmt.Sprintf("long=%t", long), func(t *testing.T) {
			b := newBench(t, Config{}, 0)
			header, fragments := split(t, fixture(t, "everyframe.mp4"))
			n := len(fragments)
			if long {
				all := bytes.Join(fragments, nil)
				cut := len(bytes.Join(fragments[:n/2], nil))
				b.do("PUT", "cam/video.cmfv", bytes.NewReader(append(bytes.Clone(header), all[:cut+100]...))) // breaks off inside a fragment
				b.mustDo("PUT", "cam/video.cmfv", append(bytes.Clone(header), bytes.Join(fragments[n/2-2:], nil)...))
			} else {
				b.mustDo("PUT", "cam/init-0.mp4", header)
				for i, f := range fragments {
					b.mustDo("PUT", fmt.Sprintf("cam/chunk-0-%d.m4s", i+1), f)
					if i == n/2 {
						b.mustDo("PUT", "cam/init-0.mp4", header)
						b.mustDo("PUT", fmt.Sprintf("cam/chunk-0-%d.m4s", i), fragments[i-1])
						b.mustDo("PUT", fmt.Sprintf("cam/chunk-0-%d.m4s", i+1), f)
					}
				}
			}
			b.wait(t, "one second", b.whole)
			defer b.lock()()
			if got := len(b.all); got != 1 || b.all[0].jumps != 0 {
				t.Fatalf("%d broadcasts, want 1; %d jumps in the first, want none", got, b.all[0].jumps)
			}
			for name, tr := range b.all[0].tracks {
				if got := tr.ends; !slices.Equal(got, want[name]) {
					t.Errorf("%s: chunks end at %d, want %d", name, got, want[name])
				}
			}
			var m dto.Metric
			if err := b.h.metrics.repeated.Write(&m); err != nil || m.GetCounter().GetValue() == 0 {
				t.Errorf("repeated samples = %v, %v, want some", m.GetCounter().GetValue(), err)
			}
		})
	}
}
