package track

import (
	"fmt"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// This file is how an object that begins is checked against what its track
// knows (section 2.4.2), and counted in.

// register checks a new object and counts it in. store says whether it is to be
// kept; if not it is there already, or known not to exist (section 9.1).
func (w *SubgroupWriter) register(h wire.ObjectHeader, id uint64) (store bool, err error) {
	t, g := w.t, w.g
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := w.writable(); err != nil {
		return false, err
	}
	if err := t.checkNew(g, h, id); err != nil {
		return false, err
	}
	if s := w.sub; s.hidden() {
		s.header.FirstIDMode, s.header.Subgroup = false, id
		if err := w.join(); err != nil {
			s.header.FirstIDMode = true
			return false, err
		}
	}
	if w.standby {
		if store, err = w.follow(h, id); err != nil || !store || w.standby {
			return store, err
		}
	}
	return w.countIn(h, id)
}

// checkNew checks an object against the ends and gaps that are known.
func (t *Track) checkNew(g *group, h wire.ObjectHeader, id uint64) error {
	l := Location{Group: g.id, Object: id}
	switch {
	case g.hasEnd && (id > g.end || id == g.end && h.Status == ObjectNormal):
		return fmt.Errorf("%w: object %v after the group's end at %d", wire.ErrMalformedTrack, l, g.end)
	case t.hasEnd && (t.end.Less(l) || t.end == l && h.Status == ObjectNormal):
		return fmt.Errorf("%w: object %v after the track's end at %v", wire.ErrMalformedTrack, l, t.end)
	case h.Status == ObjectEndOfGroup && g.some && g.largest >= id:
		return fmt.Errorf("%w: group ends at %v before its object %d", wire.ErrMalformedTrack, l, g.largest)
	case h.Status == ObjectEndOfTrack && t.received && !t.newest.Less(l):
		return fmt.Errorf("%w: track ends at %v before %v", wire.ErrMalformedTrack, l, t.newest)
	case h.Status == ObjectNormal && (g.missing.gaps.has(id) || t.missing.gaps.has(g.id)):
		return fmt.Errorf("%w: object %v lies in a gap", wire.ErrMalformedTrack, l)
	}
	return t.checkGaps(l, h.Properties)
}

// countIn counts an object of a subgroup that readers see in.
func (w *SubgroupWriter) countIn(h wire.ObjectHeader, id uint64) (store bool, err error) {
	t, g, s := w.t, w.g, w.sub
	l := Location{Group: g.id, Object: id}
	f, _ := t.findFilled(g.id)
	w.twin = twin{}
	if h.Status == ObjectNormal {
		if g.present.has(id) && g.elsewhere(id, s.header.Subgroup) {
			return false, fmt.Errorf("%w: object %v is in two subgroups", wire.ErrMalformedTrack, l)
		}
		for _, other := range g.standbys {
			if other.final && other.sub.header.Subgroup == s.header.Subgroup && id > other.lastID {
				return false, other.twoEnds(id)
			}
		}
		if t.isAbsent(g, f, id) {
			return false, nil
		}
		if f != nil {
			if h0 := f.objects.find(id); h0 != nil {
				if w.twin, err = w.twinOf(h0.Object, h); err != nil {
					return false, err
				}
			}
		}
	}
	if err := g.admit(t); err != nil {
		return false, err
	}
	t.record(g, s, h.Status, h.Properties, id)
	return true, nil
}

// record takes note of an object that readers see.
func (t *Track) record(g *group, s *Subgroup, status ObjectStatus, props Properties, id uint64) {
	l := Location{Group: g.id, Object: id}
	switch status {
	case ObjectEndOfTrack:
		t.end, t.hasEnd = l, true
		g.endAt(id)
		return
	case ObjectEndOfGroup:
		g.endAt(id)
		return
	}
	if s != nil {
		s.begun, s.hasBegun = id, true
	}
	if !g.some || id > g.largest {
		g.largest, g.some = id, true
	}
	if !t.received || t.newest.Less(l) {
		t.newest, t.received = l, true
	}
	if !t.hasLargest || t.largest.Less(l) {
		t.largest, t.hasLargest = l, true
	}
	t.charge(g, g.present.add(id, id)+t.setGaps(l, props, &g.missing))
}

// isAbsent reports whether a FETCH has said that the object does not exist. One
// that comes nevertheless is neither cached nor forwarded (section 9.1).
func (t *Track) isAbsent(g *group, f *filled, id uint64) bool {
	return g.missing.absent.has(id) || f != nil && f.missing.absent.has(id) || t.missing.absent.has(g.id)
}

// elsewhere reports whether an object of the group is outside this subgroup.
func (g *group) elsewhere(id, subgroup uint64) bool {
	if g.datagrams.find(id) != nil {
		return true
	}
	for _, s := range g.shown {
		if s.header.Subgroup == subgroup {
			continue
		}
		if ref, ok := s.Object(s.SearchID(id)); ok && ref.ID == id || s.hasBegun && s.begun == id {
			return true
		}
	}
	return false
}
