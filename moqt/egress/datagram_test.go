package egress

import (
	"fmt"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// gram writes an object to tr as a datagram.
func gram(t tester, tr *track.Track, group, id uint64, size int, set func(*track.Object)) {
	t.Helper()
	o := track.Object{Group: group, ID: id, Priority: track.DefaultPriority, Payload: make([]byte, size)}
	if set != nil {
		set(&o)
	}
	if err := tr.WriteDatagram(o); err != nil {
		t.Fatal(err)
	}
}

// grams says which datagrams the peer got.
func (r *rig) grams() (lines []string) {
	r.t.Helper()
	for _, b := range r.conn.grams {
		d, err := wire.ParseDatagram(b)
		if err != nil {
			r.t.Fatal(err)
		}
		line := fmt.Sprintf("%d: %d/%d %d", d.Alias, d.Group, d.Object, len(d.Payload))
		if !d.DefaultPriority {
			line += fmt.Sprintf(" priority %d", d.Priority)
		}
		if d.EndOfGroup {
			line += " end"
		}
		if d.Status != wire.ObjectNormal {
			line += " " + d.Status.String()
		}
		lines = append(lines, line)
	}
	return lines
}

func newGramRig(t tester) *rig {
	r := newRig(t, Config{})
	r.conn.mtu = 1200
	return r
}

func TestDatagrams(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*Sub)
		want []string
	}{
		{"11.3.1 all", nil, []string{"1: 4/0 10", "1: 4/1 10", "1: 5/0 10 priority 7", "1: 5/1 10 end", "1: 6/0 0 END_OF_GROUP"}},
		{"5.1.2 from a location on", func(s *Sub) { s.Start = track.Location{Group: 5, Object: 1} }, []string{"1: 5/1 10 end", "1: 6/0 0 END_OF_GROUP"}},
		{"5.1.2 up to a group", func(s *Sub) { s.EndGroup = 4 }, []string{"1: 4/0 10", "1: 4/1 10"}},
		{"5.1.2 not forwarded", func(s *Sub) { s.Forward = false }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newGramRig(t)
			tr := r.track("chat")
			r.add(tr, func(s *Sub) {
				if tt.set != nil {
					tt.set(s)
				}
			})
			gram(t, tr, 4, 0, 10, nil)
			gram(t, tr, 4, 1, 10, nil)
			r.run()
			gram(t, tr, 5, 0, 10, func(o *track.Object) { o.Priority = 7 })
			r.run()
			gram(t, tr, 5, 1, 10, func(o *track.Object) { o.EndOfGroup = true })
			gram(t, tr, 6, 0, 0, func(o *track.Object) { o.Status = track.ObjectEndOfGroup })
			if a := r.run(); !a.until.IsZero() {
				t.Error("the core wants a timer")
			}
			expect(t, "datagrams", r.grams(), tt.want...)
			tr.End(track.DoneTrackEnded, "")
			r.run()
			if len(r.done) != 1 {
				t.Errorf("done: %v", r.done)
			}
		})
	}
}

// TestDatagramTooLarge drops what the path does not take, and goes on.
func TestDatagramTooLarge(t *testing.T) {
	r := newGramRig(t)
	tr := r.track("chat")
	r.add(tr, nil)
	gram(t, tr, 0, 0, 1300, nil)
	gram(t, tr, 0, 1, 1000, nil)
	r.run()
	expect(t, "datagrams", r.grams(), "1: 0/1 1000")
	if c := r.core.counts; c.datagrams != 1 || c.datagramsDropped != 1 {
		t.Errorf("%d counted as sent, %d as dropped", c.datagrams, c.datagramsDropped)
	}
}

// TestDatagramsUnderPressure fills the transport with a stream, and says which
// datagrams go then, and which once there is room.
func TestDatagramsUnderPressure(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name     string
		priority uint8 // of the datagrams; the stream has 100
		set      func(*Sub)
		wait     time.Duration
		count    int
		sent     []string
		later    []string
	}{
		{"7.2 a better priority goes at once", 50, nil, 0, 1, []string{"2: 0/0 10 priority 50"}, nil},
		{"7.2 a worse one waits", 150, nil, 100 * ms, 1, nil, []string{"2: 0/0 10 priority 150"}},
		{"8 not beyond OBJECT_DELIVERY_TIMEOUT", 150, func(s *Sub) { s.ObjectTimeout = 50 * ms }, 100 * ms, 1, nil, nil},
		{"8 nor SUBGROUP_DELIVERY_TIMEOUT", 150, func(s *Sub) { s.SubgroupTimeout, s.ObjectTimeout = 50*ms, time.Second }, 100 * ms, 1, nil, nil},
		{"nor for ever", 150, nil, 4 * time.Second, 1, nil, nil},
		{
			"7.2 the newest group first", 150,
			func(s *Sub) { s.Order = track.Descending },
			100 * ms, 2,
			nil,
			[]string{"2: 1/0 10 priority 150", "2: 0/0 10 priority 150"},
		},
		{"the oldest make room", 150, nil, 100 * ms, maxDatagrams + 1, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newGramRig(t)
			r.conn.exact, r.conn.hold = true, true
			r.conn.stats = conn.Stats{BytesSent: 1}
			video, chat := r.track("video", priority(100)), r.track("chat")
			r.add(video, func(s *Sub) { s.Alias = 1 })
			r.add(chat, func(s *Sub) {
				s.Alias = 2
				if tt.set != nil {
					tt.set(s)
				}
			})
			objects(t, subgroup(t, video, 0, 0), 0, 9, 50_000)
			r.run()
			for g := range uint64(tt.count) {
				gram(t, chat, g, 0, 10, func(o *track.Object) { o.Priority = tt.priority })
			}
			r.run()
			expect(t, "at once", r.grams(), tt.sent...)
			r.pass(tt.wait)
			r.conn.hold = false
			r.pass(time.Second)
			if tt.count > maxDatagrams {
				if got := r.grams(); len(got) != maxDatagrams || got[0] != "2: 1/0 10 priority 150" {
					t.Errorf("%d datagrams came, the first %q", len(got), got[0])
				}
				return
			}
			expect(t, "later", r.grams()[len(tt.sent):], tt.later...)
		})
	}
}
