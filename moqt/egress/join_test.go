package egress

import (
	"fmt"
	"testing"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestJoin subscribes in the middle of group 5, of which objects 0 to 9
// are there, and says which streams a subscriber gets in the end.
func TestJoin(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start track.Location
		end   uint64
		at    []string // at once
		later []string // when groups 5, 6 and 7 are complete
		done  []string
	}{
		{
			"the current group from its start",
			track.Location{Group: 5},
			openEnd,
			[]string{"5/0 0..9 first "},
			[]string{"5/0 0..14 first FIN", "6/0 0..4 first FIN", "7/0 0..4 first FIN"},
			nil,
		},
		{
			"strictly the next object",
			track.Location{Group: 5, Object: 10},
			openEnd,
			nil,
			[]string{"5/0 10..14 FIN", "6/0 0..4 first FIN", "7/0 0..4 first FIN"},
			nil,
		},
		{
			"an object that is there",
			track.Location{Group: 5, Object: 4},
			openEnd,
			[]string{"5/0 4..9 "},
			[]string{"5/0 4..14 FIN", "6/0 0..4 first FIN", "7/0 0..4 first FIN"},
			nil,
		},
		{
			"an object that never comes",
			track.Location{Group: 5, Object: 100},
			openEnd,
			nil,
			[]string{"6/0 0..4 first FIN", "7/0 0..4 first FIN"},
			nil,
		},
		{
			"the next group",
			track.Location{Group: 6},
			openEnd,
			nil,
			[]string{"6/0 0..4 first FIN", "7/0 0..4 first FIN"},
			nil,
		},
		{
			"the past",
			track.Location{Group: 3, Object: 2},
			openEnd,
			[]string{"3/0 2..4 FIN", "4/0 0..4 first FIN", "5/0 0..9 first "},
			[]string{"3/0 2..4 FIN", "4/0 0..4 first FIN", "5/0 0..14 first FIN", "6/0 0..4 first FIN", "7/0 0..4 first FIN"},
			nil,
		},
		{
			"a range up to the group that is open",
			track.Location{Group: 4},
			5,
			[]string{"4/0 0..4 first FIN", "5/0 0..9 first "},
			[]string{"4/0 0..4 first FIN", "5/0 0..14 first FIN"},
			[]string{"video SUBSCRIPTION_ENDED 2"},
		},
		{
			"the rest of one group",
			track.Location{Group: 5, Object: 3},
			5,
			[]string{"5/0 3..9 "},
			[]string{"5/0 3..14 FIN"},
			[]string{"video SUBSCRIPTION_ENDED 1"},
		},
		{
			"a range in the past",
			track.Location{Group: 3},
			4,
			[]string{"3/0 0..4 first FIN", "4/0 0..4 first FIN"},
			[]string{"3/0 0..4 first FIN", "4/0 0..4 first FIN"},
			[]string{"video SUBSCRIPTION_ENDED 2"},
		},
		{
			"the future",
			track.Location{Group: 7},
			openEnd,
			nil,
			[]string{"7/0 0..4 first FIN"},
			nil,
		},
	} {
		for _, size := range []int{0, 10, 5000} {
			t.Run(fmt.Sprintf("%s/bytes=%d", tt.name, size), func(t *testing.T) {
				r := newRig(t, Config{})
				tr := r.track("video")
				for g := uint64(2); g < 5; g++ {
					wholeGroup(t, tr, g, 5, size)
				}
				w := subgroup(t, tr, 5, 0)
				objects(t, w, 0, 9, size)
				r.add(tr, func(s *Sub) { s.Start, s.EndGroup, s.Alias = tt.start, tt.end, 77 })
				r.run()
				expect(t, "at once", r.sent(), tt.at...)
				objects(t, w, 10, 14, size)
				r.run()
				finish(t, w)
				wholeGroup(t, tr, 6, 5, size)
				r.run()
				wholeGroup(t, tr, 7, 5, size)
				r.run()
				expect(t, "later", r.sent(), tt.later...)
				expect(t, "done", r.done, tt.done...)
				for _, s := range r.conn.streams {
					p := s.parse(t)
					if p.header.Alias != 77 {
						t.Errorf("the alias is %d, want 77", p.header.Alias)
					}
					for i, b := range p.payload {
						if len(b) != size || size > 0 && b[0] != byte(p.ids[i]) {
							t.Errorf("object %d has another payload", p.ids[i])
						}
					}
				}
			})
		}
	}
}

// TestHeader says which facts of the received stream the subscriber's
// stream keeps.
func TestHeader(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   wire.SubgroupHeader
		want wire.SubgroupHeader
	}{
		{
			"as received",
			wire.SubgroupHeader{Alias: 9, Group: 3, Subgroup: 4, Priority: 7, Properties: true, EndOfGroup: true, FirstObject: true},
			wire.SubgroupHeader{Alias: 1, Group: 3, Subgroup: 4, Priority: 7, Properties: true, EndOfGroup: true, FirstObject: true},
		},
		{
			"default priority, stream cut upstream",
			wire.SubgroupHeader{Alias: 9, Group: 3, DefaultPriority: true},
			wire.SubgroupHeader{Alias: 1, Group: 3, DefaultPriority: true},
		},
		{
			"ID of the first object",
			wire.SubgroupHeader{Alias: 9, Group: 3, FirstIDMode: true, DefaultPriority: true, FirstObject: true},
			wire.SubgroupHeader{Alias: 1, Group: 3, Subgroup: 12, DefaultPriority: true, FirstObject: true},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Config{})
			tr := r.track("video")
			r.add(tr, nil)
			w, err := tr.Subgroup(track.HeaderFromWire(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			r.run()
			objects(t, w, 12, 13, 5)
			r.run()
			if got := r.conn.streams[0].parse(t); got.header != tt.want || len(got.ids) != 2 {
				t.Errorf("the header is %+v with %d objects, want %+v", got.header, len(got.ids), tt.want)
			}
		})
	}
}

// TestKeepsProperties enters in the middle of a subgroup whose objects
// have properties: the header that is encoded anew keeps them, and a mark of
// the end is one afterwards.
func TestKeepsProperties(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	w, err := tr.Subgroup(track.SubgroupHeader{Properties: true, FirstObject: true})
	if err != nil {
		t.Fatal(err)
	}
	props := track.NewProperties(track.Property{Type: track.PropTimestamp, Uint: 1234})
	for id := range uint64(3) {
		if err := w.WriteObject(track.Object{ID: 1000 * id, Properties: props, Payload: []byte{1, 2}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteObject(track.Object{ID: 5000, Status: track.ObjectEndOfGroup}); err != nil {
		t.Fatal(err)
	}
	for _, object := range []uint64{1, 1001, 2001} {
		r.add(tr, func(s *Sub) { s.Start.Object = object })
	}
	r.run()
	expect(t, "streams", r.sent(), "0/0 1000..5000 ", "0/0 2000..5000 ", "0/0 5000..5000 ")
	for i, s := range r.conn.streams {
		_, n, _ := wire.ParseSubgroupHeader(s.data)
		h, _, err := wire.ParseObjectHeader(s.data[n:], true)
		if err != nil {
			t.Fatal(err)
		}
		if i < 2 && string(h.Properties) != string(props) {
			t.Errorf("stream %d begins with properties %x, want %x", i, h.Properties, props)
		}
		if i == 2 && h.Status != track.ObjectEndOfGroup {
			t.Errorf("stream %d begins with status %v", i, h.Status)
		}
	}
}

func TestCutThrough(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	r.add(tr, nil)
	w := subgroup(t, tr, 0, 0)
	b := wire.ObjectHeader{Length: 1000}.Append(nil, false)
	if _, err := w.Write(append(b, make([]byte, 400)...)); err != nil {
		t.Fatal(err)
	}
	r.run()
	if p := r.conn.streams[0].parse(t); len(p.payload) != 1 || len(p.payload[0]) != 400 || p.end != "" {
		t.Fatalf("inside an object the receiver has %v", p)
	}
	w.Abort(wire.ResetDeliveryTimeout)
	r.run()
	expect(t, "after the cut", r.sent(), "0/0 0..0 first cut DELIVERY_TIMEOUT")
}

// TestEndsAsTheLog says how a stream ends, by how its log does.
func TestEndsAsTheLog(t *testing.T) {
	codes := []wire.ResetCode{
		wire.ResetInternalError, wire.ResetCancelled, wire.ResetDeliveryTimeout, wire.ResetSessionClosed, wire.ResetGoingAway,
		wire.ResetTooFarBehind, wire.ResetExcessiveLoad, wire.ResetMalformedTrack,
	}
	for _, early := range []bool{true, false} { // the subscriber is there before the cut
		for _, code := range codes {
			r := newRig(t, Config{})
			tr := r.track("video")
			if early {
				r.add(tr, nil)
			}
			w := subgroup(t, tr, 0, 0)
			objects(t, w, 0, 4, 100)
			r.run()
			w.Abort(code)
			if !early {
				r.add(tr, nil)
			}
			r.run()
			if early {
				expect(t, code.String(), r.sent(), "0/0 0..4 first "+code.String())
			} else {
				expect(t, code.String(), r.sent()) // a subgroup that is cut already is not begun
			}
		}
	}
	t.Run("evicted while open", func(t *testing.T) {
		r := newRig(t, Config{})
		tr := track.New(track.Name{Name: "video"}, track.Info{}, track.Config{MaxGroups: 2})
		r.add(tr, nil)
		objects(t, subgroup(t, tr, 0, 0), 0, 4, 100)
		r.run()
		wholeGroup(t, tr, 1, 1, 10)
		wholeGroup(t, tr, 2, 1, 10)
		r.run()
		expect(t, "streams", r.sent(), "0/0 0..4 first TOO_FAR_BEHIND", "1/0 0..0 first FIN", "2/0 0..0 first FIN")
	})
	t.Run("evicted with data to send", func(t *testing.T) {
		r := newRig(t, Config{})
		tr := track.New(track.Name{Name: "video"}, track.Info{}, track.Config{MaxGroups: 2})
		r.conn.window = 1000
		r.add(tr, nil)
		wholeGroup(t, tr, 0, 5, 400)
		r.run()
		wholeGroup(t, tr, 1, 1, 10)
		wholeGroup(t, tr, 2, 1, 10)
		r.run()
		expect(t, "streams", r.sent(), "0/0 0..2 first cut TOO_FAR_BEHIND", "1/0 0..0 first FIN", "2/0 0..0 first FIN")
	})
	t.Run("an empty subgroup", func(t *testing.T) {
		r := newRig(t, Config{})
		tr := r.track("video")
		r.add(tr, nil)
		w := subgroup(t, tr, 0, 0)
		r.run()
		expect(t, "open", r.sent(), "0/0 - first ")
		finish(t, w)
		r.run()
		expect(t, "closed", r.sent(), "0/0 - first FIN")
	})
}
