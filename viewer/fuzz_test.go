package viewer

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// Whatever a publisher sends as catalog, object and properties, a viewer
// neither panics nor hangs, and hands on no time that goes back.
func FuzzView(f *testing.F) {
	doc, err := catalogOf("v", "a").Marshal()
	if err != nil {
		f.Fatal(err)
	}
	v, _ := headers()
	props := track.NewProperties(
		track.Property{Type: track.PropPriorGroupIDGap, Uint: 1}, track.Property{Type: propInitData, Bytes: v.Init})
	f.Add(doc, chunk(vs, vs, true).AppendTo(nil, 1, 1), []byte(props))
	f.Add(doc, chunk(1<<62, 1<<31, true).AppendTo(nil, 1, 1), []byte(nil))
	f.Add([]byte(`{"version":"draft-01","tracks":[],"isComplete":true}`), []byte{}, []byte(nil))
	f.Fuzz(func(t *testing.T, doc, object, props []byte) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource("v", "a")
			feed := func(name string, o track.Object) {
				tr := src.tracks[name]
				l, _ := tr.Largest()
				w, err := tr.Subgroup(track.SubgroupHeader{Group: l.Group + 2, FirstObject: true, EndOfGroup: true, Properties: o.Properties != nil})
				if err != nil {
					return
				}
				if w.WriteObject(o) != nil {
					w.Abort(track.ResetInternalError)
					return
				}
				w.Close()
			}
			feed(catalog.TrackName, track.Object{Payload: doc})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var wg sync.WaitGroup
			for _, mode := range []Mode{Live, Lossless} {
				view, err := New(src, ns, Config{Mode: mode, Duration: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() { view.Run(ctx, &capture{}) })
			}
			synctest.Wait()
			back := chunk(0, vs, true).AppendTo(nil, 1, 1)
			for _, name := range []string{"v", "a"} {
				feed(name, track.Object{Payload: object, Properties: props})
				feed(name, track.Object{Payload: back})
			}
			feed(catalog.TrackName, track.Object{Payload: doc, Properties: props})
			wg.Wait()
		})
	})
}

func FuzzRising(f *testing.F) {
	f.Add(int64(100), int64(0), int64(1<<40), uint32(12_800), uint32(48_000))
	f.Fuzz(func(t *testing.T, a, b, c int64, s1, s2 uint32) {
		const most = 1 << 50 // beyond it sums overflow; ticks of a century fit
		if s1 == 0 || s2 == 0 || max(a, b, c) > most || min(a, b, c) < -most {
			return
		}
		var r rising
		var t1, t2 trackRising
		var last1, last2 int64 = -1 << 62, -1 << 62
		for _, dts := range []int64{a, b, c, a, c, b} {
			x, y := chunk(dts, 1, true), chunk(dts, 1, true)
			r.move(&t1, &x, s1)
			r.move(&t2, &y, s2)
			if x.DecodeTime < last1 || y.DecodeTime < last2 {
				t.Fatalf("time goes back: %d after %d, %d after %d", x.DecodeTime, last1, y.DecodeTime, last2)
			}
			if t1.run == t2.run && t1.run == r.run && t2.shift != r.shift {
				t.Fatalf("tracks of a run are moved by %d and %d s", t1.shift, t2.shift)
			}
			last1, last2 = x.DecodeTime, y.DecodeTime
			if max(last1, last2) > 1<<60 {
				return
			}
		}
	})
}

// BenchmarkPassage measures the time from a chunk's arrival in a track to its
// being handed on.
func BenchmarkPassage(b *testing.B) {
	src := newFakeSource("v")
	got := make(chan struct{})
	v, err := New(src, ns, Config{OnObject: func(Object) { got <- struct{}{} }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { v.Run(ctx, discard{}); close(done) }()
	src.publish(b, catalogOf("v"))
	payload := make([]byte, 16<<10) // one frame at 4 Mb/s and 30 fps
	number := uint64(0)
	var g *testGroup
	for i := 0; b.Loop(); i++ {
		if i%30 == 0 {
			if g != nil {
				g.end()
			}
			number++
			g = src.group(b, "v", number)
		}
		c := chunk(int64(i)*vs/30, vs/30, i%30 == 0)
		c.Data, c.Samples[0].Size = payload, uint32(len(payload))
		g.chunk(c)
		<-got
	}
	cancel()
	<-done
}

type discard struct{}

func (discard) AddTrack(string, cmaf.Header) (cmaf.Sink, error) { return discardSink{}, nil }
func (discard) Event(cmaf.Event) error                          { return nil }
func (discard) Discontinuity(string)                            {}
func (discard) Anchor(cmaf.Time, time.Time)                     {}
func (discard) Close(error) error                               { return nil }

type discardSink struct{}

func (discardSink) WriteChunk(cmaf.Chunk) error { return nil }
func (discardSink) Close() error                { return nil }
