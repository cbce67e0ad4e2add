package egress

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestLag feeds a viewer whose connection takes nothing, and says when its
// old groups are reset.
func TestLag(t *testing.T) {
	const jumped = "TOO_FAR_BEHIND"
	for _, tt := range []struct {
		name   string
		cfg    Config
		groups int           // begun after the first
		every  time.Duration // and how far apart
		wait   time.Duration // after the last
		jumps  uint64
	}{
		{"one newer group", Config{}, 1, time.Second, 1900 * time.Millisecond, 0},
		{"two newer groups", Config{}, 2, time.Second, 900 * time.Millisecond, 0},
		{"three newer groups", Config{}, 3, 900 * time.Millisecond, 0, 1},
		{"many newer groups, all young", Config{}, 20, 20 * time.Millisecond, 0, 0},
		{"many newer groups, the first not young", Config{}, 30, 20 * time.Millisecond, 0, 1},
		{"one newer group, data older than 3 s", Config{}, 1, time.Second, 2100 * time.Millisecond, 1},
		{"no newer group", Config{Stall: time.Hour}, 0, 0, time.Minute, 0},
		{"configured", Config{MaxLag: 10 * time.Second, MaxLagGroups: 5}, 5, time.Second, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.cfg)
			tr := r.track("video")
			r.add(tr, nil)
			r.conn.window = 100 // the header and no more
			objects(t, subgroup(t, tr, 0, 0), 0, 0, 1000)
			r.run()
			for g := range uint64(tt.groups) {
				r.pass(tt.every)
				objects(t, subgroup(t, tr, g+1, 0), 0, 0, 1000)
				r.run()
			}
			r.pass(tt.wait)
			r.pass(20 * time.Millisecond)
			if got := r.core.counts.jumps; got != tt.jumps {
				t.Errorf("%d jumps, want %d", got, tt.jumps)
			}
			sent := r.sent()
			if reset := strings.Contains(sent[0], jumped); reset != (tt.jumps > 0) {
				t.Errorf("the first group is %q after %d jumps", sent[0], tt.jumps)
			}
			if last := sent[len(sent)-1]; strings.Contains(last, jumped) {
				t.Errorf("the newest group is %q", last)
			}
			if got := len(r.conn.streams); got != tt.groups+1 {
				t.Errorf("%d streams, want %d", got, tt.groups+1)
			}
		})
	}
}

// TestCatchUp checks that a subscriber who asks for the past has time to
// get it, although by age it would be too far behind at once.
func TestCatchUp(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	for g := range uint64(6) {
		wholeGroup(t, tr, g, 2, 1000)
		r.now = r.now.Add(time.Second)
	}
	r.conn.credit = 100
	r.add(tr, func(s *Sub) { s.Start.Group = 0 })
	r.run()
	r.pass(2 * time.Second)
	r.conn.credit = unlimited
	r.pass(time.Second)
	if r.core.counts.jumps != 0 || len(r.conn.streams) != 6 {
		t.Fatalf("%d jumps, %d streams", r.core.counts.jumps, len(r.conn.streams))
	}
	for _, s := range r.sent() {
		if !strings.HasSuffix(s, "0..1 first FIN") {
			t.Errorf("stream %q is not whole", s)
		}
	}
}

// TestStreamLimits gives fewer streams than there are tracks: the newest
// groups get them, and nothing waits for more than a group.
func TestStreamLimits(t *testing.T) {
	r := newRig(t, Config{})
	r.conn.slots = 16
	var tracks []*track.Track
	var writers []*track.SubgroupWriter
	for i := range 40 {
		tr := r.track(fmt.Sprintf("t%02d", i), priority(uint64(i)))
		r.add(tr, nil)
		tracks, writers = append(tracks, tr), append(writers, nil)
	}
	for g := range uint64(5) {
		for i, tr := range tracks {
			if writers[i] != nil {
				finish(t, writers[i])
			}
			writers[i] = subgroup(t, tr, g, 0)
			objects(t, writers[i], 0, 0, 2*maxMessage)
		}
		before := len(r.conn.streams)
		r.run()
		// Streams that end make room, as the peer raises its limit.
		r.conn.slots = 0
		for _, s := range r.conn.streams[before:] {
			if h := s.parse(t).header; h.Group != g {
				t.Errorf("group %d was opened while %d is current", h.Group, g)
			}
		}
		for _, s := range r.conn.streams {
			if s.fin || s.reset != nil {
				r.conn.slots++
			}
		}
		r.conn.slots -= max(0, len(r.conn.streams)-16)
		r.conn.slots = max(0, r.conn.slots)
		r.pass(10 * time.Millisecond)
	}
	for i, s := range r.conn.streams[:16] {
		if h := s.parse(t).header; h.Group != 0 || h.Alias != uint64(i+1) {
			t.Errorf("stream %d is for alias %d, group %d: the best ranked come first", i, h.Alias, h.Group)
		}
	}
	if r.core.counts.dropped == 0 {
		t.Error("no subgroup was dropped for want of a stream")
	}
	for _, s := range r.core.subs {
		for _, st := range s.streams {
			if st.state == waiting && st.group < s.newest {
				t.Errorf("group %d waits although %d has begun", st.group, s.newest)
			}
		}
	}
}

// TestOwnStreamLimit is the same with our own bound, which needs no timer.
func TestOwnStreamLimit(t *testing.T) {
	r := newRig(t, Config{MaxStreams: 2})
	tr := r.track("video")
	r.add(tr, nil)
	var ws []*track.SubgroupWriter
	for g := range uint64(4) {
		w := subgroup(t, tr, g, 0)
		objects(t, w, 0, 0, 10)
		ws = append(ws, w)
		if a := r.run(); !a.until.IsZero() {
			t.Errorf("with group %d the core wants a timer", g)
		}
	}
	finish(t, ws[0])
	r.run()
	expect(t, "streams", r.sent(), "0/0 0..0 first FIN", "1/0 0..0 first ", "3/0 0..0 first ")
	if r.core.counts.dropped != 1 {
		t.Errorf("%d dropped, want group 2 alone", r.core.counts.dropped)
	}
}

// TestWaitingIsBounded floods a subscriber that gets no stream with
// subgroups of one group, which no newer group supersedes.
func TestWaitingIsBounded(t *testing.T) {
	r := newRig(t, Config{MaxWaiting: 10})
	tr := r.track("video")
	sub := r.add(tr, nil)
	r.conn.slots = 3
	for id := range uint64(50) {
		w := subgroup(t, tr, 0, id+1)
		objects(t, w, id, id, 10)
		r.run()
		if len(sub.streams) > 10 {
			t.Fatalf("%d subgroups are kept", len(sub.streams))
		}
	}
	expect(t, "streams", r.sent(), "0/1 0..0 first ", "0/2 1..1 first ", "0/3 2..2 first ")
	if got := r.core.counts.dropped; got != 40 {
		t.Errorf("%d dropped, want 40", got)
	}
	if last := sub.streams[len(sub.streams)-1].log.Header().Subgroup; last != 50 {
		t.Errorf("the newest subgroup kept is %d, want 50", last)
	}
}

// TestFlowControl gives credit in pieces of all sizes. Everything arrives
// once, in order, and the last byte of a window is used.
func TestFlowControl(t *testing.T) {
	for _, piece := range []int{1, 10, 100, 1000, 10_000, 20_000} {
		t.Run(fmt.Sprintf("credit=%d", piece), func(t *testing.T) {
			r := newRig(t, Config{})
			tr := r.track("video")
			r.add(tr, nil)
			r.conn.window = 0
			size := min(100*piece, 200_000)
			wholeGroup(t, tr, 0, 3, size)
			for i := 0; ; i++ {
				a := r.run()
				s := r.conn.streams[0]
				if s.fin {
					break
				}
				if a.until.IsZero() {
					t.Fatal("data is left and nothing is going to happen")
				}
				if want := r.now.Add(10 * time.Millisecond); a.until.After(want) {
					t.Fatalf("the core sleeps for %v", a.until.Sub(r.now))
				}
				if i > 10_000 {
					t.Fatalf("%d bytes of credit are left, %d bytes were sent", s.credit, len(s.data))
				}
				if s.credit == 0 {
					s.credit = piece
				}
				r.now = a.until
			}
			p := r.conn.streams[0].parse(t)
			if p.String() != "0/0 0..2 first FIN" || len(p.payload[2]) != size {
				t.Errorf("the receiver has %v", p)
			}
			if a := r.run(); !a.until.IsZero() {
				t.Error("the timer goes on after the last byte")
			}
		})
	}
}

// TestBlockedStreamAlone checks that a stream without credit holds up no
// other.
func TestBlockedStreamAlone(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.track("a", priority(1)), r.track("b", priority(2))
	r.add(a, nil)
	r.add(b, nil)
	r.conn.window = 50
	objects(t, subgroup(t, a, 0, 0), 0, 0, 1000)
	r.run()
	r.conn.window = unlimited
	wholeGroup(t, b, 0, 5, 5000)
	r.run()
	expect(t, "at once", r.sent(), "0/0 - first ", "0/0 0..4 first FIN")
	r.pass(100 * time.Millisecond)
	expect(t, "in the end", r.sent(), "0/0 0..0 first cut ", "0/0 0..4 first FIN")
	if s := r.conn.streams[0]; s.credit != 0 {
		t.Errorf("%d bytes of credit are left", s.credit)
	}
}

// TestStall ends the subscription that leaves data for 10 s without
// credit, and that one alone.
func TestStall(t *testing.T) {
	for _, tt := range []struct {
		name  string
		shut  func(*fakeOut)
		opens int
	}{
		{"no flow control credit", func(c *fakeOut) { c.window = 0 }, 1},
		{"no streams", func(c *fakeOut) { c.slots = 0 }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Config{})
			stuck, fine := r.track("stuck"), r.track("fine")
			r.add(fine, nil)
			w := subgroup(t, fine, 0, 0)
			objects(t, w, 0, 0, 10)
			r.run()
			tt.shut(r.conn)
			r.add(stuck, nil)
			objects(t, subgroup(t, stuck, 0, 0), 0, 0, 1000)
			for i := range 99 {
				objects(t, w, uint64(i+1), uint64(i+1), 10)
				r.pass(100 * time.Millisecond)
			}
			expect(t, "done after 9.9 s", r.done)
			r.pass(200 * time.Millisecond)
			expect(t, "done after 10.1 s", r.done, fmt.Sprintf("stuck TOO_FAR_BEHIND %d", tt.opens))
			objects(t, w, 100, 100, 10)
			if a := r.run(); !a.until.IsZero() {
				t.Error("the timer goes on")
			}
			if p := r.conn.streams[0].parse(t); len(p.ids) != 101 || p.end != "" {
				t.Errorf("the other subscription got %v", p)
			}
			if r.core.counts.stalls != 1 {
				t.Errorf("%d stalls", r.core.counts.stalls)
			}
		})
	}
}

// TestStopSending has the peer stop one stream: that subgroup is not sent
// again, everything else is.
func TestStopSending(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	r.add(tr, nil)
	w := subgroup(t, tr, 0, 0)
	other := subgroup(t, tr, 0, 1)
	objects(t, w, 0, 0, 10)
	objects(t, other, 1, 1, 10)
	r.run()
	r.conn.streams[0].stopped = true
	objects(t, w, 2, 2, 10)
	r.run()
	objects(t, w, 3, 3, 10)
	objects(t, other, 4, 4, 10)
	finish(t, other)
	wholeGroup(t, tr, 1, 1, 10)
	r.run()
	objects(t, w, 5, 5, 10)
	finish(t, w)
	tr.End(track.DoneTrackEnded, "")
	r.run()
	expect(t, "streams", r.sent(), "0/0 0..0 first CANCELLED", "0/1 1..4 first FIN", "1/0 0..0 first FIN")
	expect(t, "done", r.done, "video TRACK_ENDED 3")
	if r.core.counts.stops != 1 {
		t.Errorf("%d stops counted", r.core.counts.stops)
	}
}

func TestForward(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	sub := r.add(tr, func(s *Sub) { s.Forward = false })
	set := func(forward bool, start track.Location) {
		u := sub.cfg
		u.Forward, u.Start = forward, start
		r.core.handle(r.now, event{kind: evUpdated, sub: sub, update: &u})
		r.run()
	}
	wholeGroup(t, tr, 0, 2, 10)
	w := subgroup(t, tr, 1, 0)
	objects(t, w, 0, 4, 10)
	r.run()
	expect(t, "while held", r.sent())
	set(true, track.Location{Group: 1, Object: 5})
	expect(t, "with nothing new yet", r.sent())
	objects(t, w, 5, 6, 10)
	r.run()
	expect(t, "forwarding", r.sent(), "1/0 5..6 ")
	set(false, sub.cfg.Start)
	objects(t, w, 7, 8, 10)
	r.run()
	expect(t, "held again", r.sent(), "1/0 5..6 CANCELLED")
	set(true, track.Location{Group: 1})
	objects(t, w, 9, 9, 10)
	finish(t, w)
	wholeGroup(t, tr, 2, 1, 10)
	r.run()
	expect(t, "forwarding again", r.sent(), "1/0 5..6 CANCELLED", "1/0 0..9 first FIN", "2/0 0..0 first FIN")
	set(false, sub.cfg.Start)
	wholeGroup(t, tr, 3, 1, 10)
	r.run()
	tr.End(track.DoneTrackEnded, "")
	r.run()
	expect(t, "done while held", r.done, "video TRACK_ENDED 3")
}

func TestUpdate(t *testing.T) {
	for _, tt := range []struct {
		name string
		u    func(*Sub)
		want []string
		done []string
	}{
		{
			"the end group comes closer", func(s *Sub) { s.EndGroup = 0 },
			[]string{"0/0 0..2 first ", "1/0 0..2 first CANCELLED"},
			nil,
		},
		{
			"the end group has passed", func(s *Sub) { s.EndGroup, s.Start = 0, track.Location{Group: 1} },
			[]string{"0/0 0..2 first CANCELLED", "1/0 0..2 first CANCELLED"},
			[]string{"video SUBSCRIPTION_ENDED 2"},
		},
		{
			"the Start moves on", func(s *Sub) { s.Start = track.Location{Group: 1} },
			[]string{"0/0 0..2 first CANCELLED", "1/0 0..2 first "},
			nil,
		},
		{
			"nothing changes", func(*Sub) {},
			[]string{"0/0 0..2 first ", "1/0 0..2 first "},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Config{})
			tr := r.track("video")
			sub := r.add(tr, nil)
			for g := range uint64(2) {
				objects(t, subgroup(t, tr, g, 0), 0, 2, 10)
			}
			r.run()
			u := sub.cfg
			tt.u(&u)
			r.core.handle(r.now, event{kind: evUpdated, sub: sub, update: &u})
			r.run()
			expect(t, "streams", r.sent(), tt.want...)
			expect(t, "done", r.done, tt.done...)
		})
	}
}

func TestRemove(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	sub := r.add(tr, nil)
	keep := r.add(tr, nil)
	wholeGroup(t, tr, 0, 1, 10)
	objects(t, subgroup(t, tr, 1, 0), 0, 2, 10)
	r.run()
	for range 2 { // the second has no effect
		r.core.handle(r.now, event{kind: evRemoved, sub: sub, code: wire.ResetGoingAway})
	}
	r.core.handle(r.now, event{kind: evUpdated, sub: sub, update: &keep.cfg})
	r.core.handle(r.now, event{kind: evDirty, sub: sub})
	r.run()
	expect(t, "streams", r.sent(), "0/0 0..0 first FIN", "0/0 0..0 first FIN", "1/0 0..2 first GOING_AWAY", "1/0 0..2 first ")
	expect(t, "done", r.done, "video SUBSCRIPTION_ENDED 2")
	tr.End(track.DoneGoingAway, "")
	r.run()
	expect(t, "done", r.done, "video SUBSCRIPTION_ENDED 2", "video GOING_AWAY 2")
	if r.core.open != 0 || len(r.core.subs) != 0 {
		t.Errorf("%d streams and %d subscriptions are left", r.core.open, len(r.core.subs))
	}
}

// TestDoneAfterTheLastByte ends the track while a slow subscriber still
// has a complete group to get.
func TestDoneAfterTheLastByte(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	r.add(tr, nil)
	r.conn.window = 500
	wholeGroup(t, tr, 0, 1, 1000)
	r.run()
	tr.End(track.DoneTrackEnded, "over")
	r.run()
	expect(t, "done too early", r.done)
	r.conn.streams[0].credit = unlimited
	r.pass(10 * time.Millisecond)
	expect(t, "streams", r.sent(), "0/0 0..0 first FIN")
	expect(t, "done", r.done, "video TRACK_ENDED 1")

	// And one who comes when all is over already.
	r.conn.window = unlimited
	r.add(tr, nil)
	r.run()
	expect(t, "done", r.done, "video TRACK_ENDED 1", "video TRACK_ENDED 1")
	expect(t, "streams", r.sent(), "0/0 0..0 first FIN", "0/0 0..0 first FIN")
}
