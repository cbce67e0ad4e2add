package relay

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// This file is what subscribers ask of publishers through us: that objects flow
// (section 9.2) and that a group begins (section 10.2.13).

// wanted reports whether somebody wants e's objects now.
//
// A subscriber that is paused counts as well: a subscription that has been made
// stays as it is (section 9.2), and only a PUBLISH waits for the first one.
func (e *entry) wanted() bool { return len(e.subs)+len(e.waiting) > 0 }

// newGroup returns the NEW_GROUP_REQUEST for a SUBSCRIBE of those who wait: the
// largest, since 0 asks for any group after the current one.
func (e *entry) newGroup() (v *uint64) {
	if e.track != nil {
		return nil
	}
	for _, w := range e.waiting {
		if n := w.sub.wants().newGroup; n != nil && (v == nil || *n > *v) {
			v = n
		}
	}
	return v
}

// demand passes on what a subscriber of e asks of its publishers.
func (c *core) demand(now time.Time, e *entry, w wants) {
	if !w.paused && !c.paused[e.name.Namespace] {
		for _, l := range e.links {
			if l.paused && l.up != nil {
				l.paused = false
				c.do(actUpdate{up: l.up, forward: new(true)})
			}
		}
	}
	if e.resting {
		e.resting = false
		c.widen(now, e, nil)
	}
}

// wantGroup asks the publishers of t for a new group, unless the track does not
// offer that, its current group is one that will do, or they have been asked.
func (c *core) wantGroup(now time.Time, name wire.FullTrackName, t *track.Track, v uint64) []action {
	e := c.tracks[name]
	if e == nil || e.track != t {
		return c.take()
	}
	is := markOf(now, t)
	outstanding := e.asked != nil && is.some == e.askedAt.some && is.largest.Group == e.askedAt.largest.Group
	switch {
	case !e.track.Properties().Track().DynamicGroups:
	case v != 0 && is.some && v <= is.largest.Group:
	case outstanding && *e.asked >= v:
	default:
		e.asked, e.askedAt = &v, is
		for _, l := range e.links {
			if l.up != nil {
				c.do(actUpdate{up: l.up, newGroup: &v})
			}
		}
	}
	return c.take()
}

// updated tells that a subscriber has changed what it wants (REQUEST_UPDATE).
func (c *core) updated(now time.Time, name wire.FullTrackName, sub subscriber, w wants) []action {
	if e := c.tracks[name]; e != nil && e.track != nil {
		if _, ok := e.subs[sub]; ok {
			c.demand(now, e, w)
		}
	}
	return c.take()
}

// rest is the end of a track that nobody has read for a while. What was offered
// with PUBLISH stays, but pauses: it cannot be asked for again.
func (c *core) rest(now time.Time, e *entry) {
	var offered []*link
	for _, l := range e.links {
		if l.offered {
			offered = append(offered, l)
		}
	}
	if len(offered) == 0 || c.lone(e) {
		c.end(now, e, wire.PublishDoneTrackEnded, "nobody subscribes any more")
		return
	}
	for _, l := range e.links {
		switch {
		case !l.offered && l.up != nil:
			c.do(actRelease{l.up})
		case !l.offered:
			c.do(actUnask{l.epoch})
		case !l.paused:
			l.paused = true
			c.do(actUpdate{up: l.up, forward: new(false)})
		}
	}
	e.links, e.idle, e.resting = offered, time.Time{}, true
	c.arm(e)
}
