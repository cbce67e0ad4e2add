package track

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A Budget caps what several tracks cache together, as Config.Budget. Over the
// cap the track that holds most lets go of its oldest group, again and again;
// the current group and the last complete one of a track stay. A nil Budget has
// no cap.
//
// A track with a Budget must be dropped in the end: until then the Budget holds
// on to it.
type Budget struct {
	max  int64
	used atomic.Int64

	reclaiming sync.Mutex
	mu         sync.Mutex
	tracks     []*Track // that hold anything, in order of their first byte
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{max: limit} }

// Used returns how many bytes the tracks charge.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Max returns the cap, in bytes; 0 for none.
func (b *Budget) Max() int64 {
	if b == nil {
		return 0
	}
	return b.max
}

// charge accounts for delta more bytes of t, which charges total now. The lock
// of t is held.
func (b *Budget) charge(t *Track, delta, total int64) {
	if b == nil {
		return
	}
	b.used.Add(delta)
	switch total {
	case delta: // its first
		b.mu.Lock()
		b.tracks = append(b.tracks, t)
		b.mu.Unlock()
	case 0:
		b.mu.Lock()
		b.tracks = slices.DeleteFunc(b.tracks, func(other *Track) bool { return other == t })
		b.mu.Unlock()
	}
}

// reclaim has tracks let go of groups until the budget is met, or nothing can be
// let go of. The caller holds no track's lock.
func (b *Budget) reclaim() {
	if b == nil || b.used.Load() <= b.max || !b.reclaiming.TryLock() {
		return
	}
	defer b.reclaiming.Unlock()
	b.mu.Lock()
	tracks := slices.Clone(b.tracks)
	b.mu.Unlock()
	for b.used.Load() > b.max && len(tracks) > 0 {
		most, bytes := 0, int64(0)
		for i, t := range tracks {
			if n := t.Bytes(); n > bytes {
				most, bytes = i, n
			}
		}
		if !tracks[most].shed() {
			tracks = slices.Delete(tracks, most, most+1)
		}
	}
}

// shed lets go of the oldest thing that can go, and reports whether there was
// any.
func (t *Track) shed() bool {
	t.mu.Lock()
	ok := t.evictOldest()
	t.mu.Unlock()
	if ok {
		t.notify()
	}
	return ok
}

// evictOldest evicts the filled group, or the live one below the current group,
// that came first.
func (t *Track) evictOldest() bool {
	at := t.oldestFilled(false)
	pinned := t.lastComplete()
	for i := range max(0, len(t.groups)-1) {
		g := t.groups[i]
		if g != pinned && (at < 0 || g.opened < t.filled[at].since) {
			t.evict(i)
			return true
		}
	}
	if at >= 0 {
		t.evictFilled(at)
	}
	return at >= 0
}
