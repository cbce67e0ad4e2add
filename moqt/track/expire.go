package track

import (
	"slices"
	"time"
)

// This file is what lets go of what is too old or too much.

// Expire lets go of what is over age at now, also while nothing is written:
// groups that a newer one followed more than MaxAge ago, what was filled longer
// ago than that, and whatever MAX_CACHE_DURATION (section 12.3) forbids to serve
// even if it is the last there is. It is meant to be called about once a second.
func (t *Track) Expire(now time.Time) {
	t.mu.Lock()
	before := t.bytes
	at := now.Sub(t.epoch)
	t.trimAt(at)
	if t.hasMaxCache {
		t.evictStale(at)
	}
	gone := t.bytes < before
	t.mu.Unlock()
	if gone {
		t.notify()
	}
}

// MaxCache returns how long an object may be served after it came
// (MAX_CACHE_DURATION, section 12.3), if the track has such a limit. Fetch and
// Expire obey it. Who serves a subgroup that is still open looks at
// ObjectRef.Arrival.
func (t *Track) MaxCache() (limit time.Duration, ok bool) { return t.maxCache, t.hasMaxCache }

// fresh reports whether what arrived then may still be served.
func (t *Track) fresh(arrival, now time.Duration) bool {
	return !t.hasMaxCache || now-arrival <= t.maxCache
}

// evictStale evicts the groups of which nothing may be served any more.
func (t *Track) evictStale(now time.Duration) {
	for i := len(t.groups) - 1; i >= 0; i-- {
		g := t.groups[i]
		fresh := func(s *Subgroup) bool {
			ref, ok := s.Object(s.Objects() - 1)
			return ok && t.fresh(ref.Arrival.Sub(t.epoch), now)
		}
		if g.open == 0 && !slices.ContainsFunc(g.shown, fresh) &&
			!slices.ContainsFunc(g.datagrams, func(h *held) bool { return t.fresh(h.arrival, now) }) {
			t.evict(i)
		}
	}
	for i := len(t.filled) - 1; i >= 0; i-- {
		if f := t.filled[i]; !t.fresh(f.since, now) {
			t.evictFilled(i)
		}
	}
}

// trim evicts what is over the track's limits now.
func (t *Track) trim() { t.trimAt(t.since()) }

// trimAt evicts what is over the track's limits, oldest first. Of a live track
// the current group and the last complete one stay.
func (t *Track) trimAt(now time.Duration) {
	t.trimFilled(now)
	pinned := t.lastComplete()
	for i := 0; i < len(t.groups)-1; {
		g := t.groups[i]
		old := now-g.passed > t.cfg.MaxAge
		if !old && len(t.groups) <= t.cfg.MaxGroups && t.bytes <= t.cfg.MaxBytes {
			i++ // a younger one may have a lower ID and be old all the same
			continue
		}
		if g == pinned {
			i++
			continue
		}
		t.evict(i)
	}
}

// trimFilled evicts of what was filled. What a reader is on its way to stays
// beyond its age.
func (t *Track) trimFilled(now time.Duration) {
	if len(t.filled) == 0 {
		return
	}
	t.dropReaders(now)
	for i := len(t.filled) - 1; i >= 0; i-- {
		if f := t.filled[i]; now-f.since > t.cfg.MaxAge && !t.awaited(f.id) {
			t.evictFilled(i)
		}
	}
	for t.bytes > t.cfg.MaxBytes && len(t.filled) > 0 {
		i := t.oldestFilled(true)
		if i < 0 {
			i = t.oldestFilled(false)
		}
		t.evictFilled(i)
	}
}

// oldestFilled returns the index of what was filled first; spare says to leave
// out what a reader is on its way to. It is -1 for nothing.
func (t *Track) oldestFilled(spare bool) int {
	oldest := -1
	for i, f := range t.filled {
		if (oldest < 0 || f.since < t.filled[oldest].since) && (!spare || !t.awaited(f.id)) {
			oldest = i
		}
	}
	return oldest
}

// awaited reports whether a reader is on its way to a group.
func (t *Track) awaited(group uint64) bool {
	return slices.ContainsFunc(t.readers, func(r *FetchReader) bool {
		if r.done || group < r.r.Start.Group || group > ahead(r.r.End).Group {
			return false
		}
		return (group >= r.at.Group) == (r.order != Descending) || group == r.at.Group
	})
}

// Full reports whether readers are so far behind that what f brings next could
// push out what they have not read. The caller then stops reading the response
// and asks again when the track notifies, and after a second or so: a reader that
// has not looked for MaxAge counts no more. While some reader waits for f itself
// it is never full.
func (f *Filler) Full() bool {
	t := f.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.done || t.bytes <= t.cfg.MaxBytes/2 {
		return false
	}
	t.dropReaders(t.since())
	for _, r := range t.readers {
		if !r.done && f.probe(r.at, new(found)) {
			return false
		}
	}
	var ahead int64
	for _, f := range t.filled {
		if t.awaited(f.id) {
			ahead += f.bytes
		}
	}
	full := ahead > t.cfg.MaxBytes/2
	t.crowded = t.crowded || full
	return full
}

// Attach is that of the track which f fills.
func (f *Filler) Attach(n Notifier) (detach func()) { return f.t.Attach(n) }

// dropReaders forgets the readers that have read all, or that nobody uses.
func (t *Track) dropReaders(now time.Duration) {
	t.readers = slices.DeleteFunc(t.readers, func(r *FetchReader) bool {
		return r.done || now-r.touched > t.cfg.MaxAge
	})
}
