package track

import (
	"fmt"
	"slices"
)

// A Filler brings what a FETCH upstream tells of a hole in a track. Readers of
// the hole wait for it. What it brings is cached, but no subscription is told of
// it. One goroutine owns it and ends it once, with Close or Abort.
type Filler struct {
	t     *Track
	r     Range
	left  []Range    // what nothing has been said of yet, ascending
	order GroupOrder // of the response; 0 while it is unknown
	at    Location   // the last location that something was said of, if some
	some  bool
	done  bool
}

// Fill opens r for filling. Objects may come in either order of groups, by
// ascending ID in each, and what is left out on the way does not exist (section
// 10.12.3).
func (t *Track) Fill(r Range) *Filler {
	f := &Filler{t: t, r: r}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !r.Empty() {
		f.left = []Range{r}
	}
	t.fillers = append(t.fillers, f)
	return f
}

// Range returns what Fill was given.
func (f *Filler) Range() Range { return f.r }

// Renew is that of Track, with the properties that came with the range.
func (f *Filler) Renew(p Properties) bool { return f.t.Renew(p) }

// probe reports whether f is still to say something of l.
func (f *Filler) probe(l Location, found *found) bool {
	for _, r := range f.left {
		switch {
		case r.Contains(l):
			found.until(l, r.End)
			return true
		case l.Less(r.Start):
			found.until(l, r.Start)
			return false
		}
	}
	return false
}

// WriteObject stores an object of the response, which is copied. What f has
// passed over to get there does not exist.
//
// An object that the track has already is compared and dropped; one that is
// known not to exist is dropped (section 9.1). The error wraps
// wire.ErrMalformedTrack for a contradiction, ErrLimit for an object or a group
// that is too large, and is ErrClosed after the end. Any other is a fault of the
// response: the object is out of the range or out of order. The caller then
// calls Abort.
func (f *Filler) WriteObject(o Object) error {
	if o.Status != ObjectNormal {
		return fmt.Errorf("track: object %v of a fetch has status %v", o.Location(), o.Status)
	}
	if int64(len(o.Payload)) > f.t.cfg.MaxObject {
		return fmt.Errorf("%w: object %v has %d bytes", ErrLimit, o.Location(), len(o.Payload))
	}
	if err := o.Properties.CheckObject(o.Location()); err != nil {
		return f.t.judge(err)
	}
	return f.step(func() error {
		if err := f.advance(o.Location(), true, false); err != nil {
			return err
		}
		f.take(Range{o.Location(), after(o.Location())})
		return f.t.fill(o)
	})
}

// SetOrder says in which order of groups the response comes, before it begins.
// Without it that is learned from the first two groups; until then readers wait
// for the groups ahead of the first.
func (f *Filler) SetOrder(order GroupOrder) { f.order = order }

// Absent says that nothing exists from behind the last item up to and including
// to (End of Non-Existent Range, section 11.4.4.2).
func (f *Filler) Absent(to Location) error {
	return f.step(func() error { return f.advance(to, true, true) })
}

// Unknown says that the publisher knows nothing from behind the last item up to
// and including to (End of Unknown Range, section 11.4.4.2).
func (f *Filler) Unknown(to Location) error {
	return f.step(func() error { return f.advance(to, false, true) })
}

// Close ends a response that is whole: nothing else exists in the range.
func (f *Filler) Close() {
	f.end(func() {
		for _, r := range f.take(f.r) {
			f.t.setAbsent(r)
		}
	})
}

// Abort ends a response that was cut: of what it has not told nothing is known.
func (f *Filler) Abort(ResetCode) { f.end(func() {}) }

func (f *Filler) end(rest func()) {
	t := f.t
	t.mu.Lock()
	if !f.done {
		rest()
		f.done, f.left = true, nil
		t.fillers = slices.DeleteFunc(t.fillers, func(other *Filler) bool { return other == f })
		t.trim()
	}
	t.mu.Unlock()
	t.notify()
}

// step runs one item of the response under the lock and tells the readers.
func (f *Filler) step(item func() error) error {
	f.t.mu.Lock()
	err := f.t.Malformed()
	switch {
	case err != nil:
	case f.done:
		err = ErrClosed
	default:
		err = item()
	}
	f.t.mu.Unlock()
	f.t.notify()
	f.t.cfg.Budget.reclaim()
	return f.t.judge(err)
}

// advance goes on to l. Of what lies between the last item and l, in the order
// of the response, it says that it does not exist, or that it is unknown. with
// says whether that goes for l, too.
func (f *Filler) advance(l Location, absent, with bool) error {
	moves := f.some && l.Group != f.at.Group
	order := f.order
	switch {
	case order == 0 && !f.some && with:
		order = Ascending // a marker comes first: only SetOrder can tell
	case order == 0 && moves && l.Group < f.at.Group:
		order = Descending
	case order == 0 && moves:
		order = Ascending
	}
	switch {
	case !f.r.Contains(l):
		return fmt.Errorf("track: fetch of %v to %v brings %v", f.r.Start, f.r.End, l)
	case f.some && !moves && l.Object <= f.at.Object, moves && (l.Group < f.at.Group) != (order == Descending):
		return fmt.Errorf("track: fetch brings %v after %v", l, f.at)
	}
	if moves && f.order == 0 {
		// The first group turns out to be behind others, which do not exist.
		if order == Ascending {
			f.say(Range{f.r.Start, Location{Group: f.at.Group}}, true)
		} else {
			f.say(Range{endOfGroup(f.at.Group), f.r.End}, true)
		}
	}
	f.order = order
	end := l
	if with {
		end = after(l)
	}
	for _, r := range f.passed(l, end) {
		f.say(r, absent)
	}
	f.at, f.some = l, true
	return nil
}

// passed returns what lies between the last item and end, at l or behind it.
func (f *Filler) passed(l, end Location) []Range {
	group := Location{Group: l.Group}
	switch {
	case f.some && l.Group == f.at.Group:
		return []Range{{after(f.at), end}}
	case f.order == Ascending && f.some:
		return []Range{{after(f.at), end}}
	case f.order == Ascending:
		return []Range{{f.r.Start, end}}
	case f.order == Descending && f.some:
		return []Range{
			{after(f.at), endOfGroup(f.at.Group)},
			{endOfGroup(l.Group), Location{Group: f.at.Group}},
			{group, end},
		}
	case f.order == Descending:
		return []Range{{endOfGroup(l.Group), f.r.End}, {group, end}}
	}
	return []Range{{group, end}} // what lies in other groups may still come
}

// say takes r off what is left; the rest of it does not exist if absent.
func (f *Filler) say(r Range, absent bool) {
	for _, r := range f.take(r) {
		if absent {
			f.t.setAbsent(r)
		}
	}
}

// take takes r off what is left, and returns what of it was left.
func (f *Filler) take(r Range) (taken []Range) {
	if r.Empty() {
		return nil
	}
	left := make([]Range, 0, len(f.left)+1)
	for _, l := range f.left {
		in := Range{later(l.Start, r.Start), earlier(l.End, r.End)}
		if in.Empty() {
			left = append(left, l)
			continue
		}
		taken = append(taken, in)
		for _, rest := range []Range{{l.Start, in.Start}, {in.End, l.End}} {
			if !rest.Empty() {
				left = append(left, rest)
			}
		}
	}
	f.left = left
	return taken
}
