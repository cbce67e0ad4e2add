package track

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// shownObjects lists the IDs of the whole objects that readers see of a track, by
// Subgroup in order of arrival.
func shownObjects(tr *Track) (all [][]uint64) {
	subgroups, _ := tr.Since(0)
	for _, s := range subgroups {
		ids := []uint64{}
		for i := range s.Objects() {
			if ref, ok := s.Object(i); ok && ref.Complete {
				ids = append(ids, ref.ID)
			}
		}
		all = append(all, ids)
	}
	return all
}

// A copyOf is one source of the subgroup in TestSources.
type copyOf struct {
	w    *SubgroupWriter
	rest []byte
}

// TestSources has several sources bring one subgroup, each at its own pace, and
// cuts some. Readers get every object once and in order, as long as one source
// goes on.
func TestSources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var objects []Object
		id := uint64(0)
		for range rapid.IntRange(1, 12).Draw(t, "objects") {
			id += uint64(rapid.IntRange(0, 2).Draw(t, "gap"))
			o := Object{ID: id, Payload: fill(rapid.SampledFrom([]int{0, 1, 40, 3000, 70_000, 300_000}).Draw(t, "size"))}
			if rapid.Bool().Draw(t, "properties") {
				o.Properties = someProps
			}
			objects = append(objects, o)
			id++
		}
		charged := int64(0)
		tr := newTestTrack(Config{Charge: func(d int64) { charged += d }})
		reader := tr.NewReader(From(Location{}))
		var g *GroupReader
		var sources []*copyOf
		var read []Object
		ended := false
		openAt := func(i int) *copyOf {
			w, err := tr.Subgroup(SubgroupHeader{Properties: true, EndOfGroup: true, FirstObject: i == 0})
			if err != nil {
				t.Fatal(err)
			}
			c := &copyOf{w: w, rest: stream(true, objects[i:]...)}
			sources = append(sources, c)
			return c
		}
		feed := func(c *copyOf, n int) {
			if _, err := c.w.Write(c.rest[:n]); err != nil {
				t.Fatal(err)
			}
			c.rest = c.rest[n:]
		}
		end := func(c *copyOf, cut bool) {
			if cut || len(c.rest) > 0 {
				c.w.Abort(ResetSessionClosed)
			} else if err := c.w.Close(); err != nil {
				t.Fatal(err)
			} else {
				ended = true
			}
			sources = slices.DeleteFunc(sources, func(other *copyOf) bool { return other == c })
		}
		check := func() {
			var ids []uint64
			for _, s := range shownObjects(tr) {
				ids = append(ids, s...)
			}
			for i, id := range ids {
				if id != objects[i].ID {
					t.Fatalf("readers see %v", shownObjects(tr))
				}
			}
			if charged != tr.Bytes() || charged < 0 {
				t.Fatalf("%d bytes charged, %d counted", charged, tr.Bytes())
			}
		}
		follow := func() {
			for {
				if g == nil {
					if tr.groupFrom(0) == nil {
						return
					}
					g, _ = reader.NextGroup(t.Context())
				}
				o, ok, err := g.poll()
				switch {
				case err != nil && !errors.Is(err, io.EOF) && len(sources) > 0:
					t.Fatalf("a reader gets %v while %d sources go on", err, len(sources))
				case err != nil || !ok:
					return
				}
				read = append(read, o)
			}
		}
		openAt(0)
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				seen := len(slices.Concat(shownObjects(tr)...))
				if ended || len(sources) == 4 {
					t.Skip("enough")
				}
				openAt(rapid.IntRange(0, min(seen, len(objects)-1)).Draw(t, "from"))
			},
			"feed": func(t *rapid.T) {
				if len(sources) == 0 {
					t.Skip("no source")
				}
				c := rapid.SampledFrom(sources).Draw(t, "source")
				if len(c.rest) == 0 {
					t.Skip("all fed")
				}
				n := rapid.SampledFrom([]int{1, 10, 100, 5000, 100_000}).Draw(t, "n")
				feed(c, min(n, len(c.rest)))
			},
			"end": func(t *rapid.T) {
				if len(sources) < 2 {
					t.Skip("the last one")
				}
				end(rapid.SampledFrom(sources).Draw(t, "source"), rapid.Bool().Draw(t, "cut"))
			},
			"read": func(*rapid.T) { follow() },
			"":     func(*rapid.T) { check() },
		})
		for _, c := range slices.Clone(sources) {
			feed(c, len(c.rest))
			end(c, false)
			check()
		}
		follow()
		if len(read) != len(objects) {
			t.Fatalf("a reader got %d objects of %d; readers see %v", len(read), len(objects), shownObjects(tr))
		}
		for i, o := range read {
			if o.ID != objects[i].ID || !bytes.Equal(o.Payload, objects[i].Payload) || !bytes.Equal(o.Properties, objects[i].Properties) {
				t.Fatalf("object %d is not what was written", o.ID)
			}
		}
		if _, _, err := g.poll(); !errors.Is(err, io.EOF) {
			t.Fatalf("the group ends with %v", err)
		}
		if tr.open != 0 {
			t.Fatalf("%d subgroups are open", tr.open)
		}
		tr.Drop()
		if charged != 0 {
			t.Fatalf("%d bytes are left", charged)
		}
	})
}

// TestMalformed has a track receive what contradicts what it has. A case brings
// subgroup 0 of group 5 and then something else.
func TestMalformed(t *testing.T) {
	payload := []byte("payload")
	objects := []Object{{ID: 2, Payload: payload}, {ID: 3, Payload: payload}, {ID: 4, Payload: payload}}
	prop := func(typ, n uint64) Properties { return NewProperties(Property{Type: typ, Uint: n}) }
	immutable := NewProperties(Property{Type: PropImmutable, Bytes: NewProperties(Property{Type: 2})})
	// put writes objects into a subgroup as another source would.
	put := func(tr *Track, h SubgroupHeader, fin bool, objects ...Object) error {
		h.Properties = true
		w, err := tr.Subgroup(h)
		if err != nil {
			return err
		}
		if _, err := w.Write(stream(true, objects...)); err != nil {
			w.Abort(ResetMalformedTrack)
			return err
		}
		if fin {
			return w.Close()
		}
		w.Abort(ResetCancelled)
		return nil
	}
	zero := SubgroupHeader{Group: 5}
	one := SubgroupHeader{Group: 5, Subgroup: 1}
	prio := SubgroupHeader{Group: 5, Priority: 3, HasPriority: true}
	whole := func(tr *Track) error { return put(tr, zero, true, objects...) }
	cut := func(tr *Track) error { return put(tr, zero, false, objects...) }
	datagram := func(o Object) func(*Track) error {
		return func(tr *Track) error {
			o.Group, o.Priority = 5, DefaultPriority
			return tr.WriteDatagram(o)
		}
	}
	for _, tt := range []struct {
		name      string
		first     func(*Track) error
		then      func(*Track) error
		malformed bool
	}{
		{"the same once more", whole, whole, false},
		{"the same once more, cut", whole, cut, false},
		{"the rest", func(tr *Track) error { return put(tr, zero, false, objects[:1]...) }, whole, false},
		{"2.4.2 (1) another priority", whole, func(tr *Track) error { return put(tr, prio, true, objects...) }, true},
		{"2.4.2 (2) an object after the end of the subgroup", whole, func(tr *Track) error {
			return put(tr, zero, false, Object{ID: 5})
		}, true},
		{"an object after a cut", cut, func(tr *Track) error { return put(tr, zero, false, Object{ID: 5}) }, false},
		{"2.4.2 (3) a FIN that comes early", whole, func(tr *Track) error { return put(tr, zero, true, objects[:2]...) }, true},
		{"2.4.2 (3) a FIN that comes early, of one that was cut", cut, func(tr *Track) error { return put(tr, zero, true, objects[:2]...) }, true},
		{"2.4.2 (4) an object after END_OF_GROUP", func(tr *Track) error {
			return put(tr, zero, true, objects[0], Object{ID: 3, Status: ObjectEndOfGroup})
		}, func(tr *Track) error { return put(tr, one, true, Object{ID: 3}) }, true},
		{"2.4.2 (4) a datagram after the END_OF_GROUP bit", datagram(Object{ID: 1, EndOfGroup: true}), datagram(Object{ID: 2}), true},
		{"2.4.2 (5) an object after END_OF_TRACK", func(tr *Track) error {
			return put(tr, zero, true, objects[0], Object{ID: 3, Status: ObjectEndOfTrack})
		}, func(tr *Track) error { return put(tr, SubgroupHeader{Group: 6}, true, Object{ID: 0}) }, true},
		{"2.4.2 (6) another payload", whole, func(tr *Track) error {
			return put(tr, zero, true, Object{ID: 2, Payload: []byte("Payload")})
		}, true},
		{"2.4.2 (6) another length", whole, func(tr *Track) error {
			return put(tr, zero, true, Object{ID: 2, Payload: payload[:3]})
		}, true},
		{"2.4.2 (6) other immutable properties", whole, func(tr *Track) error {
			return put(tr, zero, true, Object{ID: 2, Payload: payload, Properties: immutable})
		}, true},
		{"9.1 other mutable properties", cut, func(tr *Track) error {
			return put(tr, zero, false, Object{ID: 2, Payload: payload, Properties: prop(0x3800, 7)})
		}, false},
		{"2.4.2 (7) a datagram of what came in a subgroup", whole, datagram(objects[0]), true},
		{"2.4.2 (7) a subgroup of what came in a datagram", datagram(objects[0]), whole, true},
		{"2.2 an object in two subgroups", whole, func(tr *Track) error { return put(tr, one, true, objects[1]) }, true},
		{"the same datagram", datagram(objects[0]), datagram(objects[0]), false},
		{"2.4.2 (6) a datagram with another payload", datagram(objects[0]), datagram(Object{ID: 2, Payload: payload[:3]}), true},
		{"12.8 two gaps of one group", func(tr *Track) error {
			return put(tr, zero, false, Object{ID: 2, Properties: prop(PropPriorGroupIDGap, 1)})
		}, func(tr *Track) error {
			return put(tr, one, false, Object{ID: 3, Properties: prop(PropPriorGroupIDGap, 2)})
		}, true},
		{"12.8 a gap over a group", whole, func(tr *Track) error {
			return put(tr, SubgroupHeader{Group: 7}, false, Object{ID: 0, Properties: prop(PropPriorGroupIDGap, 2)})
		}, true},
		{"12.8 a group in a gap", func(tr *Track) error {
			return put(tr, SubgroupHeader{Group: 7}, false, Object{ID: 0, Properties: prop(PropPriorGroupIDGap, 2)})
		}, whole, true},
		{"12.9 a gap over an object", whole, func(tr *Track) error {
			return put(tr, one, false, Object{ID: 9, Properties: prop(PropPriorObjectIDGap, 5)})
		}, true},
		{"12.9 an object in a gap", func(tr *Track) error {
			return put(tr, one, false, Object{ID: 9, Properties: prop(PropPriorObjectIDGap, 5)})
		}, whole, true},
		{"9.1 an object that a FETCH has left out comes late", func(tr *Track) error {
			tr.Fill(upTo(9, 0)).Close()
			return nil
		}, whole, false},
		{"2.4.2 (6) another payload than a FETCH has brought", func(tr *Track) error {
			return tr.Fill(upTo(9, 0)).WriteObject(Object{Group: 5, ID: 3, Priority: DefaultPriority, Payload: []byte("Payload")})
		}, whole, true},
		{"what a FETCH has brought", func(tr *Track) error {
			o := objects[1]
			o.Group, o.Priority = 5, DefaultPriority
			return tr.Fill(upTo(9, 0)).WriteObject(o)
		}, cut, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTestTrack(Config{})
			if err := tt.first(tr); err != nil {
				t.Fatalf("first: %v", err)
			}
			bystander, err := tr.Subgroup(SubgroupHeader{Group: 4})
			if err != nil {
				t.Fatal(err)
			}
			err = tt.then(tr)
			if got := errors.Is(err, wire.ErrMalformedTrack); got != tt.malformed || err != nil && !got {
				t.Fatalf("then: %v, malformed should be %t", err, tt.malformed)
			}
			if got := tr.Malformed() != nil; got != tt.malformed {
				t.Fatalf("Malformed() = %v", tr.Malformed())
			}
			if !tt.malformed {
				return
			}
			if code, _, ended := tr.Ended(); !ended || code != DoneMalformedTrack {
				t.Errorf("Ended() = %v, %t", code, ended)
			}
			if state, code := bystander.sub.State(); state != Aborted || code != ResetMalformedTrack {
				t.Errorf("another subgroup is %v with %v", state, code)
			}
			_, opening := tr.Subgroup(SubgroupHeader{Group: 4, Subgroup: 1})
			for what, err := range map[string]error{
				"another subgroup": bystander.WriteObject(Object{}),
				"a new subgroup":   opening,
				"a datagram":       tr.WriteDatagram(Object{Group: 9}),
				"a filler":         tr.Fill(upTo(9, 0)).WriteObject(Object{}),
			} {
				if !errors.Is(err, wire.ErrMalformedTrack) {
					t.Errorf("%s gets %v", what, err)
				}
			}
			tr.Drop()
			if tr.Bytes() != 0 || tr.open != 0 {
				t.Errorf("%d bytes and %d open subgroups are left", tr.Bytes(), tr.open)
			}
		})
	}
}

// TestLateObject holds that an object which a FETCH has left out is neither
// cached nor forwarded, and that what follows it on its stream is.
func TestLateObject(t *testing.T) {
	tr := newTestTrack(Config{})
	tr.Fill(Range{Location{Object: 1}, Location{Object: 2}}).Close()
	w := open(t, tr, 0)
	b := stream(false, Object{ID: 0, Payload: fill(9)}, Object{ID: 1, Payload: fill(30_000)}, Object{ID: 2, Payload: fill(9)})
	if _, err := w.ReadFrom(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	closed(t, w)
	if got, want := fmt.Sprint(shownObjects(tr)), "[[0 2]]"; got != want {
		t.Errorf("readers see %s, want %s", got, want)
	}
	want := stream(false, Object{ID: 0, Payload: fill(9)}, Object{ID: 2, Payload: fill(9)})
	if got := logOf(only(t, tr)); !bytes.Equal(got, want) {
		t.Errorf("the log is %x, want %x", got, want)
	}
	if got := readAll(tr.Fetch(upTo(1, 0), Ascending)); got != "0/0 0/2" {
		t.Errorf("a fetch reads %s", got)
	}
}
