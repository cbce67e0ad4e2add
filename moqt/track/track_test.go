package track

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func TestStartResolve(t *testing.T) {
	const last = ^uint64(0)
	for _, tt := range []struct {
		name    string
		start   Start
		largest Location
		some    bool
		want    Location
	}{
		{"the zero value is the current group", Start{}, Location{Group: 5, Object: 3}, true, Location{Group: 5}},
		{"current group", CurrentGroup, Location{Group: 5, Object: 3}, true, Location{Group: 5}},
		{"next group", NextGroup, Location{Group: 5, Object: 3}, true, Location{Group: 6}},
		{"next object", NextObject, Location{Group: 5, Object: 3}, true, Location{Group: 5, Object: 4}},
		{"next object after the last ID", NextObject, Location{Group: 5, Object: last}, true, Location{Group: 6}},
		{"next group after the last ID", NextGroup, Location{Group: last, Object: 3}, true, Location{Group: last, Object: last}},
		{"current group, nothing yet", CurrentGroup, Location{}, false, Location{}},
		{"next group, nothing yet", NextGroup, Location{}, false, Location{}},
		{"next object, nothing yet", NextObject, Location{}, false, Location{}},
		{"the past", From(Location{Group: 2, Object: 1}), Location{Group: 5}, true, Location{Group: 2, Object: 1}},
		{"the future", From(Location{Group: 9}), Location{}, false, Location{Group: 9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.start.Resolve(tt.largest, tt.some); got != tt.want {
				t.Errorf("Resolve(%v, %t) = %v, want %v", tt.largest, tt.some, got, tt.want)
			}
		})
	}
}

func TestInfoFromProperties(t *testing.T) {
	props := NewProperties(Property{Type: PropDefaultPriority, Uint: 16}, Property{Type: PropDefaultGroupOrder, Uint: 2})
	tr := New(testName, Info{Properties: props}, Config{})
	if got := tr.PublisherPriority(); got != 16 {
		t.Errorf("PublisherPriority() = %d, want 16", got)
	}
	if got := tr.GroupOrder(); got != Descending {
		t.Errorf("GroupOrder() = %v, want %v", got, Descending)
	}
	if w, err := tr.Subgroup(SubgroupHeader{FirstObject: true}); err != nil || w.sub.Priority() != 16 {
		t.Errorf("a subgroup without a priority has %d, %v, want 16", w.sub.Priority(), err)
	}
	if w, err := tr.Subgroup(SubgroupHeader{Group: 1, Priority: 3, HasPriority: true, FirstObject: true}); err != nil || w.sub.Priority() != 3 {
		t.Errorf("a subgroup with priority 3 has %d, %v", w.sub.Priority(), err)
	}
	plain := New(testName, Info{}, Config{})
	if plain.PublisherPriority() != DefaultPriority || plain.GroupOrder() != Ascending {
		t.Errorf("defaults are %d, %v, want %d, %v", plain.PublisherPriority(), plain.GroupOrder(), DefaultPriority, Ascending)
	}
}

func TestLargestMovesWithTheFirstByte(t *testing.T) {
	tr := newTestTrack(Config{})
	if l, ok := tr.Largest(); ok {
		t.Fatalf("Largest() of an empty track = %v", l)
	}
	w := open(t, tr, 7)
	b := stream(false, Object{ID: 4, Payload: fill(100)})
	if _, err := w.Write(b[:3]); err != nil { // the header and one byte of payload
		t.Fatal(err)
	}
	if l, ok := tr.Largest(); l != (Location{Group: 7, Object: 4}) || !ok {
		t.Errorf("Largest() inside the first object = %v, %t, want {7, 4}", l, ok)
	}
	write(t, open(t, tr, 3), Object{ID: 9})
	if l, _ := tr.Largest(); l != (Location{Group: 7, Object: 4}) {
		t.Errorf("Largest() after an object of a late group = %v, want {7, 4}", l)
	}
	if g, ok := tr.CurrentGroup(); g != 7 || !ok {
		t.Errorf("CurrentGroup() = %d, %t, want 7", g, ok)
	}
}

func TestSinceIsArrivalOrder(t *testing.T) {
	tr := newTestTrack(Config{})
	for _, g := range []uint64{5, 4, 6} {
		open(t, tr, g)
	}
	all, next := tr.Since(0)
	if len(all) != 3 || all[0].Header().Group != 5 || all[1].Header().Group != 4 || all[2].Header().Group != 6 {
		t.Fatalf("Since(0) = %v", all)
	}
	if more, again := tr.Since(next); len(more) != 0 || again != next {
		t.Errorf("Since(%d) = %v, %d with nothing new", next, more, again)
	}
	open(t, tr, 7)
	if more, _ := tr.Since(next); len(more) != 1 || more[0].Header().Group != 7 {
		t.Errorf("Since(%d) = %v, want group 7 alone", next, more)
	}
}

func TestEndAbortsWhatIsOpen(t *testing.T) {
	for _, tt := range []struct {
		code DoneCode
		want ResetCode
	}{
		{DoneTrackEnded, ResetCancelled},
		{DoneGoingAway, ResetGoingAway},
		{DoneTooFarBehind, ResetTooFarBehind},
		{DoneExcessiveLoad, ResetExcessiveLoad},
		{DoneMalformedTrack, ResetMalformedTrack},
		{DoneInternalError, ResetInternalError},
	} {
		t.Run(tt.code.String(), func(t *testing.T) {
			tr := newTestTrack(Config{})
			putGroup(t, tr, 1, 1, fill(10))
			w := open(t, tr, 2)
			write(t, w, Object{})
			tr.End(tt.code, "first")
			tr.End(DoneUnauthorized, "second")
			if code, reason, ok := tr.Ended(); code != tt.code || reason != "first" || !ok {
				t.Errorf("Ended() = %v, %q, %t", code, reason, ok)
			}
			all, _ := tr.Since(0)
			if s, _ := all[0].State(); s != Complete {
				t.Errorf("a subgroup closed before is %v, want complete", s)
			}
			if s, code := all[1].State(); s != Aborted || code != tt.want {
				t.Errorf("an open subgroup is %v with %v, want aborted with %v", s, code, tt.want)
			}
			if err := w.WriteObject(Object{ID: 1}); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrTooOld) {
				t.Errorf("WriteObject after End = %v", err)
			}
			if _, err := tr.Subgroup(SubgroupHeader{Group: 3}); !errors.Is(err, ErrClosed) {
				t.Errorf("Subgroup after End = %v, want ErrClosed", err)
			}
		})
	}
}

func TestEviction(t *testing.T) {
	clock := newFakeClock()
	ids := func(tr *Track) (ids []uint64) {
		for _, g := range tr.Groups() {
			ids = append(ids, g.ID)
		}
		return ids
	}
	check := func(t *testing.T, tr *Track, want ...uint64) {
		t.Helper()
		got := ids(tr)
		if len(got) != len(want) {
			t.Fatalf("cached groups are %v, want %v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("cached groups are %v, want %v", got, want)
			}
		}
	}
	t.Run("by count", func(t *testing.T) {
		tr := newTestTrack(Config{MaxGroups: 3})
		for g := range uint64(10) {
			putGroup(t, tr, g, 1, fill(10))
		}
		check(t, tr, 7, 8, 9)
	})
	t.Run("by age, which begins when the group is passed", func(t *testing.T) {
		tr := newTestTrack(Config{MaxAge: time.Second, Now: clock.Now})
		putGroup(t, tr, 0, 1, nil)
		clock.advance(time.Minute) // a long group of pictures
		putGroup(t, tr, 1, 1, nil)
		putGroup(t, tr, 2, 1, nil)
		check(t, tr, 0, 1, 2)
		clock.advance(1001 * time.Millisecond)
		putGroup(t, tr, 3, 1, nil)
		check(t, tr, 2, 3)
	})
	t.Run("by bytes, slack and index included", func(t *testing.T) {
		tr := newTestTrack(Config{MaxBytes: 100 << 10})
		for g := range uint64(10) {
			putGroup(t, tr, g, 1, fill(20<<10))
			if n := tr.Bytes(); n > 100<<10 {
				t.Fatalf("%d bytes after group %d", n, g)
			}
		}
		if n := len(tr.Groups()); n != 4 {
			t.Errorf("%d groups of a bit more than 20 KiB fit into 100 KiB, want 4", n)
		}
	})
	t.Run("the last complete group stays while newer ones are open", func(t *testing.T) {
		tr := newTestTrack(Config{MaxGroups: 2, MaxAge: time.Second, Now: clock.Now})
		putGroup(t, tr, 5, 1, nil)
		for g := uint64(6); g < 10; g++ {
			open(t, tr, g)
			clock.advance(10 * time.Second)
		}
		check(t, tr, 5, 9)
	})
	t.Run("what is gone stays gone", func(t *testing.T) {
		tr := newTestTrack(Config{MaxGroups: 2})
		for g := uint64(3); g < 9; g++ {
			putGroup(t, tr, g, 1, nil)
		}
		for _, g := range []uint64{0, 5, 6} {
			if _, err := tr.Subgroup(SubgroupHeader{Group: g}); !errors.Is(err, ErrTooOld) {
				t.Errorf("Subgroup(%d) = %v, want ErrTooOld", g, err)
			}
		}
	})
	t.Run("cursors do not hang", func(t *testing.T) {
		tr := newTestTrack(Config{MaxGroups: 2})
		w := open(t, tr, 0)
		write(t, w, Object{Payload: fill(100)})
		s := only(t, tr)
		kept, notified := s.Bytes(0, 1000), countNotify(tr)
		putGroup(t, tr, 1, 1, nil)
		putGroup(t, tr, 2, 1, nil)
		if state, code := s.State(); state != Aborted || code != ResetTooFarBehind {
			t.Errorf("an evicted subgroup is %v with %v", state, code)
		}
		if b := s.Bytes(0, 1000); b != nil {
			t.Errorf("an evicted log still has %d bytes", len(b))
		}
		if _, ok := s.Load(0); ok {
			t.Error("an evicted object can be read")
		}
		if len(kept) < 100 || kept[len(kept)-1] != fill(100)[99] {
			t.Error("bytes that a reader had before the eviction changed")
		}
		if *notified == 0 {
			t.Error("nobody was notified")
		}
		if err := w.WriteObject(Object{ID: 1}); !errors.Is(err, ErrTooOld) {
			t.Errorf("WriteObject into an evicted group = %v, want ErrTooOld", err)
		}
		if err := w.Close(); !errors.Is(err, ErrTooOld) {
			t.Errorf("Close of an evicted subgroup = %v, want ErrTooOld", err)
		}
	})
}

// countNotify counts the notifications of tr from now on.
func countNotify(tr *Track) *int {
	n := new(int)
	tr.Attach(notifyFunc(func() { *n++ }))
	return n
}

type notifyFunc func()

func (f notifyFunc) Notify() { f() }

func TestBytesReturnToZero(t *testing.T) {
	var charged int64
	tr := newTestTrack(Config{MaxGroups: 4, Charge: func(d int64) { charged += d }})
	for g := range uint64(20) {
		putGroup(t, tr, g, 100, fill(777)) // several slabs, and more than one index chunk
		if charged != tr.Bytes() || charged < 77700 {
			t.Fatalf("after group %d: %d bytes charged, Bytes() = %d", g, charged, tr.Bytes())
		}
	}
	late := open(t, tr, 30)
	write(t, late, Object{})
	tr.End(DoneTrackEnded, "")
	if tr.Bytes() == 0 {
		t.Error("the end of the track emptied the cache")
	}
	tr.Drop()
	if charged != 0 || tr.Bytes() != 0 {
		t.Errorf("after Drop: %d bytes charged, Bytes() = %d, want 0", charged, tr.Bytes())
	}
	late.Abort(ResetCancelled)
	if all, _ := tr.Since(0); len(all) != 0 {
		t.Errorf("%d subgroups are left", len(all))
	}
	if tr.open != 0 || charged != 0 {
		t.Errorf("%d subgroups are open, %d bytes charged", tr.open, charged)
	}
}

func TestOpenSubgroupsAreBounded(t *testing.T) {
	tr := newTestTrack(Config{MaxOpenSubgroups: 3})
	var ws []*SubgroupWriter
	for i := range uint64(3) {
		ws = append(ws, open(t, tr, i))
	}
	if _, err := tr.Subgroup(SubgroupHeader{Group: 9}); !errors.Is(err, ErrLimit) {
		t.Fatalf("the fourth open subgroup: %v, want ErrLimit", err)
	}
	if n := len(tr.Groups()); n != 3 {
		t.Errorf("the refused subgroup left a group: %d", n)
	}
	closed(t, ws[0])
	ws[1].Abort(ResetCancelled)
	open(t, tr, 9)
	open(t, tr, 10)
	if _, err := tr.Subgroup(SubgroupHeader{Group: 11}); !errors.Is(err, ErrLimit) {
		t.Errorf("the fourth open subgroup: %v, want ErrLimit", err)
	}
}

func TestAbortOpen(t *testing.T) {
	tr := newTestTrack(Config{})
	putGroup(t, tr, 0, 1, nil)
	w := open(t, tr, 1)
	hidden, err := tr.Subgroup(SubgroupHeader{Group: 1, FirstIDMode: true})
	if err != nil {
		t.Fatal(err)
	}
	tr.AbortOpen(ResetGoingAway)
	if state, code := w.sub.State(); state != Aborted || code != ResetGoingAway {
		t.Errorf("the open subgroup is %v with %v", state, code)
	}
	if _, err := hidden.Write(stream(false, Object{})); !errors.Is(err, ErrClosed) {
		t.Errorf("Write to a subgroup that nobody has seen = %v, want ErrClosed", err)
	}
	if tr.open != 0 {
		t.Errorf("%d subgroups are open", tr.open)
	}
	// The track goes on with another source.
	putGroup(t, tr, 2, 1, nil)
}

// TestRenew holds that a later set of properties replaces the one before it as a
// whole, unless it is about what is fixed, or the track is our own.
func TestRenew(t *testing.T) {
	unknown := func(typ, v uint64) Property { return Property{Type: typ, Uint: v} }
	lower := unknown(PropDefaultPriority, 9)
	for _, tt := range []struct {
		name          string
		local         bool
		first, second []Property
		ok            bool
	}{
		{"2.5_replaced_never_merged", false, []Property{unknown(0x1000, 1), unknown(0x1002, 2)}, []Property{unknown(0x1002, 3), unknown(0x1004, 4)}, true},
		{"2.5_removed", false, []Property{lower, unknown(0x1000, 1)}, []Property{lower}, true},
		{"2.5_known_ones_change", false, []Property{lower, unknown(0x1000, 1)}, []Property{unknown(0x1002, 2)}, false},
		{"of_our_own", true, []Property{unknown(0x1000, 1)}, []Property{unknown(0x1002, 2)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, second := NewProperties(tt.first...), NewProperties(tt.second...)
			tr := New(Name{Name: "video"}, Info{Properties: first, Local: tt.local}, Config{})
			ok, want := tr.Renew(second), first
			if tt.ok {
				want = second
			}
			if got := tr.Properties(); ok != tt.ok || !bytes.Equal(got, want) {
				t.Errorf("Renew: %t, then the track has % x, want %t, % x", ok, got, tt.ok, want)
			}
		})
	}
}
