package track

import (
	"cmp"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A group is one cached group. The track's lock guards it.
type group struct {
	id        uint64
	opened    time.Duration // since the track's epoch
	passed    time.Duration // when a newer group was there; valid if not the newest
	subgroups []*Subgroup   // in order of opening
	shown     []*Subgroup   // those that are not hidden, in order of arrival
	open      int           // of these
	cut       bool          // one of them was aborted
	evicted   bool
	bytes     int64  // charged
	count     int    // objects and subgroups
	largest   uint64 // ID of the largest object, marks of the end left out
	some      bool   // largest is valid
	end       uint64 // no object at or above, if hasEnd
	hasEnd    bool
	present   spans             // IDs of objects that have begun
	presentIn [1]span           // which needs no allocation as long as they follow each other
	datagrams heldObjects       // those of them that came in datagrams
	missing   missing           // IDs
	standbys  []*SubgroupWriter // in order of opening; see join
}

const groupOverhead = int64(unsafe.Sizeof(group{}))

// complete reports whether nothing is missing, as far as can be told.
func (g *group) complete() bool { return g.open == 0 && !g.cut && (g.some || g.hasEnd) }

// endAt records that the group has no object at or after id.
func (g *group) endAt(id uint64) {
	if !g.hasEnd || id < g.end {
		g.end, g.hasEnd = id, true
	}
}

// closed records that one of g's open subgroups is not any more.
func (g *group) closed(t *Track, complete bool) {
	g.open--
	t.open--
	g.cut = g.cut || !complete
}

// find returns the cached group with this ID, and where it is or belongs.
func (t *Track) find(id uint64) (g *group, i int) {
	i, ok := slices.BinarySearchFunc(t.groups, id, func(g *group, id uint64) int { return cmp.Compare(g.id, id) })
	if !ok {
		return nil, i
	}
	return t.groups[i], i
}

// openGroup returns the group with this ID, and makes it if it is new.
func (t *Track) openGroup(id uint64) (*group, error) {
	g, i := t.find(id)
	switch {
	case g != nil:
		return g, nil
	case id < t.tooOld:
		t.stale.Add(1)
		return nil, fmt.Errorf("%w: group %d", ErrTooOld, id)
	case t.hasEnd && !(Location{Group: id}).Less(t.end):
		return nil, fmt.Errorf("%w: group %d after the end of the track at %v", wire.ErrMalformedTrack, id, t.end)
	}
	if t.hasLargest && id < t.largest.Group {
		t.stale.Add(1)
	}
	now := t.since()
	g = &group{id: id, opened: now, passed: now}
	g.present = g.presentIn[:0]
	if i == len(t.groups) && i > 0 {
		t.groups[i-1].passed = now
	}
	t.groups = slices.Insert(t.groups, i, g)
	t.charge(g, groupOverhead)
	return g, nil
}

// account accounts for n more bytes.
func (t *Track) account(n int64) {
	t.bytes += n
	t.cfg.Charge(n)
	t.cfg.Budget.charge(t, n, t.bytes)
}

// charge accounts for n more bytes in g.
func (t *Track) charge(g *group, n int64) {
	if n == 0 {
		return
	}
	g.bytes += n
	t.account(n)
}

// lastComplete returns the newest complete group below the current one.
func (t *Track) lastComplete() *group {
	for i := len(t.groups) - 2; i >= 0; i-- {
		if t.groups[i].complete() {
			return t.groups[i]
		}
	}
	return nil
}

// evict removes group i from the cache and cuts its subgroups.
func (t *Track) evict(i int) {
	g := t.groups[i]
	t.groups = slices.Delete(t.groups, i, i+1)
	t.tooOld = max(t.tooOld, g.id+1)
	g.evicted = true
	for _, s := range g.subgroups {
		s.evict()
	}
	for _, w := range g.standbys {
		if !w.final {
			t.open--
		}
	}
	t.open -= g.open
	g.open, g.standbys = 0, nil
	// Since hands out parts of the old list, so it is not compacted in place.
	list := make([]*Subgroup, 0, len(t.list))
	for _, s := range t.list {
		if s.header.Group != g.id {
			list = append(list, s)
		}
	}
	t.list = list
	t.datagrams.forget(g.id)
	t.charge(g, -g.bytes)
}

// CurrentGroup returns the largest group of which something has arrived.
func (t *Track) CurrentGroup() (id uint64, ok bool) {
	l, ok := t.Largest()
	return l.Group, ok
}

// A GroupInfo describes a cached group.
type GroupInfo struct {
	ID       uint64
	Opened   time.Time
	Complete bool  // no subgroup is open, and none was cut
	Bytes    int64 // charged
}

// Groups returns what is cached, by ascending ID.
func (t *Track) Groups() []GroupInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	infos := make([]GroupInfo, len(t.groups))
	for i, g := range t.groups {
		infos[i] = GroupInfo{ID: g.id, Opened: t.epoch.Add(g.opened), Complete: g.complete(), Bytes: g.bytes}
	}
	return infos
}
