package relay

import (
	"cmp"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// announce adds a source to its namespace, tells the watchers of a namespace
// that is new, and routes to the source what waits for it: subscribers that are
// held, tracks that lost their publisher, and tracks of an older session. That
// session may be a dead one that has not timed out yet, so the newest wins.
func (c *core) announce(now time.Time, src *source) []action {
	sp := c.spaces[src.ns]
	if sp == nil {
		sp = &space{ns: src.ns, since: now}
		c.spaces[src.ns] = sp
		c.tell(src.ns, true)
	}
	// Whoever was lost has been replaced.
	sp.sources = slices.DeleteFunc(sp.sources, (*source).lost)
	sp.sources = append(sp.sources, src)
	if src.peer != nil {
		sp.remote = true
		c.tellSessions(src.ns, true)
	}
	c.lookForSessions(sp)
	if !src.routable {
		return c.take()
	}
	for _, e := range c.under(src.ns) {
		switch {
		case e.state == stateHeld && src.local != nil:
			c.serveHeld(now, e, src)
		case e.state == stateHeld:
			c.connect(e, src)
		case src.local == nil && e.src != src && e.input() && e.track != nil:
			c.end(e, wire.PublishDoneGoingAway, "a newer session publishes the track")
		case src.local == nil && e.src != src:
			c.switchTo(e, src)
		}
	}
	return c.take()
}

// serveHeld gives the subscribers that wait for a track to a source in this
// process.
func (c *core) serveHeld(now time.Time, e *entry, src *source) {
	waiting := e.waiting
	e.waiting = nil
	c.held -= len(waiting)
	c.drop(e)
	for _, w := range waiting {
		c.joinLocal(now, src, e.name, w.sub, w.until.Sub(now))
	}
}

// switchTo lets src continue the track of e, whoever fed it before. Its
// subscribers see no more than a group boundary.
func (c *core) switchTo(e *entry, src *source) {
	if e.up != nil {
		c.do(actRelease{e.up})
		c.do(actAbortOpen{e.track, wire.ResetInternalError})
		e.up = nil
	}
	e.tried = nil
	c.connect(e, src)
}

// withdraw removes a source whose publisher has withdrawn it.
func (c *core) withdraw(now time.Time, src *source) []action {
	c.remove(src)
	for _, e := range c.under(src.ns) {
		// An established subscription outlives the announcement (section 6.2);
		// a track that only waits for this source to come back does not.
		if e.src == src && e.state == stateOrphan && c.pickSession(e.name.Namespace, nil) == nil {
			c.end(e, wire.PublishDoneTrackEnded, "the publisher has withdrawn the namespace")
		}
	}
	return c.take()
}

// peerGone tells that the session of p has ended. What it announced and did not
// withdraw stays for the grace.
func (c *core) peerGone(now time.Time, p *peer) []action {
	until := now.Add(c.cfg.Grace)
	for _, sp := range c.spaces {
		for _, src := range sp.sources {
			if src.peer != p || src.lost() {
				continue
			}
			src.lostUntil = until
			t := &timer{f: func(time.Time) {
				if src.lost() {
					c.remove(src)
				}
			}}
			c.timers.set(t, until)
		}
		// A live source makes the lost ones of its namespace superfluous.
		if slices.ContainsFunc(sp.sources, func(s *source) bool { return !s.lost() }) {
			sp.sources = slices.DeleteFunc(sp.sources, (*source).lost)
		}
		c.lookForSessions(sp)
	}
	return c.take()
}

func (c *core) remove(src *source) {
	sp := c.spaces[src.ns]
	if sp == nil {
		return
	}
	i := slices.Index(sp.sources, src)
	if i < 0 {
		return
	}
	sp.sources = slices.Delete(sp.sources, i, i+1)
	c.lookForSessions(sp)
	if len(sp.sources) == 0 {
		delete(c.spaces, src.ns)
		c.tell(src.ns, false)
	}
}

// pick returns the source to ask for a track in ns: the one that publishes the
// longest prefix of it, a publisher in this process before a session, the
// newest session first, a lost one last. It leaves out those in tried.
func (c *core) pick(ns wire.Namespace, tried []*source) *source {
	var lost *source
	for _, prefix := range prefixes(ns) {
		sp := c.spaces[prefix]
		if sp == nil {
			continue
		}
		var best *source
		for _, s := range sp.sources {
			switch {
			case slices.Contains(tried, s):
			case s.lost():
				lost = s
			case !s.routable:
			case best == nil || best.local == nil:
				best = s
			}
		}
		if best != nil {
			return best
		}
	}
	return lost
}

// pickSession is pick among sessions alone.
func (c *core) pickSession(ns wire.Namespace, tried []*source) *source {
	for _, prefix := range prefixes(ns) {
		if sp := c.spaces[prefix]; sp != nil {
			for _, s := range sp.sources {
				if s.local != nil {
					tried = append(slices.Clip(tried), s)
				}
			}
		}
	}
	return c.pick(ns, tried)
}

// prefixes returns ns and each shorter prefix of it, longest first.
func prefixes(ns wire.Namespace) []wire.Namespace {
	fields := ns.Fields()
	out := make([]wire.Namespace, 0, len(fields)+1)
	for n := len(fields); n >= 0; n-- {
		p, err := wire.NewNamespace(fields[:n]...)
		if err != nil {
			continue // cannot happen: a prefix of a namespace is one
		}
		out = append(out, p)
	}
	return out
}

// under returns the tracks under a namespace, in the order of their names so
// that a replay is exact.
func (c *core) under(ns wire.Namespace) []*entry {
	var out []*entry
	for name, e := range c.tracks {
		if name.Namespace.HasPrefix(ns) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *entry) int {
		return compareNames(a.name, b.name)
	})
	return out
}

// published takes a track that a session offers with PUBLISH. up fills it; into
// moves what it fills to a track that exists. Whoever fed the track before is
// released: the newest publisher wins, as in announce.
func (c *core) published(now time.Time, src *source, name wire.FullTrackName, offer publication) (uint64, []action) {
	if best := c.pick(name.Namespace, nil); best != nil && best.local != nil && name.Name != c.cfg.InputTrack {
		c.do(actRefuse{offer, wire.RequestUninterested, "a publisher in this process has the namespace"})
		return 0, c.take()
	}
	e := c.tracks[name]
	if e != nil && e.input() {
		c.end(e, wire.PublishDoneGoingAway, "a newer session publishes the track")
		e = nil
	}
	if e == nil {
		e = c.open(name)
	}
	if e.up != nil {
		c.do(actRelease{e.up})
		c.do(actAbortOpen{e.track, wire.ResetInternalError})
		e.up = nil
	}
	if e.state == stateHeld {
		c.held -= len(e.waiting)
	}
	e.epoch = c.newEpoch()
	e.src = src
	c.do(actTake{offer, e.track})
	if e.track != nil {
		c.live(now, e, continued{offer, e.track})
	} else {
		c.live(now, e, offer)
	}
	return e.epoch, c.take()
}

// continued is an offer that fills a track which existed before it.
type continued struct {
	upstream
	t *track.Track
}

func (c continued) Track() *track.Track { return c.t }

// watch tells w every namespace under its prefix, and from now on each change.
func (c *core) watch(w *watcher) []action {
	c.watchers = append(c.watchers, w)
	for _, sp := range c.sorted() {
		if sp.ns.HasPrefix(w.prefix) && (sp.remote || !w.sessions) {
			c.do(actTell{w, sp.ns, true})
		}
	}
	return c.take()
}

func (c *core) unwatch(w *watcher) []action {
	if i := slices.Index(c.watchers, w); i >= 0 {
		c.watchers = slices.Delete(c.watchers, i, i+1)
	}
	return c.take()
}

// tell tells the watchers that ns is published, or no longer.
func (c *core) tell(ns wire.Namespace, active bool) {
	for _, w := range c.watchers {
		if ns.HasPrefix(w.prefix) && !w.sessions {
			c.do(actTell{w, ns, active})
		}
	}
}

// tellSessions tells those who watch sessions that one has come to publish
// under ns, or that none does any longer.
func (c *core) tellSessions(ns wire.Namespace, active bool) {
	for _, w := range c.watchers {
		if ns.HasPrefix(w.prefix) && w.sessions {
			c.do(actTell{w, ns, active})
		}
	}
}

// lookForSessions tells when the last session has left sp. One that is lost
// has left.
func (c *core) lookForSessions(sp *space) {
	there := slices.ContainsFunc(sp.sources, func(s *source) bool { return s.peer != nil && !s.lost() })
	if sp.remote && !there {
		sp.remote = false
		c.tellSessions(sp.ns, false)
	}
}

func (c *core) sorted() []*space {
	out := make([]*space, 0, len(c.spaces))
	for _, sp := range c.spaces {
		out = append(out, sp)
	}
	slices.SortFunc(out, func(a, b *space) int {
		return slices.Compare(a.ns.Fields(), b.ns.Fields())
	})
	return out
}

func compareNames(a, b wire.FullTrackName) int {
	return cmp.Or(slices.Compare(a.Namespace.Fields(), b.Namespace.Fields()), cmp.Compare(a.Name, b.Name))
}
