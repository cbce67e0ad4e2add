package egress

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A script is a FetchReader that reads items as the test says.
type script struct {
	items  []track.FetchItem
	wait   int // index of the item that is on its way; -1: none is
	next   int
	gaveUp int // the item was on its way when GiveUp was called; -1: it was not
}

func (s *script) Next() (track.FetchItem, track.FetchState) {
	switch {
	case s.next == s.wait:
		return track.FetchItem{}, track.FetchWait
	case s.next == len(s.items):
		return track.FetchItem{}, track.FetchEnd
	}
	s.next++
	return s.items[s.next-1], track.FetchReady
}

func (s *script) GiveUp() {
	s.gaveUp = s.next
	s.wait = -1
	s.items = append(s.items[:s.next:s.next], unknownTo(9, 9))
}

func read(items ...track.FetchItem) *script { return &script{items: items, wait: -1, gaveUp: -1} }

func object(group, id uint64, size int) track.FetchItem {
	return track.FetchItem{Kind: track.FetchObject, Object: track.Object{
		Group: group, ID: id, Subgroup: id % 2, Priority: track.DefaultPriority, Payload: bytes.Repeat([]byte{byte(id)}, size),
	}}
}

func unknownTo(group, id uint64) track.FetchItem {
	return track.FetchItem{Kind: track.FetchUnknown, To: track.Location{Group: group, Object: id}}
}

// fetch adds a fetch that reads s.
func (r *rig) fetch(s FetchReader, set func(*Fetch)) *subscription {
	tr := r.track("fetch")
	f := Fetch{
		RequestID: 4, Track: tr, Reader: s, Order: track.Ascending, Priority: track.DefaultPriority, FillTimeout: -1,
		OnDone: func(ok bool, code wire.ResetCode) {
			if ok {
				r.done = append(r.done, "fetch FIN")
			} else {
				r.done = append(r.done, "fetch "+code.String())
			}
		},
	}
	if set != nil {
		set(&f)
	}
	sub := newFetch(nil, f)
	r.core.handle(r.now, event{kind: evAdded, sub: sub})
	return sub
}

// fetched returns what a receiver makes of the answer to a FETCH.
func fetched(t tester, s *fakeStream, order track.GroupOrder) (lines []string) {
	t.Helper()
	h, n, err := wire.ParseFetchHeader(s.data)
	if err != nil || h.RequestID != 4 {
		t.Fatalf("the stream begins with %+v, %v", h, err)
	}
	if s.boundary != n {
		t.Errorf("the reliable boundary is at %d, want %d", s.boundary, n)
	}
	r := wire.NewFetchReader(order)
	for b := s.data[n:]; len(b) > 0; {
		o, n, err := r.Parse(b)
		if errors.Is(err, wire.ErrShort) {
			return append(lines, "cut")
		}
		if err != nil {
			t.Fatal(err)
		}
		b = b[n:]
		if o.Range != wire.FetchNoRange {
			lines = append(lines, fmt.Sprintf("%v to %d/%d", o.Range, o.Group, o.Object))
			continue
		}
		p := b[:min(int(o.Length), len(b))]
		if !bytes.Equal(p, bytes.Repeat([]byte{byte(o.Object)}, len(p))) {
			t.Errorf("object %d/%d has another payload", o.Group, o.Object)
		}
		b = b[len(p):]
		line := fmt.Sprintf("%d/%d in %d: %d", o.Group, o.Object, o.Subgroup, len(p))
		if len(p) < int(o.Length) {
			line += " cut"
		}
		lines = append(lines, line)
	}
	switch {
	case s.fin:
		lines = append(lines, "FIN")
	case s.reset != nil:
		lines = append(lines, s.reset.String())
	}
	return lines
}

func TestFetch(t *testing.T) {
	for _, tt := range []struct {
		name  string
		read  *script
		order track.GroupOrder
		want  []string
		done  string
	}{
		{
			"11.4.4 objects of all sizes",
			read(object(3, 0, 0), object(3, 1, 10), object(3, 4, smallPayload), object(5, 0, smallPayload+1), object(5, 1, 100_000)),
			track.Ascending,
			[]string{"3/0 in 0: 0", "3/1 in 1: 10", "3/4 in 0: 1024", "5/0 in 0: 1025", "5/1 in 1: 100000", "FIN"},
			"fetch FIN",
		},
		{
			"11.4.4 descending",
			read(object(5, 0, 1), object(5, 1, 1), object(3, 0, 1)),
			track.Descending,
			[]string{"5/0 in 0: 1", "5/1 in 1: 1", "3/0 in 0: 1", "FIN"},
			"fetch FIN",
		},
		{"10.12.3 no objects: the header and FIN", read(), track.Ascending, []string{"FIN"}, "fetch FIN"},
		{
			"11.4.4.2 ranges",
			read(object(3, 0, 1), track.FetchItem{Kind: track.FetchAbsent, To: track.Location{Group: 3, Object: 7}}, unknownTo(4, 2), object(5, 0, 1)),
			track.Ascending,
			[]string{"3/0 in 0: 1", "End of Non-Existent Range to 3/7", "End of Unknown Range to 4/2", "5/0 in 0: 1", "FIN"},
			"fetch FIN",
		},
		{
			"a reader that goes back",
			read(object(3, 0, 1), object(2, 0, 1)),
			track.Ascending,
			[]string{"3/0 in 0: 1", "INTERNAL_ERROR"},
			"fetch INTERNAL_ERROR",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.fetch(tt.read, func(f *Fetch) { f.Order = tt.order })
			if a := r.run(); !a.until.IsZero() {
				t.Error("the core wants a timer")
			}
			expect(t, "items", fetched(t, r.conn.streams[0], tt.order), tt.want...)
			expect(t, "done", r.done, tt.done)
			if r.core.open != 0 || len(r.core.subs) != 0 || r.core.fetches != 0 {
				t.Errorf("%d streams, %d subscriptions, %d fetches are left", r.core.open, len(r.core.subs), r.core.fetches)
			}
		})
	}
}

// TestFetchEnds says how a fetch ends otherwise.
func TestFetchEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(r *rig, s *subscription)
		want []string
		done string
	}{
		{
			"it is removed",
			func(r *rig, s *subscription) {
				r.run()
				r.core.handle(r.now, event{kind: evRemoved, sub: s, code: wire.ResetGoingAway})
			},
			[]string{"0/0 in 0: 100", "0/1 in 1: 0 cut", "GOING_AWAY"},
			"fetch GOING_AWAY",
		},
		{
			"2.4.2 the track is malformed",
			func(r *rig, s *subscription) {
				r.run()
				for _, payload := range []string{"one", "another"} {
					_ = s.cfg.Track.WriteDatagram(track.Object{Payload: []byte(payload)})
				}
				r.core.handle(r.now, event{kind: evDirty, sub: s})
			},
			[]string{"0/0 in 0: 100", "0/1 in 1: 0 cut", "MALFORMED_TRACK"},
			"fetch MALFORMED_TRACK",
		},
		{
			"the peer stops it",
			func(r *rig, _ *subscription) {
				r.run()
				r.conn.streams[0].stopped = true
				r.conn.streams[0].credit = unlimited
				r.pass(time.Second)
			},
			[]string{"0/0 in 0: 100", "0/1 in 1: 0 cut", "CANCELLED"},
			"fetch CANCELLED",
		},
		{
			"2.4.2 the track is malformed",
			func(r *rig, s *subscription) {
				r.run()
				for _, payload := range []string{"one", "two"} {
					_ = s.cfg.Track.WriteDatagram(track.Object{Payload: []byte(payload)}) // the second is the fault
				}
				r.core.handle(r.now, event{kind: evDirty, sub: s})
			},
			[]string{"0/0 in 0: 100", "0/1 in 1: 0 cut", "MALFORMED_TRACK"},
			"fetch MALFORMED_TRACK",
		},
		{
			"the peer gives no credit",
			func(r *rig, _ *subscription) { r.pass(11 * time.Second) },
			[]string{"0/0 in 0: 100", "0/1 in 1: 90 cut", "TOO_FAR_BEHIND"},
			"fetch TOO_FAR_BEHIND",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.conn.window = 110
			if tt.name == "the peer gives no credit" {
				r.conn.window = 200
			}
			s := r.fetch(read(object(0, 0, 100), object(0, 1, 5000)), nil)
			tt.do(r, s)
			r.run()
			expect(t, "items", fetched(t, r.conn.streams[0], track.Ascending), tt.want...)
			expect(t, "done", r.done, tt.done)
			if r.core.open != 0 || len(r.core.subs) != 0 {
				t.Errorf("%d streams and %d subscriptions are left", r.core.open, len(r.core.subs))
			}
		})
	}
	t.Run("before it has a stream", func(t *testing.T) {
		r := newRig(t, Config{})
		r.conn.slots = 0
		s := r.fetch(read(object(0, 0, 100)), nil)
		r.run()
		r.core.handle(r.now, event{kind: evRemoved, sub: s, code: wire.ResetCancelled})
		r.run()
		expect(t, "done", r.done, "fetch CANCELLED")
	})
}

// TestFetchWaits lets the second item come later, and the fourth once more.
func TestFetchWaits(t *testing.T) {
	const first, all = 300 * time.Millisecond, 500 * time.Millisecond
	for _, tt := range []struct {
		name   string
		limit  time.Duration
		gaveUp int
	}{
		{"10.2.9 no limit", -1, -1},
		{"10.2.9 0: not at all", 0, 1},
		{"10.2.9 too short for the first", first - time.Millisecond, 1},
		{"10.2.9 enough for each, not for both", first + time.Millisecond, 3},
		{"10.2.9 enough for both", all + 10*time.Millisecond, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Config{})
			s := read(object(0, 0, 1), object(0, 1, 1), object(0, 2, 1), object(0, 3, 1))
			s.wait = 1
			r.fetch(s, func(f *Fetch) { f.FillTimeout = tt.limit })
			begun := r.now
			r.pass(first)
			if s.gaveUp < 0 {
				s.wait = 3
				r.pass(all - first)
			}
			if s.gaveUp < 0 {
				s.wait = -1
			}
			r.run()
			if s.gaveUp != tt.gaveUp {
				t.Errorf("it gave up before item %d, want %d", s.gaveUp, tt.gaveUp)
			}
			if d := r.now.Sub(begun); tt.gaveUp == 1 && d > first {
				t.Errorf("it waited for %v", d)
			}
			want := []string{"0/0 in 0: 1", "0/1 in 1: 1", "0/2 in 0: 1", "0/3 in 1: 1", "FIN"}
			if tt.gaveUp >= 0 {
				want = append(want[:tt.gaveUp:tt.gaveUp], "End of Unknown Range to 9/9", "FIN")
			}
			expect(t, "items", fetched(t, r.conn.streams[0], track.Ascending), want...)
			expect(t, "done", r.done, "fetch FIN")
		})
	}
}

// TestFetchYields has a fetch and a subscription of the same class on a
// connection that is too slow for the subscription alone: the fetch goes on all
// the same, with its share. Once the subscription has nothing to send, it gets
// everything.
func TestFetchYields(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	r.add(tr, nil)
	w := subgroup(t, tr, 0, 0)
	var items []track.FetchItem
	for id := range uint64(100) {
		items = append(items, object(0, id, 50_000))
	}
	r.fetch(read(items...), nil)
	r.conn.stats = conn.Stats{BytesSent: 1}
	r.run()
	live, past := r.conn.streams[0], r.conn.streams[1]
	if bytes.HasPrefix(live.data, []byte{5}) {
		live, past = past, live
	}
	took := len(past.data)
	for id := range uint64(100) {
		objects(t, w, id, id, 20_000)
		r.core.backlog.sent(10_000)
		r.run()
	}
	took = len(past.data) - took
	if share := float64(took) / float64(len(live.data)+took); share < 0.04 || share > 0.06 {
		t.Errorf("the fetch got %d bytes beside %d, which is %.3f of all", took, len(live.data), share)
	}
	for range 1000 {
		r.core.backlog.sent(unlimited)
		r.run()
	}
	expect(t, "done", r.done, "fetch FIN")
	if past.urgency != live.urgency+1 {
		t.Errorf("the urgencies are %d and %d, want the fetch behind", live.urgency, past.urgency)
	}
}

// TestFetchPriority checks that the priority of the subscriber, then that of the
// publisher ranks fetches, and that an update changes it.
func TestFetchPriority(t *testing.T) {
	r := newRig(t, Config{})
	r.conn.credit = 0
	var subs []*subscription
	for _, p := range []uint8{30, 20, 10} {
		subs = append(subs, r.fetch(read(object(0, 0, 10)), func(f *Fetch) { f.Priority = p }))
	}
	r.core.handle(r.now, event{kind: evUpdated, sub: subs[0], update: &Sub{Priority: 5}})
	r.run()
	r.conn.credit = unlimited
	r.trace = nil
	r.pass(20 * time.Millisecond)
	if got, want := fmt.Sprint(r.finished), "[5 10 20]"; got != want {
		t.Errorf("the fetches ended in the order %v of priorities, want %v", got, want)
	}
}
