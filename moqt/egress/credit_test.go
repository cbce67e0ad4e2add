package egress

import (
	"fmt"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// TestStreamCreditIsShared has a peer that allows 16 streams at a time and is
// subscribed to 40 tracks of equal priority, each with a group and a stream a
// second. All get as many groups, always the newest one, and no subgroup waits
// until the next group begins.
func TestStreamCreditIsShared(t *testing.T) {
	const tracks, slots, groups = 40, 16, 30
	r := newRig(t, Config{})
	r.conn.slots = slots
	trs, ws := make([]*track.Track, tracks), make([]*track.SubgroupWriter, tracks)
	for i := range trs {
		trs[i] = r.track(fmt.Sprintf("t%02d", i))
		r.add(trs[i], nil)
	}
	seen, ended := 0, 0
	got := make([]int, tracks)
	last := make([]uint64, tracks)
	for g := range uint64(groups) {
		for i, tr := range trs {
			if ws[i] != nil {
				finish(t, ws[i])
			}
			ws[i] = subgroup(t, tr, g, 0)
			objects(t, ws[i], 0, 0, 100)
		}
		for range 10 {
			r.pass(100 * time.Millisecond)
			n := 0
			for _, s := range r.conn.streams {
				if s.fin || s.reset != nil {
					n++
				}
			}
			r.conn.slots += n - ended // the peer allows one more for each that ended
			ended = n
		}
		for _, s := range r.conn.streams[seen:] {
			h := s.parse(t).header
			i := h.Alias - 1
			if h.Group != g {
				t.Fatalf("group %d of track %d was opened while %d is current", h.Group, i, g)
			}
			if gap := h.Group - last[i]; got[i] > 0 && gap > tracks/slots+1 {
				t.Errorf("track %d got group %d, and the last before was %d", i, h.Group, last[i])
			}
			got[i]++
			last[i] = h.Group
		}
		seen = len(r.conn.streams)
		for _, s := range r.core.subs {
			for _, st := range s.streams {
				if st.state == waiting && st.group != g {
					t.Fatalf("group %d waits while %d is current", st.group, g)
				}
			}
		}
	}
	for i, n := range got {
		if n < groups*slots/tracks-1 || n > groups*slots/tracks+1 {
			t.Errorf("track %d got %d groups, all together %d", i, n, len(r.conn.streams))
		}
	}
}

// TestStuckStream has a viewer stop reading one of two tracks, on a transport
// that tells what has left, takes more, and sends the other track on. What is
// stuck neither holds up the other track nor grows, and its subscription ends
// after 10 s, unless the viewer reads on.
func TestStuckStream(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("reads again %t", again), func(t *testing.T) {
			r := newRig(t, Config{})
			r.conn.exact = true
			r.conn.stats = conn.Stats{BytesSent: 1, CongestionWindow: 40_000, SmoothedRTT: 50 * time.Millisecond}
			stuck, fine := r.track("stuck", priority(1)), r.track("fine", priority(2))
			r.add(stuck, nil)
			r.add(fine, nil)
			a, b := subgroup(t, stuck, 0, 0), subgroup(t, fine, 0, 0)
			objects(t, a, 0, 0, 100)
			objects(t, b, 0, 0, 100)
			r.run()
			r.conn.streams[0].hold = true
			second := func(from uint64) {
				for i := range uint64(10) {
					objects(t, a, from+i, from+i, 10_000)
					objects(t, b, from+i, from+i, 10_000)
					r.conn.stats.BytesSent += 11_000 // of the other
					r.conn.stats.BytesReceived += 100
					r.pass(100 * time.Millisecond)
				}
			}
			for s := range uint64(9) {
				second(1 + 10*s)
			}
			if n := len(r.conn.streams[0].data) - 100; n > 64<<10+quantum {
				t.Errorf("%d bytes were handed over of what is stuck", n)
			}
			if p := r.conn.streams[1].parse(t); len(p.ids) != 91 || !p.whole {
				t.Errorf("the other track got %v", p)
			}
			expect(t, "done after 9 s", r.done)
			r.conn.streams[0].hold = !again
			for s := range uint64(3) {
				second(91 + 10*s)
			}
			if again {
				expect(t, "done", r.done)
				if p := r.conn.streams[0].parse(t); len(p.ids) != 121 || !p.whole {
					t.Errorf("the track that is read again got %v", p)
				}
			} else {
				expect(t, "done", r.done, "stuck TOO_FAR_BEHIND 1")
			}
			if p := r.conn.streams[1].parse(t); len(p.ids) != 121 || !p.whole {
				t.Errorf("the other track got %v", p)
			}
		})
	}
}

// TestUnsentCounts holds more than the limit back as long as nothing leaves, and
// nothing once it has left, without any estimate.
func TestUnsentCounts(t *testing.T) {
	r := newRig(t, Config{})
	r.conn.exact, r.conn.hold = true, true
	r.conn.stats = conn.Stats{BytesSent: 1}
	tr := r.track("video")
	r.add(tr, nil)
	objects(t, subgroup(t, tr, 0, 0), 0, 9, 50_000)
	r.conn.stats.BytesSent += 1 << 20 // somebody else's
	r.pass(5 * time.Second)
	if n := len(r.conn.streams[0].data); n < 64<<10 || n > 64<<10+quantum {
		t.Errorf("%d bytes were handed over while none has left", n)
	}
	if got := r.core.backlog.total(); got != len(r.conn.streams[0].data) {
		t.Errorf("%d bytes are counted, %d have not left", got, len(r.conn.streams[0].data))
	}
	r.conn.hold = false
	r.pass(200 * time.Millisecond)
	if p := r.conn.streams[0].parse(t); len(p.ids) != 10 || !p.whole {
		t.Errorf("the receiver has %v", p)
	}
	r.run()
	if got := r.core.backlog.total(); got != 0 || len(r.core.handed) != 0 {
		t.Errorf("%d bytes of %d streams are counted when all has left", got, len(r.core.handed))
	}
}
