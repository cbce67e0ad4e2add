package track

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestReaderGroups(t *testing.T) {
	tr := newTestTrack(Config{})
	for _, g := range []uint64{3, 4, 7} {
		putGroup(t, tr, g, 3, fill(int(g)))
	}
	for _, tt := range []struct {
		name  string
		start Start
		want  []Location // the first object of each group
	}{
		{"current group", CurrentGroup, []Location{{Group: 7}}},
		{"next group", NextGroup, nil},
		{"next object", NextObject, []Location{{Group: 7, Object: 3}}},
		{"the past", From(Location{Group: 3, Object: 1}), []Location{{Group: 3, Object: 1}, {Group: 4}, {Group: 7}}},
		{"a gap", From(Location{Group: 5, Object: 2}), []Location{{Group: 7}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tr.NewReader(tt.start)
			for _, want := range tt.want {
				g, err := r.NextGroup(t.Context())
				if err != nil || g.ID() != want.Group {
					t.Fatalf("NextGroup = %v, want group %d", err, want.Group)
				}
				objects, err := readGroup(t, g)
				if err != nil || len(objects) != 3-int(want.Object) {
					t.Fatalf("group %d: %d objects, %v, want %d", want.Group, len(objects), err, 3-want.Object)
				}
				if len(objects) > 0 && objects[0].Location() != want {
					t.Errorf("the first object is %v, want %v", objects[0].Location(), want)
				}
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errEnough)
			if _, err := r.NextGroup(ctx); !errors.Is(err, errEnough) {
				t.Errorf("NextGroup at the live edge = %v, want the cause of the context", err)
			}
			if tr.waiters.waiting.Load() != 0 {
				t.Error("the reader is still in the list of waiters")
			}
		})
	}
}

var errEnough = errors.New("enough")

func TestReaderEnd(t *testing.T) {
	for _, tt := range []struct {
		code DoneCode
		want error
	}{
		{DoneTrackEnded, io.EOF},
		{DoneSubscriptionEnded, io.EOF},
		{DoneGoingAway, &EndError{Code: DoneGoingAway, Reason: "because"}},
		{DoneMalformedTrack, &EndError{Code: DoneMalformedTrack, Reason: "because"}},
	} {
		t.Run(tt.code.String(), func(t *testing.T) {
			tr := newTestTrack(Config{})
			r := tr.NewReader(CurrentGroup)
			putGroup(t, tr, 1, 1, nil)
			tr.End(tt.code, "because")
			g, err := r.NextGroup(t.Context())
			if err != nil {
				t.Fatalf("the last group: %v", err)
			}
			if objects, err := readGroup(t, g); len(objects) != 1 || err != nil {
				t.Errorf("%d objects, %v", len(objects), err)
			}
			_, err = r.NextGroup(t.Context())
			if want, ok := tt.want.(*EndError); ok {
				if got, ok := errors.AsType[*EndError](err); !ok || *got != *want {
					t.Errorf("NextGroup after the end = %v, want %v", err, want)
				}
			} else if err != tt.want {
				t.Errorf("NextGroup after the end = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestReaderSkipTo(t *testing.T) {
	tr := newTestTrack(Config{})
	for g := range uint64(5) {
		putGroup(t, tr, g, 1, nil)
	}
	r := tr.NewReader(From(Location{}))
	if newest, ok := r.Newest(); newest != 4 || !ok {
		t.Errorf("Newest() = %d, %t, want 4", newest, ok)
	}
	r.SkipTo(3)
	r.SkipTo(1) // never back
	if g, err := r.NextGroup(t.Context()); err != nil || g.ID() != 3 {
		t.Errorf("NextGroup after SkipTo(3) = %v", err)
	}
}

// TestGroupReaderOverSubgroups tells what Next may return while several
// subgroups of a group arrive.
func TestGroupReaderOverSubgroups(t *testing.T) {
	tr := newTestTrack(Config{})
	sub := func(id uint64) *SubgroupWriter {
		w, err := tr.Subgroup(SubgroupHeader{Group: 1, Subgroup: id, EndOfGroup: id == 0, FirstObject: true})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	a := sub(0)
	write(t, a, Object{ID: 0})
	r := tr.NewReader(CurrentGroup)
	g, err := r.NextGroup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want int) { // -1: has to wait
		t.Helper()
		o, ok, err := g.poll()
		if err != nil {
			t.Fatalf("got %v, want object %d", err, want)
		}
		if ok != (want >= 0) || ok && o.ID != uint64(want) {
			t.Fatalf("got object %d, %t, want %d", o.ID, ok, want)
		}
	}
	expect(0)
	b := sub(1)
	write(t, a, Object{ID: 2})
	expect(-1) // subgroup 1 may bring object 1
	write(t, b, Object{ID: 1})
	expect(1)
	expect(2)
	write(t, a, Object{ID: 6})
	expect(-1)
	write(t, b, Object{ID: 5}) // then 3 and 4 are in neither
	expect(5)
	expect(6)
	write(t, b, Object{ID: 7})
	expect(7)
	closed(t, b)
	expect(-1)
	write(t, a, Object{ID: 8})
	closed(t, a)
	expect(8)
	if _, _, err := g.poll(); err != io.EOF {
		t.Errorf("at the end of the group: %v, want io.EOF", err)
	}
	if len(g.cursors) != 0 {
		t.Errorf("%d cursors are left over complete subgroups", len(g.cursors))
	}
}

func TestGroupReaderEnds(t *testing.T) {
	newGroup := func(t *testing.T, h SubgroupHeader) (*Track, *SubgroupWriter, *GroupReader) {
		tr := newTestTrack(Config{MaxGroups: 2})
		w, err := tr.Subgroup(h)
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, Object{ID: 0}, Object{ID: 1})
		g, err := tr.NewReader(CurrentGroup).NextGroup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tr, w, g
	}
	poll := func(g *GroupReader) (n int, err error) {
		for {
			_, ok, err := g.poll()
			if !ok || err != nil {
				return n, err
			}
			n++
		}
	}
	isAbort := func(err error, code ResetCode) bool {
		e, ok := errors.AsType[*AbortError](err)
		return ok && e.Code == code
	}
	t.Run("FIN without END_OF_GROUP: with the next group", func(t *testing.T) {
		tr, w, g := newGroup(t, SubgroupHeader{FirstObject: true})
		closed(t, w)
		if n, err := poll(g); n != 2 || err != nil {
			t.Fatalf("%d objects, %v, want to wait after 2", n, err)
		}
		open(t, tr, 1)
		if n, err := poll(g); n != 0 || err != io.EOF {
			t.Errorf("%d objects, %v, want io.EOF", n, err)
		}
	})
	t.Run("FIN without END_OF_GROUP: with the end of the track", func(t *testing.T) {
		tr, w, g := newGroup(t, SubgroupHeader{FirstObject: true})
		closed(t, w)
		poll(g)
		tr.End(DoneTrackEnded, "")
		if n, err := poll(g); n != 0 || err != io.EOF {
			t.Errorf("%d objects, %v, want io.EOF", n, err)
		}
	})
	t.Run("END_OF_GROUP without FIN", func(t *testing.T) {
		_, w, g := newGroup(t, SubgroupHeader{FirstObject: true})
		write(t, w, Object{ID: 2, Status: ObjectEndOfGroup})
		if n, err := poll(g); n != 2 || err != io.EOF {
			t.Errorf("%d objects, %v, want 2 and io.EOF", n, err)
		}
	})
	t.Run("cut at an object's end", func(t *testing.T) {
		_, w, g := newGroup(t, SubgroupHeader{EndOfGroup: true, FirstObject: true})
		w.Abort(ResetDeliveryTimeout)
		if n, err := poll(g); n != 2 || !isAbort(err, ResetDeliveryTimeout) {
			t.Errorf("%d objects, %v, want 2 and the code of the reset", n, err)
		}
	})
	t.Run("cut inside an object", func(t *testing.T) {
		_, w, g := newGroup(t, SubgroupHeader{EndOfGroup: true, FirstObject: true})
		if _, err := w.Write(stream(false, Object{Payload: fill(10)})[:5]); err != nil {
			t.Fatal(err)
		}
		if n, err := poll(g); n != 2 || err != nil {
			t.Fatalf("%d objects, %v, want to wait for the third", n, err)
		}
		w.Abort(ResetCancelled)
		if n, err := poll(g); n != 0 || !isAbort(err, ResetCancelled) {
			t.Errorf("%d objects, %v, want the code of the reset", n, err)
		}
	})
	t.Run("cut and continued by another stream", func(t *testing.T) {
		tr, w, g := newGroup(t, SubgroupHeader{EndOfGroup: true, FirstObject: true})
		w.Abort(ResetCancelled)
		again, err := tr.Subgroup(SubgroupHeader{EndOfGroup: true})
		if err != nil {
			t.Fatal(err)
		}
		write(t, again, Object{ID: 1}, Object{ID: 2}) // one of them twice
		closed(t, again)
		if n, err := poll(g); n != 3 || err != io.EOF {
			t.Errorf("%d objects, %v, want 3 and io.EOF", n, err)
		}
	})
	t.Run("evicted under the reader", func(t *testing.T) {
		tr, _, g := newGroup(t, SubgroupHeader{EndOfGroup: true, FirstObject: true})
		putGroup(t, tr, 1, 1, nil)
		putGroup(t, tr, 2, 1, nil)
		if n, err := poll(g); n != 0 || !isAbort(err, ResetTooFarBehind) {
			t.Errorf("%d objects, %v, want TOO_FAR_BEHIND", n, err)
		}
	})
	t.Run("a subgroup without objects", func(t *testing.T) {
		tr := newTestTrack(Config{})
		w := open(t, tr, 0)
		g, _ := tr.NewReader(CurrentGroup).NextGroup(t.Context())
		closed(t, w)
		if n, err := poll(g); n != 0 || err != nil {
			t.Fatalf("%d objects, %v, want to wait", n, err)
		}
		open(t, tr, 1)
		if n, err := poll(g); n != 0 || err != io.EOF {
			t.Errorf("%d objects, %v, want io.EOF", n, err)
		}
	})
}

// TestReaderFollowsLive reads while a publisher writes, in virtual time: each
// object is there at the moment at which it was written.
func TestReaderFollowsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTestTrack(Config{})
		const groups, objects = 5, 30
		go func() {
			for g := range uint64(groups) {
				w := open(t, tr, g)
				for i := range uint64(objects) {
					time.Sleep(33 * time.Millisecond)
					write(t, w, Object{ID: i, Payload: fill(1000)})
				}
				closed(t, w)
			}
			tr.End(DoneTrackEnded, "")
		}()
		r := tr.NewReader(CurrentGroup)
		n := 0
		for {
			g, err := r.NextGroup(t.Context())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for {
				o, err := g.Next(t.Context())
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if late := time.Since(o.Arrival); late != 0 {
					t.Fatalf("object %v was read %v after it came", o.Location(), late)
				}
				n++
			}
		}
		if n != groups*objects {
			t.Errorf("%d objects, want %d", n, groups*objects)
		}
	})
}
