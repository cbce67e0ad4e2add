package egress

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A nullConn takes everything and keeps nothing.
type nullConn struct{ conn.Conn }

// nullSent counts the bytes that nullConns took.
var nullSent atomic.Int64

type nullStream struct{ conn.SendStream }

var theNullStream conn.SendStream = nullStream{}

func (nullConn) OpenUniStream() (conn.SendStream, error) { return theNullStream, nil }
func (nullConn) Stats() conn.Stats                       { return conn.Stats{} }
func (nullConn) Context() context.Context                { return context.Background() }
func (nullStream) TryWrite(p []byte) error               { nullSent.Add(int64(len(p))); return nil }
func (nullStream) Close() error                          { return nil }
func (nullStream) CancelWrite(wire.ResetCode)            {}
func (nullStream) SetPriority(int, bool)                 {}
func (nullStream) SetReliableBoundary()                  {}

// BenchmarkEgress is what a video frame at 4 Mb/s and 30 fps costs the schedulers
// of its viewers, all on one core and without a transport: the floor under what
// a viewer costs.
func BenchmarkEgress(b *testing.B) {
	for _, size := range []int{400, 16 << 10} {
		for _, viewers := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("bytes=%d/viewers=%d", size, viewers), func(b *testing.B) {
				tr := track.New(track.Name{Name: "video"}, track.Info{}, track.Config{MaxGroups: 2})
				var es []*Scheduler
				for range viewers {
					e := New(nullConn{}, Config{}, nil, nil)
					e.Add(subTo(tr))
					e.take(time.Now())
					es = append(es, e)
				}
				payload := make([]byte, size)
				var w *track.SubgroupWriter
				b.ReportAllocs()
				for n := uint64(0); b.Loop(); n++ {
					if n%30 == 0 { // a group of pictures
						if w != nil {
							w.Close()
						}
						w = subgroup(b, tr, n/30, 0)
					}
					if err := w.WriteObject(track.Object{ID: n % 30, Payload: payload}); err != nil {
						b.Fatal(err)
					}
					for _, e := range es {
						e.take(time.Now())
						if _, err := e.work(time.Now()); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*viewers), "ns/object/viewer")
			})
		}
	}
}

// BenchmarkEgressTracks is the same for one connection with many tracks, which
// the scheduler ranks.
func BenchmarkEgressTracks(b *testing.B) {
	for _, tracks := range []int{3, 64} {
		b.Run(fmt.Sprintf("tracks=%d", tracks), func(b *testing.B) {
			e := New(nullConn{}, Config{}, nil, nil)
			trs, ws := make([]*track.Track, tracks), make([]*track.SubgroupWriter, tracks)
			for i := range trs {
				trs[i] = track.New(track.Name{Name: "video"}, track.Info{}, track.Config{MaxGroups: 2})
				e.Add(subTo(trs[i]))
			}
			payload := make([]byte, 400)
			b.ReportAllocs()
			for n := uint64(0); b.Loop(); n++ {
				for i, tr := range trs {
					if n%30 == 0 {
						if ws[i] != nil {
							ws[i].Close()
						}
						ws[i] = subgroup(b, tr, n/30, 0)
					}
					if err := ws[i].WriteObject(track.Object{ID: n % 30, Payload: payload}); err != nil {
						b.Fatal(err)
					}
				}
				e.take(time.Now())
				if _, err := e.work(time.Now()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tracks), "ns/object")
		})
	}
}
