package track

import "sync"

// A groupRequests passes on the wish for a new group (NEW_GROUP_REQUEST, section
// 10.2.13). The zero value passes nothing on.
type groupRequests struct {
	mu   sync.Mutex
	ask  func(largest uint64)
	open bool     // a request is outstanding
	n    uint64   // which one
	at   Location // the largest object when it was made
	some bool     // there was one
}

// OnGroupRequest has f called when a subscriber wants a new group: by whoever
// writes the track, its original publisher or a relay that asks its upstream. f
// gets the n of RequestGroup, may be called from any goroutine, and must not
// block. It replaces what was set before.
func (t *Track) OnGroupRequest(f func(n uint64)) {
	t.requests.mu.Lock()
	defer t.requests.mu.Unlock()
	t.requests.ask = f
}

// RequestGroup asks for a new group: n is one more than the largest group that
// is known, 0 if none is. It is left out where the track does not offer it
// (DYNAMIC_GROUPS, section 12.6), where the track is further already, and while
// an earlier request with as great an n is outstanding, which it is until the
// largest group grows. It reports whether it was passed on.
func (t *Track) RequestGroup(n uint64) bool {
	if !t.dynamic {
		return false
	}
	at, some := t.Largest()
	if n > 0 && some && n <= at.Group {
		return false
	}
	r := &t.requests
	r.mu.Lock()
	if r.open && (some != r.some || at.Group > r.at.Group) {
		r.open = false
	}
	if r.ask == nil || r.open && n <= r.n {
		r.mu.Unlock()
		return false
	}
	r.open, r.n, r.at, r.some = true, n, at, some
	ask := r.ask
	r.mu.Unlock()
	ask(n)
	return true
}
