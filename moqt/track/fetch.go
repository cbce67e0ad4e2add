package track

import (
	"context"
	"io"
	"math"
	"time"
)

// A Range is the locations from Start on that come before End.
type Range struct{ Start, End Location }

// Empty reports whether no location is in r.
func (r Range) Empty() bool { return !r.Start.Less(r.End) }

// Contains reports whether l is in r.
func (r Range) Contains(l Location) bool { return !l.Less(r.Start) && l.Less(r.End) }

// last is past every location that a Range can name: of the whole number space
// only {2^64-1, 2^64-1} itself is never in one.
var last = Location{Group: math.MaxUint64, Object: math.MaxUint64}

// after returns the location that follows l.
func after(l Location) Location {
	switch {
	case l.Object != math.MaxUint64:
		return Location{Group: l.Group, Object: l.Object + 1}
	case l.Group != math.MaxUint64:
		return Location{Group: l.Group + 1}
	}
	return last
}

// ahead returns the location that l follows. l is not {0, 0}.
func ahead(l Location) Location {
	if l.Object != 0 {
		return Location{Group: l.Group, Object: l.Object - 1}
	}
	return Location{Group: l.Group - 1, Object: math.MaxUint64}
}

// endOfGroup returns the location that follows all of group.
func endOfGroup(group uint64) Location {
	return after(Location{Group: group, Object: math.MaxUint64})
}

func earlier(a, b Location) Location {
	if b.Less(a) {
		return b
	}
	return a
}

func later(a, b Location) Location {
	if a.Less(b) {
		return b
	}
	return a
}

// A FetchKind says what a FetchItem is.
type FetchKind uint8

// The kinds of items.
const (
	FetchObject  FetchKind = iota
	FetchAbsent            // the locations up to To do not exist
	FetchUnknown           // nothing is known of the locations up to To
)

// A FetchItem is an object, or what is to be said of locations without one.
type FetchItem struct {
	Kind   FetchKind
	Object Object // of FetchObject
	// To is the last location, inclusive, that FetchAbsent or FetchUnknown speaks
	// of. It begins behind the item before, in the order of the response.
	To Location
}

// A FetchState says what a FetchReader can do now.
type FetchState uint8

// The states of a FetchReader.
const (
	FetchReady FetchState = iota // there is an item
	FetchWait                    // the track notifies when to look again
	FetchEnd                     // all of the range was read
)

// A FetchReader reads what a track holds of a range, in the order of a FETCH
// response: by groups in either order, inside a group by object ID whatever the
// subgroup (section 10.12.3). One goroutine uses it. It holds no goroutine.
type FetchReader struct {
	t       *Track
	r       Range
	order   GroupOrder
	at      Location // what is looked at next
	done    bool
	gaveUp  bool
	touched time.Duration // when Next was last called, since the track's epoch
	seen    uint64        // the group that the last look was at
	hint    int           // the subgroup of its group that the last object was in

	absent, unknown     bool // a stretch was passed that no item has told of
	absentTo, unknownTo Location
}

// Fetch returns a reader of what r holds. An order that is not Descending is
// Ascending. The caller truncates r to what is published: of locations after
// the largest object nothing is known.
func (t *Track) Fetch(r Range, order GroupOrder) *FetchReader {
	f := &FetchReader{t: t, r: r, order: order, at: r.Start, done: r.Empty()}
	if order == Descending && !f.done {
		f.enter(ahead(r.End).Group)
	}
	if !f.done {
		t.mu.Lock()
		defer t.mu.Unlock()
		f.touched = t.since()
		t.readers = append(t.readers, f)
	}
	return f
}

// Range returns what Fetch was given.
func (r *FetchReader) Range() Range { return r.r }

// GiveUp has the reader treat what Fillers have not brought yet as unknown, from
// now on (FILL_TIMEOUT, section 10.2.5).
func (r *FetchReader) GiveUp() { r.gaveUp = true }

// Next returns the next item; it never blocks. With FetchWait an object that
// has begun is next, or a hole that a Filler is filling.
//
// A gap between objects means that nothing exists there, as it does on the wire
// (section 10.12.3). A FetchAbsent is only returned where an unknown range
// follows, which would else seem to include it.
func (r *FetchReader) Next() (item FetchItem, state FetchState) {
	for {
		f, state, moved := r.step()
		if moved {
			r.t.notify() // a Filler has waited for it
		}
		if state != FetchReady || f.kind != foundObject {
			return f.item, state
		}
		if o, ok := f.load(); ok {
			r.t.mu.Lock()
			r.advance(f.end)
			r.absent = false
			r.t.mu.Unlock()
			return FetchItem{Kind: FetchObject, Object: o}, FetchReady
		}
		// It was evicted meanwhile: look again.
	}
}

// Read is Next for a goroutine that can wait. At the end of the range the error
// is io.EOF; when ctx ends it is context.Cause(ctx).
func (r *FetchReader) Read(ctx context.Context) (item FetchItem, err error) {
	err = r.t.await(ctx, newWaiter(), func() (bool, error) {
		var state FetchState
		if item, state = r.Next(); state == FetchEnd {
			return false, io.EOF
		}
		return state == FetchReady, nil
	})
	return item, err
}

// fetched is what step found: an object that is yet to be loaded, or an item.
type fetched struct {
	found
	item FetchItem
}

// step passes over what no item tells of, and returns the next one. moved says
// that Fillers may find room now.
func (r *FetchReader) step() (f fetched, state FetchState, moved bool) {
	t := r.t
	t.mu.Lock()
	defer t.mu.Unlock()
	r.touched = t.since()
	f, state = r.find()
	if moved = t.crowded && (r.done || state == FetchWait || r.at.Group != r.seen); moved {
		t.crowded = false
	}
	r.seen = r.at.Group
	return f, state, moved
}

func (r *FetchReader) find() (fetched, FetchState) {
	for !r.done {
		f := r.t.probe(r.at, probeOptions{now: r.touched, gaveUp: r.gaveUp, hint: r.hint})
		switch {
		case r.unknown && f.kind != foundUnknown:
			return r.flushUnknown(), FetchReady
		case f.kind == foundWait:
			return fetched{}, FetchWait
		case f.kind == foundObject:
			r.hint = f.hint
			return fetched{found: f}, FetchReady
		case f.kind == foundAbsent:
			r.absent, r.absentTo = true, r.pass(f)
		case r.absent:
			r.absent = false
			return fetched{found: found{kind: foundAbsent}, item: FetchItem{Kind: FetchAbsent, To: r.absentTo}}, FetchReady
		default:
			r.unknown, r.unknownTo = true, r.pass(f)
		}
	}
	if r.unknown {
		return r.flushUnknown(), FetchReady
	}
	return fetched{}, FetchEnd
}

func (r *FetchReader) flushUnknown() fetched {
	r.unknown = false
	return fetched{found: found{kind: foundUnknown}, item: FetchItem{Kind: FetchUnknown, To: r.unknownTo}}
}

// pass goes on behind a stretch without objects, and returns the last location
// of it in the order of the response.
func (r *FetchReader) pass(f found) (to Location) {
	end := earlier(f.end, r.r.End)
	if r.order != Descending {
		r.advance(end)
		return ahead(end)
	}
	group := r.at.Group
	to = earlier(ahead(end), Location{Group: group, Object: math.MaxUint64})
	if r.at.Object != 0 || to.Object != math.MaxUint64 {
		r.advance(after(to))
		return to
	}
	// Nothing is in this group, and perhaps in none of those before it: go down
	// over all of them at once.
	lowest := max(r.t.blankFrom(group, r.gaveUp), r.r.Start.Group)
	if lowest == r.r.Start.Group && r.r.Start.Object > 0 && lowest < group {
		lowest++ // that group is entered in the middle
	}
	r.leave(lowest)
	return Location{Group: lowest, Object: math.MaxUint64}
}

// advance goes on at l, which is where a stretch ended.
func (r *FetchReader) advance(l Location) {
	switch {
	case r.order == Descending && (l.Group != r.at.Group || !l.Less(r.r.End)):
		r.leave(r.at.Group)
		return
	case l.Group != r.at.Group:
		r.hint = 0
	}
	r.at, r.done = l, !l.Less(r.r.End)
}

// leave goes down to the group before this one.
func (r *FetchReader) leave(group uint64) {
	if r.done = group == r.r.Start.Group; !r.done {
		r.enter(group - 1)
	}
}

// enter goes to the first location of a group that is in the range.
func (r *FetchReader) enter(group uint64) {
	r.at, r.hint = Location{Group: group}, 0
	if r.at.Less(r.r.Start) {
		r.at = r.r.Start
	}
}

// Unknown lists, ascending, the parts of r of which the track cannot say
// whether objects exist, at most limit of them. Objects that are arriving and
// holes that a Filler is filling do not count.
//
// What the publisher in this process never wrote does not exist (Info.Local);
// what was evicted is unknown. Of any other track only what the publisher has
// said is known: gap properties, the ends of groups and of the track, and what
// a FETCH left out. That two objects follow each other on a stream proves
// nothing of the IDs between, which other subgroups may have (section 11.4.2).
func (t *Track) Unknown(r Range, limit int) (unknown []Range) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.since()
	hint := 0
	for at := r.Start; at.Less(r.End); {
		f := t.probe(at, probeOptions{now: now, hint: hint})
		end := earlier(f.end, r.End)
		if f.kind == foundUnknown {
			if n := len(unknown); n > 0 && unknown[n-1].End == at {
				unknown[n-1].End = end
			} else if n >= limit {
				return unknown
			} else {
				unknown = append(unknown, Range{at, end})
			}
		}
		at, hint = end, f.hint
	}
	return unknown
}

// Report raises Largest to what a publisher says of the track (LARGEST_OBJECT,
// section 10.2.9), whether or not that object ever comes.
func (t *Track) Report(largest Location) {
	t.mu.Lock()
	raised := !t.hasLargest || t.largest.Less(largest)
	if raised {
		t.largest, t.hasLargest = largest, true
	}
	t.mu.Unlock()
	if raised {
		t.notify()
	}
}
