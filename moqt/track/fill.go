package track

import (
	"fmt"
	"slices"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// This file is how what a Filler brings is cached.

// fill stores an object of a FETCH response, unless it is there.
func (t *Track) fill(o Object) error {
	l := o.Location()
	g, _ := t.find(l.Group)
	f, _ := t.findFilled(l.Group)
	if err := t.contradicts(l, g, f); err != nil {
		return err
	}
	if g != nil {
		if known, ok := g.load(o.ID); ok {
			return same(known, o)
		}
	}
	if f != nil {
		if h := f.objects.find(o.ID); h != nil {
			return same(h.Object, o)
		}
		if f.missing.has(o.ID) {
			return nil // section 9.1
		}
	}
	if g != nil && g.missing.has(o.ID) || t.missing.has(l.Group) {
		return nil
	}
	if err := t.checkGaps(l, o.Properties); err != nil {
		return err
	}
	f = t.openFilled(l.Group)
	h := t.hold(o, f.since)
	if f.bytes+h.size() > t.cfg.MaxGroupBytes || len(f.objects) >= t.cfg.MaxObjectsPerGroup {
		return fmt.Errorf("%w: group %d of %d bytes", ErrLimit, f.id, f.bytes+h.size())
	}
	f.objects = slices.Insert(f.objects, f.objects.search(o.ID), h)
	t.chargeFilled(f, h.size()+t.setGaps(l, o.Properties, &f.missing))
	t.trim()
	return nil
}

// contradicts returns an error if the publisher has said that nothing exists at
// l, or will ever.
func (t *Track) contradicts(l Location, g *group, f *filled) error {
	switch {
	case g != nil && g.hasEnd && l.Object >= g.end:
		return fmt.Errorf("%w: object %v after the group's end at %d", wire.ErrMalformedTrack, l, g.end)
	case t.hasEnd && !l.Less(t.end):
		return fmt.Errorf("%w: object %v after the track's end at %v", wire.ErrMalformedTrack, l, t.end)
	case t.missing.gaps.has(l.Group),
		g != nil && g.missing.gaps.has(l.Object), f != nil && f.missing.gaps.has(l.Object):
		return fmt.Errorf("%w: object %v lies in a gap", wire.ErrMalformedTrack, l)
	}
	return nil
}

// load returns the whole object with this ID, if it is cached.
func (g *group) load(id uint64) (Object, bool) {
	if !g.present.has(id) {
		return Object{}, false
	}
	if h := g.datagrams.find(id); h != nil {
		return h.Object, true
	}
	for _, s := range g.shown {
		i := s.SearchID(id)
		if ref, ok := s.Object(i); ok && ref.ID == id && ref.Status == ObjectNormal {
			if o, ok := s.Load(i); ok {
				return o, true
			}
		}
	}
	return Object{}, false
}
