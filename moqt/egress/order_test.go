package egress

import (
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/golden"
	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
)

func priority(p uint64) track.Property {
	return track.Property{Type: track.PropDefaultPriority, Uint: p}
}

// TestOrder has data on all tracks at once and checks the whole order of
// opens, urgencies and writes. The transport takes everything, so what differs
// is the order alone.
func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(r *rig)
	}{
		{"publisher-priority", func(r *rig) {
			// The catalog, audio and two renditions, subscribed to in the wrong order.
			for _, p := range []struct {
				name     string
				priority uint64
			}{{"high", 72}, {"low", 64}, {"audio", 16}, {"catalog", 0}} {
				tr := r.track(p.name, priority(p.priority))
				wholeGroup(r.t, tr, 0, 1, 20_000)
				r.add(tr, nil)
			}
		}},
		{"subscriber-priority", func(r *rig) {
			// The subscriber's priority counts before the publisher's.
			for _, p := range []struct {
				name       string
				publisher  uint64
				subscriber uint8
			}{{"a", 0, 200}, {"b", 255, 10}, {"c", 128, 10}} {
				tr := r.track(p.name, priority(p.publisher))
				wholeGroup(r.t, tr, 0, 1, 100)
				r.add(tr, func(s *Sub) { s.Priority = p.subscriber })
			}
		}},
		{"subgroup-priority", func(r *rig) {
			// A subgroup's own priority replaces the track's; equals go by ID.
			tr := r.track("video", priority(50))
			for id, p := range []uint8{90, 20, 0, 0} {
				w, err := tr.Subgroup(track.SubgroupHeader{Subgroup: uint64(id), Priority: p, HasPriority: id < 2, FirstObject: true})
				if err != nil {
					r.t.Fatal(err)
				}
				objects(r.t, w, uint64(id), uint64(id), 100)
				finish(r.t, w)
			}
			r.add(tr, nil)
		}},
		{"ascending", func(r *rig) {
			tr := r.track("video")
			for _, g := range []uint64{4, 3, 5} {
				wholeGroup(r.t, tr, g, 1, 100)
			}
			r.add(tr, func(s *Sub) { s.Start.Group, s.Order = 3, track.Ascending })
		}},
		{"descending", func(r *rig) {
			tr := r.track("video")
			for _, g := range []uint64{4, 3, 5} {
				wholeGroup(r.t, tr, g, 1, 100)
			}
			r.add(tr, func(s *Sub) { s.Start.Group, s.Order = 3, track.Descending })
		}},
		{"equals-take-turns", func(r *rig) {
			for _, name := range []string{"a", "b", "c"} {
				tr := r.track(name)
				wholeGroup(r.t, tr, 0, 1, 40_000)
				r.add(tr, nil)
			}
		}},
		{"new-groups-demote", func(r *rig) {
			tr := r.track("video")
			r.add(tr, func(s *Sub) { s.Order = track.Descending })
			for g := range uint64(4) {
				objects(r.t, subgroup(r.t, tr, g, 0), 0, 0, 100)
				r.run()
			}
		}},
		{"ascending-tail", func(r *rig) {
			// The end of an old group gets the urgency of the new one back.
			tr := r.track("video")
			r.add(tr, nil)
			old := subgroup(r.t, tr, 0, 0)
			objects(r.t, old, 0, 0, 100)
			r.run()
			objects(r.t, subgroup(r.t, tr, 1, 0), 0, 0, 100)
			r.run()
			objects(r.t, old, 1, 1, 100)
			finish(r.t, old)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Config{})
			tt.do(r)
			r.run()
			golden.Check(t, tt.name+".txt", []byte(strings.Join(r.trace, "\n")+"\n"))
		})
	}
}

// TestFairness checks deficit round robin over objects of different
// sizes: subscriptions of one class get the same number of bytes.
func TestFairness(t *testing.T) {
	r := newRig(t, Config{})
	sizes := map[string]int{"small": 300, "medium": 9000, "large": 100_000}
	for name, size := range sizes {
		tr := r.track(name)
		w := subgroup(t, tr, 0, 0)
		objects(t, w, 0, uint64(1_000_000/size), size)
		r.add(tr, nil)
	}
	r.conn.stats = conn.Stats{BytesSent: 1} // measures, but sends nothing
	got := map[string]int{}
	for range 20 {
		r.core.backlog.sent(unlimited) // as if all had been
		r.run()
	}
	for _, s := range r.conn.streams {
		for tr, name := range r.names {
			if s.parse(t).header.Alias == aliasOf(r, tr) {
				got[name] = len(s.data)
			}
		}
	}
	for name, n := range got {
		if n < 300_000 || n > got["large"]+2*quantum || n < got["large"]-2*quantum {
			t.Errorf("%s got %d bytes, large %d", name, n, got["large"])
		}
	}
}

func aliasOf(r *rig, tr *track.Track) uint64 {
	for _, s := range r.core.subs {
		if s.cfg.Track == tr {
			return s.cfg.Alias
		}
	}
	return 0
}

// TestUrgentIsNotHeldUp checks that what ranks better goes ahead of what
// waits, also while the transport is full of what ranks worse.
func TestUrgentIsNotHeldUp(t *testing.T) {
	r := newRig(t, Config{})
	video, audio := r.track("video", priority(64)), r.track("audio", priority(16))
	r.add(video, nil)
	r.add(audio, nil)
	objects(t, subgroup(t, video, 0, 0), 0, 9, 50_000)
	r.conn.stats.BytesSent = 1
	if a := r.run(); a.until.IsZero() {
		t.Fatal("the backlog has no limit")
	}
	r.trace = nil
	objects(t, subgroup(t, audio, 0, 0), 0, 0, 300)
	r.run()
	expect(t, "audio into a full transport", r.trace, "open  audio 0/0", "rank  audio 0/0 2", "write audio 0/0 3", "write audio 0/0 303")
	var urgencies []int
	for _, s := range r.conn.streams {
		urgencies = append(urgencies, s.urgency)
	}
	if len(urgencies) != 2 || urgencies[0] != 3 || urgencies[1] != 2 {
		t.Errorf("urgencies of video and audio are %v, want 3 and 2", urgencies)
	}
}

// TestUrgencies says where the classes of a connection go, and that
// control, requests and padding keep their own.
func TestUrgencies(t *testing.T) {
	r := newRig(t, Config{})
	for i, p := range []uint64{0, 16, 64, 72, 72} {
		tr := r.track(string(rune('a'+i)), priority(p))
		objects(t, subgroup(t, tr, 0, 0), 0, 0, 10)
		r.add(tr, nil)
	}
	r.run()
	want := []int{2, 3, 4, 4, 4}
	for i, s := range r.conn.streams {
		if s.urgency != want[i] {
			t.Errorf("stream %d has urgency %d, want %d", i, s.urgency, want[i])
		}
	}
	// A better class moves the others down.
	tr := r.track("z", priority(200))
	objects(t, subgroup(t, tr, 0, 0), 0, 0, 10)
	r.add(tr, func(s *Sub) { s.Priority = 1 })
	r.run()
	want = []int{3, 4, 4, 4, 4, 2}
	for i, s := range r.conn.streams {
		if s.urgency != want[i] {
			t.Errorf("stream %d has urgency %d after a better class came, want %d", i, s.urgency, want[i])
		}
	}
}

// TestPriorityUpdate raises a track that waits behind another.
func TestPriorityUpdate(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.track("a"), r.track("b")
	r.add(a, func(s *Sub) { s.Priority = 10 })
	sub := r.add(b, func(s *Sub) { s.Priority = 20 })
	for _, tr := range []*track.Track{a, b} {
		objects(t, subgroup(t, tr, 0, 0), 0, 9, 50_000)
	}
	r.conn.stats.BytesSent = 1
	r.run()
	u := sub.cfg
	u.Priority = 5
	r.core.handle(r.now, event{kind: evUpdated, sub: sub, update: &u})
	r.trace = nil
	r.now = r.now.Add(10 * time.Millisecond)
	r.conn.stats.BytesSent += 40_000 // of a
	r.run()
	if len(r.trace) < 3 || r.trace[0] != "rank  a 0/0 3" || r.trace[1] != "rank  b 0/0 2" {
		t.Fatalf("after the update: %q", r.trace)
	}
	for _, line := range r.trace[2:] {
		if !strings.HasPrefix(line, "write b ") {
			t.Fatalf("after the update: %q", r.trace)
		}
	}
}
