package egress

import (
	"fmt"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// TestMessagesArrive sends twenty messages a second, each a group of its own, to
// a subscriber whose connection has room for them. All arrive, whichever group
// order it asks for, whatever holds them up for less than MinLag, and however
// long the process was not run: what has not been looked at is not late.
func TestMessagesArrive(t *testing.T) {
	const every, count = 50 * time.Millisecond, 200
	for _, order := range []track.GroupOrder{track.Ascending, track.Descending} {
		for _, tt := range []struct {
			name  string
			sleep int // groups that come while the process does not run
			slots int // streams that the peer allows before each group
			gone  int // groups for which it allows none
			stuck int // groups for which the transport sends nothing
		}{
			{name: "at_once", slots: unlimited},
			{name: "the_process_stands_still", sleep: 60, slots: unlimited},
			{name: "no_stream_credit_for_400_ms", slots: 16, gone: 8},
			{name: "the_transport_stands_still", slots: unlimited, stuck: 60},
		} {
			t.Run(fmt.Sprintf("%s/%v", tt.name, order), func(t *testing.T) {
				r := newRig(t, Config{})
				r.conn.exact = true
				r.conn.stats = conn.Stats{BytesSent: 1, CongestionWindow: 40_000, SmoothedRTT: 20 * time.Millisecond}
				tr := r.track("chat")
				r.add(tr, func(s *Sub) { s.Order = order })
				r.conn.slots = tt.slots
				for g := range uint64(count) {
					wholeGroup(t, tr, g, 1, 200)
					r.now = r.now.Add(every)
					if at := int(g) % 100; at < tt.sleep {
						continue
					} else if r.conn.hold, r.conn.slots = at < tt.stuck, tt.slots; at < tt.gone {
						r.conn.slots = 0
					}
					r.pass(0)
				}
				r.pass(time.Second)
				got := make(map[uint64]bool)
				for _, s := range r.conn.streams {
					p := s.parse(t)
					if len(p.payload) != 1 || len(p.payload[0]) != 200 || p.end != "FIN" || got[p.header.Group] {
						t.Errorf("a stream is %v", p)
					}
					got[p.header.Group] = true
				}
				if c := r.core.counts; len(got) != count || c.dropped+c.jumps+c.resets != 0 {
					t.Errorf("%d of %d messages arrived; %+v", len(got), count, c)
				}
			})
		}
	}
}

// TestMessagesTooLate has a peer allow no stream for longer than MinLag: what
// waits is dropped, and the newest message is the first to go.
func TestMessagesTooLate(t *testing.T) {
	for _, order := range []track.GroupOrder{track.Ascending, track.Descending} {
		t.Run(order.String(), func(t *testing.T) {
			r := newRig(t, Config{})
			tr := r.track("chat")
			s := r.add(tr, func(s *Sub) { s.Order = order })
			r.conn.slots = 0
			for g := range uint64(60) {
				wholeGroup(t, tr, g, 1, 200)
				r.pass(50 * time.Millisecond)
				if n := len(s.streams); n > 12 {
					t.Fatalf("%d messages wait, more than came in 500 ms", n)
				}
			}
			if c := r.core.counts; c.dropped+c.jumps == 0 {
				t.Error("none was dropped")
			}
			r.conn.slots = 1
			r.pass(20 * time.Millisecond)
			if len(r.conn.streams) != 1 || r.conn.streams[0].parse(t).header.Group != 59 {
				t.Errorf("the first is %v, want the newest", r.sent())
			}
		})
	}
}
