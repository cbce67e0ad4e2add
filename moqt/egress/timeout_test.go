package egress

import (
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestObjectTimeout writes objects 0 and 1 of a group at once and object 2 of it
// 50 ms later, with a timeout of 100 ms, and lets the transport take some at
// some time.
func TestObjectTimeout(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		window int           // of the stream, until open
		open   time.Duration // when there is room for all
		sub    time.Duration // when the subscription begins
		wait   time.Duration
		want   string
	}{
		{"in time", 60, 90 * ms, 0, 200 * ms, "0/0 0..2 first FIN"},
		{"the next object is too old", 60, 150 * ms, 0, 200 * ms, "0/0 0..1 first cut DELIVERY_TIMEOUT"},
		{"its timer needs no event", 60, time.Hour, 0, 100 * ms, "0/0 0..1 first cut DELIVERY_TIMEOUT"},
		{"not before", 60, time.Hour, 0, 99 * ms, "0/0 0..1 first cut "},
		{"only the last object is too old", 107, time.Hour, 0, 149 * ms, "0/0 0..1 first "},
		{"only the last object is too old, now", 107, time.Hour, 0, 150 * ms, "0/0 0..1 first DELIVERY_TIMEOUT"},
		{"from the cache: it counts from the subscription on", unlimited, 0, 500 * ms, 600 * ms, "0/0 0..2 first FIN"},
	} {
		t.Run("8 "+tt.name, func(t *testing.T) {
			r := newRig(t, Config{Tick: ms})
			tr := r.track("video")
			add := func() { r.add(tr, func(s *Sub) { s.Start, s.ObjectTimeout = track.Location{}, 100*ms }) }
			r.conn.window = tt.window
			begun := r.now
			if tt.sub == 0 {
				add()
			}
			w := subgroup(t, tr, 0, 0)
			objects(t, w, 0, 1, 50)
			r.pass(50 * ms)
			objects(t, w, 2, 2, 50)
			finish(t, w)
			if tt.sub > 0 {
				r.pass(tt.sub - 50*ms)
				add()
			}
			if tt.open > 0 && tt.open < tt.wait {
				r.pass(begun.Add(tt.open).Sub(r.now))
				for _, s := range r.conn.streams {
					s.credit = unlimited
				}
			}
			r.pass(begun.Add(tt.wait).Sub(r.now))
			expect(t, "streams", r.sent(), tt.want)
		})
	}
}

// TestObjectTimeoutOfOneSubgroup checks that what timed out is not begun again,
// that everything else goes on, and that a subgroup without a stream needs none.
func TestObjectTimeoutOfOneSubgroup(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	sub := r.add(tr, func(s *Sub) { s.ObjectTimeout = 100 * time.Millisecond })
	r.conn.window = 60
	w := subgroup(t, tr, 0, 0)
	objects(t, w, 0, 1, 50)
	r.run()
	r.conn.window, r.conn.slots = unlimited, 0
	objects(t, subgroup(t, tr, 0, 1), 2, 2, 50)
	r.pass(200 * time.Millisecond)
	r.conn.slots = unlimited
	objects(t, w, 3, 3, 50)
	wholeGroup(t, tr, 1, 1, 50)
	r.pass(time.Second)
	expect(t, "streams", r.sent(), "0/0 0..1 first cut DELIVERY_TIMEOUT", "1/0 0..0 first FIN")
	if r.core.counts.expired != 2 {
		t.Errorf("%d expired, want 2", r.core.counts.expired)
	}
	// An update takes the timeout away.
	u := sub.cfg
	u.ObjectTimeout = 0
	r.core.handle(r.now, event{kind: evUpdated, sub: sub, update: &u})
	r.conn.window = 10
	objects(t, subgroup(t, tr, 2, 0), 0, 0, 50)
	r.pass(time.Second)
	if got := r.sent()[2]; got != "2/0 0..0 first cut " {
		t.Errorf("without a timeout: %q", got)
	}
}

// TestSubgroupTimeout completes a subgroup and says how its stream ends.
func TestSubgroupTimeout(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		do   func(r *rig, w *track.SubgroupWriter)
		want string
		left int // tails that are watched in the end
	}{
		{
			"not before it is complete",
			func(r *rig, _ *track.SubgroupWriter) {
				r.conn.streams[0].credit = 0
				r.pass(5 * time.Second)
			},
			"0/0 0..0 first ", 0,
		},
		{
			"not all handed over",
			func(r *rig, w *track.SubgroupWriter) {
				r.conn.streams[0].credit = 10
				objects(r.t, w, 1, 1, 1000)
				finish(r.t, w)
				r.pass(99 * ms)
				expect(r.t, "before", r.sent(), "0/0 0..1 first cut ")
				r.pass(ms)
			},
			"0/0 0..1 first cut DELIVERY_TIMEOUT", 0,
		},
		{
			"all handed over, not all has left",
			func(r *rig, w *track.SubgroupWriter) {
				objects(r.t, w, 1, 1, 1000)
				finish(r.t, w)
				r.conn.hold = true
				r.pass(99 * ms)
				expect(r.t, "before", r.sent(), "0/0 0..1 first FIN")
				r.pass(ms)
			},
			"0/0 0..1 first FIN, DELIVERY_TIMEOUT", 0,
		},
		{
			"all has left, a packet was lost",
			func(r *rig, w *track.SubgroupWriter) {
				finish(r.t, w)
				for range 10 {
					r.run()
					r.conn.stats.PacketsLost++
					r.conn.stats.BytesReceived++
					r.pass(10 * ms)
				}
			},
			"0/0 0..0 first FIN, DELIVERY_TIMEOUT", 0,
		},
		{
			"all has left and arrived",
			func(r *rig, w *track.SubgroupWriter) {
				r.conn.stats.SmoothedRTT = 10 * ms
				finish(r.t, w)
				r.run()
				r.conn.stats.BytesSent += 1000
				r.run()
				r.pass(99 * ms)
				r.conn.stats.BytesReceived++
				r.now = r.now.Add(ms) // it is in time by a hair
				r.run()
				r.pass(time.Second)
			},
			"0/0 0..0 first FIN", 0,
		},
		{
			"the subscription is over",
			func(r *rig, w *track.SubgroupWriter) {
				finish(r.t, w)
				r.conn.hold = true
				r.run()
				r.core.handle(r.now, event{kind: evRemoved, sub: r.core.subs[0], code: wire.ResetCancelled})
				r.run()
			},
			"0/0 0..0 first FIN, CANCELLED", 0,
		},
	} {
		for _, exact := range []bool{true, false} {
			name := "8 " + tt.name
			if exact {
				name += ", exactly"
			}
			t.Run(name, func(t *testing.T) {
				r := newRig(t, Config{})
				r.conn.exact = exact
				r.conn.stats = conn.Stats{BytesSent: 1, BytesReceived: 1}
				tr := r.track("video")
				r.add(tr, func(s *Sub) { s.SubgroupTimeout = 100 * time.Millisecond })
				w := subgroup(t, tr, 0, 0)
				objects(t, w, 0, 0, 10)
				r.run()
				tt.do(r, w)
				expect(t, "streams", r.sent(), tt.want)
				if n := len(r.core.tails); n != tt.left {
					t.Errorf("%d ended streams are watched, want %d", n, tt.left)
				}
			})
		}
	}
}
