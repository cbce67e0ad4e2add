package track

import (
	"context"
	"io"
	"slices"
)

// A GroupReader reads the objects of one group. One goroutine uses it. It holds
// no goroutine and needs no Close.
type GroupReader struct {
	t       *Track
	g       *group
	seen    int // of the group's subgroups have a cursor, or had one
	cursors []groupCursor
	next    uint64 // the least object ID that Next may return
	last    bool   // the last object number was read
	wait    *waiter
}

// A groupCursor is the place of a GroupReader in one subgroup.
type groupCursor struct {
	s        *Subgroup
	i        int  // index of the next object
	replaced bool // another stream went on with the subgroup
}

// ID returns the group's ID.
func (r *GroupReader) ID() uint64 { return r.g.id }

// Next waits for the next whole object, in the order of their IDs over all
// subgroups. While an open subgroup might still bring a lower ID than the one
// at hand, it waits for that. An object that comes twice is returned once, and
// marks of the end (ObjectEndOfGroup, ObjectEndOfTrack) not at all.
//
// io.EOF means that the group is complete: its end is known and everything
// before it was passed, or no subgroup is open any more and the track has gone
// on to a newer group or ended. An *AbortError means that the group was cut, by
// the source or by eviction; whole objects before the cut are returned first,
// as long as they are cached. When ctx ends the error is context.Cause(ctx).
func (r *GroupReader) Next(ctx context.Context) (o Object, err error) {
	err = r.t.await(ctx, r.wait, func() (ok bool, err error) {
		o, ok, err = r.poll()
		return ok, err
	})
	return o, err
}

// groupState is what a GroupReader needs to know of its group as a whole.
type groupState struct {
	shown   []*Subgroup
	end     uint64
	hasEnd  bool
	evicted bool
	past    bool     // the track has a newer group, or has ended
	heirs   []uint64 // the subgroups that another source brings, too
	healed  []uint64 // those that were cut where they end
	next    *held    // the first object from a datagram that was not read
}

func (t *Track) groupState(g *group, next uint64) groupState {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := groupState{shown: g.shown, end: g.end, hasEnd: g.hasEnd, evicted: g.evicted, past: t.ended.Load() != nil}
	for _, w := range g.standbys {
		s.heirs = append(s.heirs, w.sub.header.Subgroup)
	}
	for _, sub := range g.shown {
		if sub.healed {
			s.healed = append(s.healed, sub.header.Subgroup)
		}
	}
	if i := g.datagrams.search(next); i < len(g.datagrams) {
		s.next = g.datagrams[i]
	}
	if n := len(t.groups); n > 0 && t.groups[n-1].id > g.id {
		s.past = true
	}
	return s
}

// poll is Next without the waiting.
func (r *GroupReader) poll() (o Object, ok bool, err error) {
	for {
		state := r.t.groupState(r.g, r.next)
		r.adopt(state.shown)
		p := r.pick(state)
		if d := state.next; d != nil && !r.last && (p.best == nil || d.ID < p.id) {
			p.best, p.held, p.id = nil, d, d.ID
		}
		switch {
		case p.best == nil && p.held == nil && p.cut != nil && len(r.t.groupState(r.g, r.next).shown) > r.seen:
			continue // another one goes on where that was cut, just now
		case p.best == nil && p.held == nil:
			return Object{}, false, r.verdict(state, p.open, p.cut)
		case p.id != r.next && p.waiting && p.least < p.id:
			return Object{}, false, nil
		case p.held != nil:
			o = p.held.Object
		default:
			if o, ok = p.best.s.Load(p.best.i); !ok {
				return Object{}, false, &AbortError{Code: ResetTooFarBehind} // evicted meanwhile
			}
			p.best.i++
		}
		r.next, r.last = o.ID+1, o.ID+1 == 0
		if o.Status == ObjectNormal {
			return o, true, nil
		}
	}
}

// adopt takes cursors for the subgroups that are new.
func (r *GroupReader) adopt(shown []*Subgroup) {
	for _, s := range shown[r.seen:] {
		for i := range r.cursors {
			if r.cursors[i].s.header.Subgroup == s.header.Subgroup {
				r.cursors[i].replaced = true
			}
		}
		r.cursors = append(r.cursors, groupCursor{s: s})
	}
	r.seen = len(shown)
}

// A picked is what a GroupReader finds in its group.
type picked struct {
	id      uint64       // of the whole object with the lowest ID
	best    *groupCursor // that is at it, or
	held    *held        // what it is
	open    bool         // more may come
	waiting bool         // of a subgroup,
	least   uint64       // from this ID on
	cut     error        // a subgroup was cut for good
}

// pick returns what the cursors are at.
func (r *GroupReader) pick(group groupState) (p picked) {
	r.cursors = slices.DeleteFunc(r.cursors, func(c groupCursor) bool {
		state, _ := c.s.State()
		return state == Complete && c.i >= c.s.Objects()
	})
	for i := range r.cursors {
		c := &r.cursors[i]
		state, code := c.s.State() // before the look at its objects
		c.i = max(c.i, c.s.SearchID(r.next))
		ref, ok := c.s.Object(c.i)
		lost := state == Aborted && !c.replaced && !slices.Contains(group.healed, c.s.header.Subgroup)
		switch {
		case ok && ref.Complete && !r.last:
			if p.best == nil || ref.ID < p.id {
				p.best, p.id = c, ref.ID
			}
		case state == Open, lost && slices.Contains(group.heirs, c.s.header.Subgroup):
			p.open = true
			id := r.next
			if ok {
				id = ref.ID
			} else if ref, ok := c.s.Object(c.i - 1); ok {
				id = max(id, ref.ID+1)
			}
			if !p.waiting || id < p.least {
				p.least, p.waiting = id, true
			}
		case lost:
			p.cut = &AbortError{Code: code}
		}
	}
	return p
}

// verdict returns the error for a group of which no object is left to return
// now, nil if Next has to wait.
func (r *GroupReader) verdict(state groupState, open bool, cut error) error {
	switch {
	case r.last, state.hasEnd && r.next >= state.end:
		return io.EOF
	case state.evicted:
		return &AbortError{Code: ResetTooFarBehind}
	case open:
		return nil
	case cut != nil:
		return cut
	case state.past:
		return io.EOF
	}
	return nil
}
