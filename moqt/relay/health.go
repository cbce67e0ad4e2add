package relay

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// This file is how the core looks after tracks that several publishers fill, or
// one after another: who is dead, who counts from below again, who contradicts.

const (
	// pulse is how often the core looks at its tracks.
	pulse = time.Second
	// silence is how long a session may be silent while a newer publisher of the
	// same track speaks, before it is taken for dead.
	silence = 3 * time.Second
	// shunned is how long a publisher whose track was malformed is not asked for
	// that track again.
	shunned = 5 * time.Second
)

// beat looks at all tracks.
func (c *core) beat(now time.Time) {
	for _, e := range c.under(wire.Namespace{}) {
		if e.track == nil {
			continue
		}
		e.track.Expire(now)
		if err := e.track.Malformed(); err != nil {
			if e.sick {
				c.end(now, e, wire.PublishDoneMalformedTrack, err.Error())
				continue
			}
			e.sick = true
		}
		c.bury(now, e)
		c.renumber(now, e)
	}
	c.shun = slices.DeleteFunc(c.shun, func(s shun) bool { return !s.until.After(now) })
	c.dropEnded(now)
	if len(c.tracks)+len(c.shun)+len(c.ended) > 0 {
		c.timers.Set(&c.pulse, now.Add(pulse))
	}
}

// An ended track is kept in memory for those who still read it, for a while.
type ended struct {
	t     *track.Track
	since time.Time
}

const (
	// remain is how long an ended track stays at least: a subscriber that was
	// accepted a moment ago has not begun, and one that is busy is not seen.
	remain = 10 * time.Second
	// remainMost is how long it stays though it is read.
	remainMost = time.Minute
)

// discard has t let go of its memory once nobody needs it any more.
func (c *core) discard(now time.Time, t *track.Track) {
	if slices.ContainsFunc(c.ended, func(e ended) bool { return e.t == t }) {
		return
	}
	c.ended = append(c.ended, ended{t, now})
	if !c.pulse.IsSet() {
		c.timers.Set(&c.pulse, now.Add(pulse))
	}
}

// dropEnded drops the tracks whose time has come.
func (c *core) dropEnded(now time.Time) {
	c.ended = slices.DeleteFunc(c.ended, func(e ended) bool {
		age := now.Sub(e.since)
		gone := age >= remainMost || age >= remain && e.t.Readers() == 0
		if gone {
			c.do(actDrop{e.t})
		}
		return gone
	})
}

// bury releases sources whose sessions are silent although a newer one has
// brought objects. A killed publisher that has come back is such a case: its
// old session lives on until it times out, and its unfinished groups with it.
func (c *core) bury(now time.Time, e *entry) {
	for _, l := range e.links {
		if l.up == nil {
			continue
		}
		if heard := l.up.heard(); heard == 0 || heard != l.heard {
			l.heard, l.at = heard, now
		}
	}
	i := len(e.links) - 1
	for i >= 0 && e.links[i].up == nil {
		i--
	}
	if i < 1 || !advanced(e.links[i].since, markOf(now, e.track)) || now.Sub(e.links[i].at) >= silence {
		return
	}
	for _, l := range slices.Clone(e.links[:i]) {
		if l.up != nil && now.Sub(l.at) >= silence {
			c.counts.superseded++
			e.tried = append(e.tried, l.src)
			c.release(e, l)
		}
	}
}

func advanced(from, to mark) bool { return to.some && (!from.some || from.largest.Less(to.largest)) }

// makeRoom releases a source of e whose session is silent, so that another may
// take its place.
func (c *core) makeRoom(now time.Time, e *entry) bool {
	for _, l := range e.links {
		if l.up != nil && now.Sub(l.at) >= silence {
			c.counts.superseded++
			c.release(e, l)
			return true
		}
	}
	return false
}

// renumber ends a track whose only source, since it took over, brings nothing
// but groups that lie too far behind: it has restarted and counts from below
// again. Nothing of that could reach a subscriber of the old count, whose filter
// is behind it. Told that the track has gone away, they subscribe again.
func (c *core) renumber(now time.Time, e *entry) {
	if len(e.links) != 1 || e.links[0].up == nil || !e.links[0].heir {
		return
	}
	l := e.links[0]
	is := markOf(now, e.track)
	switch {
	case advanced(l.since, is):
		l.heir = false // it goes on where the other one was
	case is.stale > l.since.stale && now.Sub(l.since.at) >= pulse:
		c.restart(now, e)
	}
}

func (c *core) restart(now time.Time, e *entry) {
	c.counts.restarts++
	c.end(now, e, wire.PublishDoneGoingAway, "the publisher has started over")
}

// A shun is a source that is not asked for a track for a while.
type shun struct {
	src   *source
	name  wire.FullTrackName
	until time.Time
}

// maxShuns bounds how many there are; the oldest goes first.
const maxShuns = 1024

// malformed ends a track that a source has contradicted (section 2.4.2), for
// its subscribers and its sources. Only the culprit is not asked again: whoever
// subscribes next gets a new track from the others. A source that took over
// from one that was lost is its publisher after a restart rather than a
// culprit.
func (c *core) malformed(now time.Time, e *entry, l *link, reason string) {
	if l.heir && len(e.links) == 1 {
		c.restart(now, e)
		return
	}
	c.blame(now, e, l.src, reason)
}

// blame ends a malformed track, and shuns the source that it is the fault of.
func (c *core) blame(now time.Time, e *entry, src *source, reason string) {
	c.counts.malformed++
	if len(c.shun) == maxShuns {
		c.shun = slices.Delete(c.shun, 0, 1)
	}
	c.shun = append(c.shun, shun{src, e.name, now.Add(shunned)})
	c.end(now, e, wire.PublishDoneMalformedTrack, reason)
}

// shuns reports whether src is not to be asked for a track at the moment.
func (c *core) shuns(now time.Time, src *source, name wire.FullTrackName) bool {
	return slices.ContainsFunc(c.shun, func(s shun) bool { return s.src == src && s.name == name && s.until.After(now) })
}
