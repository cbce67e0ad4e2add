//go:build !race

package egress

import (
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
)

// TestAllocations holds the budget of the sending path: at most one
// allocation for each object and viewer, whatever the size of the groups.
func TestAllocations(t *testing.T) {
	const viewers = 10
	for _, tt := range []struct {
		name   string
		perObj bool // a group and a stream for each object, as audio may be sent
		max    float64
	}{
		{"objects of one group", false, 0},
		{"a stream for each object", true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := track.New(track.Name{Name: "video"}, track.Info{}, track.Config{MaxGroups: 8})
			var es []*Scheduler
			for range viewers {
				e := New(nullConn{}, Config{}, nil, nil)
				e.Add(subTo(tr))
				e.take(time.Now())
				es = append(es, e)
			}
			payload := make([]byte, 1000)
			var w *track.SubgroupWriter
			group, id := uint64(0), uint64(0)
			got := testing.AllocsPerRun(500, func() {
				if w == nil || tt.perObj {
					group++
					w, _ = tr.Subgroup(track.SubgroupHeader{Group: group, FirstObject: true})
					id = 0
				}
				if err := w.WriteObject(track.Object{ID: id, Payload: payload}); err != nil {
					t.Fatal(err)
				}
				id++
				if tt.perObj {
					w.Close()
				}
				for _, e := range es {
					e.take(time.Now())
					if deadline, err := e.work(time.Now()); err != nil || !deadline.IsZero() {
						t.Fatal(deadline, err)
					}
				}
			})
			if perViewer := got / viewers; perViewer > tt.max {
				t.Errorf("%v allocations for each object and viewer, want at most %v", perViewer, tt.max)
			}
			if n := nullSent.Load(); n == 0 {
				t.Error("nothing was sent")
			}
		})
	}
}
