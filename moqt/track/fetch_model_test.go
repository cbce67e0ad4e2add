package track

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A world is a naive picture of a track: for every location of a small grid what
// is known, kept apart by what goes when it is evicted. Column gridObjects of a
// group stands for all IDs from there on.
type world struct {
	tr      *Track
	clock   *fakeClock
	charged int64

	live    map[uint64]layer // by group, while it is cached
	filled  map[uint64]layer
	groups  map[uint64]bool // that do not exist
	writers []*gridWriter
	fillers []*gridFiller
	opened  map[uint64]uint64   // how many subgroups each group has had
	in      map[Location]uint64 // the subgroup of an object
	local   bool
	tooOld  uint64
}

const (
	gridGroups  = 7
	gridObjects = 6
)

// A layer is what is known of one group. Objects that have begun and did not
// come whole are lost, foundUnknown, once nobody writes them.
type layer struct {
	objects  map[uint64]foundKind
	absent   map[uint64]bool
	declared map[uint64]bool // by the publisher, so that the contrary is malformed
}

func (l layer) has(id uint64) bool { _, ok := l.objects[id]; return ok }

type gridWriter struct {
	w     *SubgroupWriter
	group uint64
	id    uint64 // of the subgroup, and how many there are
	next  uint64
	begun bool // object next-1 is incomplete
	rest  []byte
}

type gridFiller struct {
	f     *Filler
	order GroupOrder
	todo  []Location // in the order of the response
	left  map[Location]bool
}

func gridPayload(l Location) []byte { return fmt.Appendf(nil, "object %v", l) }

func (w *world) layerOf(layers map[uint64]layer, group uint64) layer {
	if layers[group].objects == nil {
		layers[group] = layer{map[uint64]foundKind{}, map[uint64]bool{}, map[uint64]bool{}}
	}
	return layers[group]
}

// setAbsent takes note that nothing exists in the whole of some locations.
func (w *world) setAbsent(locations []Location) {
	count := map[uint64]int{}
	for _, l := range locations {
		count[l.Group]++
	}
	for _, l := range locations {
		switch {
		case count[l.Group] == gridObjects+1:
			w.groups[l.Group] = true
		case w.live[l.Group].objects != nil:
			w.live[l.Group].absent[l.Object] = true
		default:
			w.layerOf(w.filled, l.Group).absent[l.Object] = true
		}
	}
}

// status is what the track has to answer at l. lost says that an object was
// there.
func (w *world) status(l Location) foundKind {
	live, cached := w.live[l.Group]
	filled := w.filled[l.Group]
	switch {
	case live.objects[l.Object] == foundObject, filled.objects[l.Object] == foundObject:
		return foundObject
	case live.objects[l.Object] == foundWait:
		return foundWait
	case live.absent[l.Object], filled.absent[l.Object], w.groups[l.Group]:
		return foundAbsent
	case w.local && !live.has(l.Object) && (cached || l.Group >= w.tooOld):
		return foundAbsent
	}
	for _, f := range w.fillers {
		if f.left[l] {
			return foundWait
		}
	}
	return foundUnknown
}

// sync forgets what the track has evicted.
func (w *world) sync() {
	cached := map[uint64]bool{}
	for _, g := range w.tr.Groups() {
		cached[g.ID] = true
	}
	for id := range w.live {
		if !cached[id] {
			delete(w.live, id)
			w.tooOld = max(w.tooOld, id+1)
		}
	}
	for id := range w.filled {
		if f, _ := w.tr.findFilled(id); f == nil {
			delete(w.filled, id)
		}
	}
	w.writers = slices.DeleteFunc(w.writers, func(g *gridWriter) bool { return w.live[g.group].objects == nil })
}

func (w *world) open(t *rapid.T) {
	group := uint64(rapid.IntRange(0, gridGroups-1).Draw(t, "group"))
	id := w.opened[group]
	if w.groups[group] {
		t.Skip("the group does not exist")
	}
	sw, err := w.tr.Subgroup(SubgroupHeader{Group: group, Subgroup: id, FirstObject: true, Properties: true})
	if err != nil {
		t.Skip(err)
	}
	w.layerOf(w.live, group)
	w.opened[group]++
	w.writers = append(w.writers, &gridWriter{w: sw, group: group, id: id})
}

// failed reports whether a write came too late, which is fine.
func (w *world) failed(t *rapid.T, err error) bool {
	if w.sync(); err != nil && !errors.Is(err, ErrTooOld) {
		t.Fatal(err)
	}
	return err != nil
}

// write writes an object to an open subgroup, or a part of one.
func (w *world) write(t *rapid.T) {
	if len(w.writers) == 0 {
		t.Skip("nothing is open")
	}
	g := rapid.SampledFrom(w.writers).Draw(t, "writer")
	if g.begun {
		t.Skip("in the middle of an object")
	}
	l := Location{Group: g.group, Object: g.next + uint64(rapid.IntRange(0, 2).Draw(t, "skip"))}
	live, filled := w.live[l.Group], w.filled[l.Group]
	if l.Object >= gridObjects || live.has(l.Object) || live.declared[l.Object] {
		t.Skip("not free")
	}
	late := live.absent[l.Object] || filled.absent[l.Object] || w.groups[l.Group] // and dropped: section 9.1
	if in, some := w.in[l]; some && in != g.id {
		t.Skip("an object is in one subgroup")
	}
	w.in[l] = g.id
	o := Object{ID: l.Object, Payload: gridPayload(l)}
	gap := uint64(0)
	if rapid.Bool().Draw(t, "gap") {
		for gap < l.Object {
			if _, came := w.in[Location{Group: l.Group, Object: l.Object - gap - 1}]; came {
				break
			}
			gap++
		}
		if gap > 0 {
			o.Properties = NewProperties(Property{Type: PropPriorObjectIDGap, Uint: gap})
		}
	}
	if rapid.Bool().Draw(t, "in pieces") {
		var before []Object
		if g.w.objects > 0 {
			before = append(before, Object{ID: g.w.lastID})
		}
		b := stream(true, append(slices.Clone(before), o)...)[len(stream(true, before...)):]
		n := len(b) - 1
		g.rest, g.begun = b[n:], true
		if _, err := g.w.Write(b[:n]); w.failed(t, err) {
			return
		}
		if !late {
			live.objects[l.Object] = foundWait
		}
	} else {
		if err := g.w.WriteObject(o); w.failed(t, err) {
			return
		}
		if !late {
			live.objects[l.Object] = foundObject
		}
	}
	for i := range gap {
		if !late {
			live.absent[l.Object-i-1], live.declared[l.Object-i-1] = true, true
		}
	}
	g.next = l.Object + 1
}

// goOn brings the rest of an object.
func (w *world) goOn(t *rapid.T) {
	for _, g := range w.writers {
		if g.begun {
			if _, err := g.w.Write(g.rest); w.failed(t, err) {
				return
			}
			g.begun = false
			if live := w.live[g.group]; live.has(g.next - 1) {
				live.objects[g.next-1] = foundObject
			}
			return
		}
	}
	t.Skip("nothing is incomplete")
}

func (w *world) close(t *rapid.T) {
	if len(w.writers) == 0 {
		t.Skip("nothing is open")
	}
	i := rapid.IntRange(0, len(w.writers)-1).Draw(t, "writer")
	g := w.writers[i]
	if g.begun || rapid.Bool().Draw(t, "cut") {
		g.w.Abort(ResetCancelled)
		if live := w.live[g.group]; g.begun && live.has(g.next-1) {
			live.objects[g.next-1] = foundUnknown // something was there
		}
	} else if err := g.w.Close(); err != nil {
		t.Fatal(err)
	}
	w.writers = slices.Delete(w.writers, i, i+1)
}

// endGroup marks the end of a group behind its largest object.
func (w *world) endGroup(t *rapid.T) {
	if len(w.writers) == 0 {
		t.Skip("nothing is open")
	}
	g := rapid.SampledFrom(w.writers).Draw(t, "writer")
	end := uint64(0)
	for id := range w.live[g.group].objects {
		end = max(end, id+1)
	}
	for id := range w.filled[g.group].objects {
		if id >= end {
			t.Skip("something filled is behind")
		}
	}
	if g.begun || end < g.next || g.next > gridObjects {
		t.Skip("in the middle of an object, or at the end")
	}
	if err := g.w.WriteObject(Object{ID: end, Status: ObjectEndOfGroup}); w.failed(t, err) {
		return
	}
	for id := end; id <= gridObjects; id++ {
		w.live[g.group].absent[id], w.live[g.group].declared[id] = true, true
	}
	g.next = gridObjects + 1
}

// gridRange draws a range with its ends on the grid.
func gridRange(t *rapid.T) Range {
	at := func(name string) Location {
		return Location{
			Group:  uint64(rapid.IntRange(0, gridGroups-1).Draw(t, name+" group")),
			Object: uint64(rapid.IntRange(0, gridObjects).Draw(t, name+" object")),
		}
	}
	r := Range{at("start"), at("end")}
	if r.End.Less(r.Start) {
		r.Start, r.End = r.End, r.Start
	}
	return r
}

// grid returns the locations of r in an order.
func grid(r Range, order GroupOrder) (all []Location) {
	for g := range uint64(gridGroups) {
		for o := range uint64(gridObjects + 1) {
			if l := (Location{Group: g, Object: o}); r.Contains(l) {
				all = append(all, l)
			}
		}
	}
	slices.SortFunc(all, func(a, b Location) int { return inOrder(order, a, b) })
	return all
}

func inOrder(order GroupOrder, a, b Location) int {
	if a.Group != b.Group && order == Descending {
		return cmp.Compare(b.Group, a.Group)
	}
	return a.Compare(b)
}

func (w *world) fill(t *rapid.T) {
	r := gridRange(t)
	order := rapid.SampledFrom([]GroupOrder{Ascending, Descending}).Draw(t, "order")
	f := &gridFiller{f: w.tr.Fill(r), order: order, todo: grid(r, order), left: map[Location]bool{}}
	f.f.SetOrder(order)
	for _, l := range f.todo {
		f.left[l] = true
	}
	w.fillers = append(w.fillers, f)
}

// step has a filler say something of a few locations.
func (w *world) step(t *rapid.T) {
	if len(w.fillers) == 0 {
		t.Skip("nothing is filled")
	}
	i := rapid.IntRange(0, len(w.fillers)-1).Draw(t, "filler")
	f := w.fillers[i]
	what := rapid.SampledFrom([]string{"object", "object", "absent", "unknown", "close", "abort"}).Draw(t, "item")
	n := 0
	if len(f.todo) > 0 {
		n = rapid.IntRange(1, min(len(f.todo), 9)).Draw(t, "locations")
	}
	said := f.todo[:n]
	switch {
	case what == "close":
		f.f.Close()
		said = f.todo
	case what == "abort":
		f.f.Abort(ResetCancelled)
	case n == 0:
		t.Skip("all is said")
	case what == "object":
		l := said[n-1]
		if l.Object == gridObjects {
			t.Skip("not an object's place")
		}
		o := Object{Group: l.Group, Subgroup: w.in[l], ID: l.Object, Priority: DefaultPriority, Payload: gridPayload(l)}
		// The publisher does not contradict itself.
		if w.live[l.Group].declared[l.Object] {
			t.Skip("does not exist")
		}
		w.in[l] += 0 // subgroup 0 unless it has come before
		gone := w.groups[l.Group] || w.live[l.Group].absent[l.Object] || w.filled[l.Group].absent[l.Object]
		said = said[:n-1]
		f.say(said, w)
		delete(f.left, l)
		if err := f.f.WriteObject(o); err != nil {
			t.Fatal(err)
		}
		if !gone && w.live[l.Group].objects[l.Object] != foundObject && !w.groups[l.Group] {
			w.layerOf(w.filled, l.Group).objects[l.Object] = foundObject
		}
		f.todo = f.todo[n:]
		return
	default:
		to := said[n-1]
		if to.Object == gridObjects {
			to.Object = math.MaxUint64
			if end := f.f.Range().End; !(Location{Group: to.Group, Object: to.Object}).Less(end) {
				t.Skip("beyond the range")
			}
		}
		say := f.f.Unknown
		if what == "absent" {
			say = f.f.Absent
		}
		if err := say(to); err != nil {
			t.Fatal(err)
		}
	}
	if what == "close" || what == "absent" {
		f.say(said, w)
	}
	for _, l := range said {
		delete(f.left, l)
	}
	f.todo = f.todo[len(said):]
	if what == "close" || what == "abort" {
		w.fillers = slices.Delete(w.fillers, i, i+1)
	}
}

func (f *gridFiller) say(said []Location, w *world) {
	w.setAbsent(said)
	for _, l := range said {
		delete(f.left, l)
	}
}

// check reads a range in one order and compares each location.
func (w *world) check(t *rapid.T) {
	w.sync()
	if w.charged != w.tr.Bytes() || w.charged < 0 {
		t.Fatalf("%d bytes charged, Bytes() = %d", w.charged, w.tr.Bytes())
	}
	r := gridRange(t)
	order := rapid.SampledFrom([]GroupOrder{Ascending, Descending}).Draw(t, "reading order")
	rd := w.tr.Fetch(r, order)
	var items []FetchItem
	var state FetchState
	for {
		var item FetchItem
		if item, state = rd.Next(); state != FetchReady {
			break
		}
		if items = append(items, item); len(items) > 500 {
			t.Fatalf("a fetch of %v has no end: %v", r, items[490:])
		}
	}
	w.compare(t, r, order, items, state)

	unknown := w.tr.Unknown(r, math.MaxInt)
	for _, l := range grid(r, Ascending) {
		got := slices.ContainsFunc(unknown, func(u Range) bool { return u.Contains(l) })
		if want := w.status(l) == foundUnknown; got != want {
			t.Fatalf("Unknown(%v) = %v, which says of %v %t, want %t", r, unknown, l, got, want)
		}
	}
}

func (w *world) compare(t *rapid.T, r Range, order GroupOrder, items []FetchItem, state FetchState) {
	at := func(i int) Location {
		if items[i].Kind == FetchObject {
			return items[i].Object.Location()
		}
		return items[i].To
	}
	i, marked := 0, false
	for _, l := range grid(r, order) {
		for i < len(items) && inOrder(order, at(i), l) < 0 {
			i++
		}
		want := w.status(l)
		got := foundAbsent
		switch {
		case i < len(items) && items[i].Kind == FetchUnknown:
			got = foundUnknown
		case i < len(items) && items[i].Kind == FetchAbsent, i < len(items) && at(i) != l:
		case i < len(items):
			got = foundObject
			if o := items[i].Object; !bytes.Equal(o.Payload, gridPayload(l)) || o.Priority != DefaultPriority {
				t.Fatalf("%v is %+v", l, o)
			}
		case want == foundWait:
			if state != FetchWait {
				t.Fatalf("the fetch of %v does not wait at %v", r, l)
			}
			return
		}
		if got != want {
			t.Fatalf("fetch of %v in order %v says of %v %v, want %v; items %+v, state %v", r, order, l, got, want, items, state)
		}
		marked = marked || got == foundUnknown
	}
	if state != FetchEnd {
		t.Fatalf("the fetch of %v in order %v waits at its end; items %+v", r, order, items)
	}
	if !marked && slices.ContainsFunc(items, func(i FetchItem) bool { return i.Kind == FetchAbsent }) {
		t.Fatalf("an absent range is reported where none is needed: %+v", items)
	}
}

func TestFetchModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			clock: newFakeClock(), live: map[uint64]layer{}, filled: map[uint64]layer{}, groups: map[uint64]bool{},
			opened: map[uint64]uint64{}, in: map[Location]uint64{},
			local: rapid.Bool().Draw(t, "local"),
		}
		w.tr = New(testName, Info{Local: w.local}, Config{
			MaxGroups: rapid.IntRange(2, 8).Draw(t, "MaxGroups"),
			Now:       w.clock.Now, Charge: func(d int64) { w.charged += d },
		})
		t.Repeat(map[string]func(*rapid.T){
			"open": w.open, "write": w.write, "write more": w.write, "go on": w.goOn, "close": w.close,
			"end group": w.endGroup, "fill": w.fill, "fill step": w.step, "another fill step": w.step,
			"wait": func(t *rapid.T) {
				w.clock.advance(time.Duration(rapid.IntRange(0, 4).Draw(t, "s")) * time.Second)
			},
			"": w.check,
		})
		for _, f := range w.fillers {
			f.f.Abort(ResetCancelled)
		}
		w.tr.End(DoneTrackEnded, "")
		w.tr.Drop()
		if w.charged != 0 || w.tr.Bytes() != 0 {
			t.Fatalf("after Drop %d bytes are charged", w.charged)
		}
	})
}
