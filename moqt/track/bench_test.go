package track

import (
	"fmt"
	"testing"
)

// BenchmarkGroupFanout is a video frame at 4 Mb/s and 30 fps, written once and
// read by each reader as an egress scheduler does: in ranges of 16 KiB, without
// a copy.
func BenchmarkGroupFanout(b *testing.B) {
	payload := make([]byte, 16<<10)
	for _, readers := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			tr := newTestTrack(Config{MaxGroups: 2})
			flags := make([]*flagged, readers)
			for i := range flags {
				flags[i] = &flagged{wake: make(chan struct{}, 1)}
				tr.Attach(flags[i])
			}
			var w *SubgroupWriter
			var s *Subgroup
			cursors := make([]int64, readers)
			b.ReportAllocs()
			for n := uint64(0); b.Loop(); n++ {
				if n%30 == 0 { // a group of pictures
					if w != nil {
						w.Close()
					}
					w = open(b, tr, n/30)
					s = w.sub
					clear(cursors)
				}
				if err := w.WriteObject(Object{ID: n % 30, Payload: payload}); err != nil {
					b.Fatal(err)
				}
				for i, f := range flags {
					if !f.dirty.Swap(false) {
						b.Fatal("a reader was not woken")
					}
					for p := s.Bytes(cursors[i], 16<<10); len(p) > 0; p = s.Bytes(cursors[i], 16<<10) {
						cursors[i] += int64(len(p))
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*readers), "ns/object/reader")
		})
	}
}

// BenchmarkCommit is what one object costs its writer, by size and by the
// number of connections to wake.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{400, 16 << 10, 135 << 10} {
		for _, readers := range []int{0, 1000} {
			b.Run(fmt.Sprintf("bytes=%d/readers=%d", size, readers), func(b *testing.B) {
				tr := newTestTrack(Config{MaxGroups: 2})
				for range readers {
					tr.Attach(&flagged{wake: make(chan struct{}, 1)})
				}
				payload := make([]byte, size)
				var w *SubgroupWriter
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for n := uint64(0); b.Loop(); n++ {
					if n%60 == 0 {
						if w != nil {
							w.Close()
						}
						w = open(b, tr, n/60)
					}
					if err := w.WriteObject(Object{ID: n % 60, Payload: payload}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkReceive is what a subgroup stream costs a session that fills a track
// with what it reads, 1200 bytes at a time.
func BenchmarkReceive(b *testing.B) {
	for _, size := range []int{400, 16 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			tr := newTestTrack(Config{MaxGroups: 2})
			var objects []Object
			for i := range uint64(60) {
				objects = append(objects, Object{ID: i, Payload: make([]byte, size)})
			}
			wire := stream(false, objects...)
			b.SetBytes(int64(len(wire)))
			b.ReportAllocs()
			for n := uint64(0); b.Loop(); n++ {
				w := open(b, tr, n)
				for rest := wire; len(rest) > 0; {
					took := min(1200, len(rest))
					if _, err := w.Write(rest[:took]); err != nil {
						b.Fatal(err)
					}
					rest = rest[took:]
				}
				closed(b, w)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(objects)), "ns/object")
		})
	}
}
