package track

import (
	"math"
	"time"
)

// This file says what a track knows of a location: section 2.1 has three
// answers, to which comes that the object is on its way.

type foundKind uint8

const (
	foundUnknown foundKind = iota
	foundAbsent            // it does not exist
	foundWait              // it is arriving, or a Filler is to say
	foundObject
)

// found is what a track knows of the locations from one on.
type found struct {
	kind foundKind
	end  Location // what is found of the location holds for all before end
	// An object lies in a log or is held.
	sub  *Subgroup
	i    int
	held *held
	hint int // the index of sub in its group, for the next probe
}

// load returns the object that was found. It is not ok once it is evicted.
func (f found) load() (Object, bool) {
	if f.held != nil {
		return f.held.Object, true
	}
	return f.sub.Load(f.i)
}

// until has f hold no further than l, where that lies behind at.
func (f *found) until(at, l Location) {
	if at.Less(l) && l.Less(f.end) {
		f.end = l
	}
}

type probeOptions struct {
	now    time.Duration
	gaveUp bool // on Fillers
	hint   int
}

// probe returns what is known of l, and how far that goes.
func (t *Track) probe(l Location, o probeOptions) found {
	f := found{end: last, hint: o.hint}
	g, gi := t.find(l.Group)
	p, pi := t.findFilled(l.Group)
	if g != nil || p != nil {
		f.until(l, endOfGroup(l.Group))
	} else {
		if gi < len(t.groups) {
			f.until(l, Location{Group: t.groups[gi].id})
		}
		if pi < len(t.filled) {
			f.until(l, Location{Group: t.filled[pi].id})
		}
	}
	begun := false
	if g != nil {
		if begun = g.probe(t, l, &f, o); f.kind == foundObject {
			return f
		}
	}
	if p != nil && p.probe(t, l, &f, o.now) || f.kind == foundWait {
		return f
	}
	if t.probeAbsent(l, g, p, begun, &f) {
		f.kind = foundAbsent
		return f
	}
	if !o.gaveUp {
		for _, filler := range t.fillers {
			if filler.probe(l, &f) {
				f.kind = foundWait
				return f
			}
		}
	}
	return f
}

// probe looks for the object at l among what has come live. It reports whether
// the object began to arrive at some time: if it is not found, it is lost.
func (g *group) probe(t *Track, l Location, f *found, o probeOptions) (begun bool) {
	run, ok, more := g.present.at(l.Object)
	if !ok {
		if more {
			f.until(l, Location{Group: l.Group, Object: run.from})
		}
		return false
	}
	f.end = after(l)
	if h := g.datagrams.find(l.Object); h != nil {
		if t.fresh(h.arrival, o.now) {
			f.kind, f.held = foundObject, h
		}
		return true
	}
	for n := range g.shown {
		at := (o.hint + n) % len(g.shown)
		s := g.shown[at]
		state, _ := s.State() // before the look at its objects
		i := s.SearchID(l.Object)
		ref, ok := s.Object(i)
		switch {
		case ok && ref.ID == l.Object && ref.Status == ObjectNormal && ref.Complete:
			f.kind = foundUnknown
			if t.fresh(ref.Arrival.Sub(t.epoch), o.now) {
				f.kind, f.sub, f.i, f.hint = foundObject, s, i, at
			}
			return true
		case state == Open && s.hasBegun && s.begun == l.Object:
			f.kind = foundWait // its payload is incomplete, or not even its header is committed
		}
	}
	return true
}

// probe looks for the object at l among what was filled.
func (p *filled) probe(t *Track, l Location, f *found, now time.Duration) (ok bool) {
	i := p.objects.search(l.Object)
	switch {
	case i == len(p.objects):
		return false
	case p.objects[i].ID != l.Object:
		f.until(l, Location{Group: l.Group, Object: p.objects[i].ID})
		return false
	}
	f.end = after(l)
	if !t.fresh(p.objects[i].arrival, now) {
		return false
	}
	f.kind, f.held = foundObject, p.objects[i]
	return true
}

// probeAbsent reports whether nothing exists at l. begun says that something
// has.
func (t *Track) probeAbsent(l Location, g *group, p *filled, begun bool, f *found) bool {
	if t.hasEnd {
		if f.until(l, t.end); !l.Less(t.end) {
			return true
		}
	}
	if g != nil {
		if g.hasEnd {
			if f.until(l, Location{Group: l.Group, Object: g.end}); l.Object >= g.end {
				return true
			}
		}
		if g.missing.probe(l, f) {
			return true
		}
	}
	if p != nil && p.missing.probe(l, f) {
		return true
	}
	for _, groups := range [...]spans{t.missing.gaps, t.missing.absent} {
		switch run, ok, more := groups.at(l.Group); {
		case ok:
			f.until(l, endOfGroup(run.to))
			return true
		case more:
			f.until(l, Location{Group: run.from})
		}
	}
	if !t.local {
		return false
	}
	f.until(l, Location{Group: t.tooOld})
	return !begun && (g != nil || l.Group >= t.tooOld)
}

// probe reports whether l's object is missing from its group.
func (m *missing) probe(l Location, f *found) bool {
	for _, ids := range [...]spans{m.gaps, m.absent} {
		switch run, ok, more := ids.at(l.Object); {
		case ok:
			f.until(l, after(Location{Group: l.Group, Object: run.to}))
			return true
		case more:
			f.until(l, Location{Group: l.Group, Object: run.from})
		}
	}
	return false
}

// blankFrom returns the lowest group from which on, up to group itself, the same
// holds for every location. It is for a group of which one thing holds as a
// whole.
func (t *Track) blankFrom(group uint64, gaveUp bool) (lowest uint64) {
	if g, _ := t.find(group); g != nil {
		return group
	}
	if p, _ := t.findFilled(group); p != nil {
		return group
	}
	// What holds changes at each edge; the highest one up to group counts.
	edge := func(l Location) {
		from := l.Group
		if l.Object > 0 && from != math.MaxUint64 {
			from++
		}
		if from <= group {
			lowest = max(lowest, from)
		}
	}
	if _, i := t.find(group); i > 0 {
		edge(Location{Group: t.groups[i-1].id, Object: 1})
	}
	if _, i := t.findFilled(group); i > 0 {
		edge(Location{Group: t.filled[i-1].id, Object: 1})
	}
	for _, groups := range [...]spans{t.missing.gaps, t.missing.absent} {
		for _, run := range groups {
			edge(Location{Group: run.from})
			edge(Location{Group: run.to, Object: 1})
		}
	}
	if t.hasEnd {
		edge(t.end)
	}
	if t.local {
		edge(Location{Group: t.tooOld})
	}
	if gaveUp {
		return lowest
	}
	for _, f := range t.fillers {
		for _, r := range f.left {
			edge(r.Start)
			edge(r.End)
		}
	}
	return lowest
}
