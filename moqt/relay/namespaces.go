package relay

import (
	"cmp"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// announce adds a source to its namespace, tells the watchers of a namespace
// that is new, and routes to the source what waits for it: subscribers that are
// held, tracks that lost their publisher, and tracks that others fill (section
// 9.5). An older session may be a dead one that has not timed out yet, so the
// newest is asked at once and not only when the older ones are gone.
func (c *core) announce(now time.Time, src *source) []action {
	sp := c.spaces[src.ns]
	if sp == nil {
		sp = &space{ns: src.ns, since: now}
		c.spaces[src.ns] = sp
		c.tell(src.ns, true)
	}
	// Whoever was lost has been replaced.
	c.forget(sp)
	sp.sources = append(sp.sources, src)
	if src.peer != nil {
		sp.remote = true
		c.announced[src.peer] = append(c.announced[src.peer], src)
		c.tellSessions(src.ns, true)
	}
	c.lookForSessions(sp)
	if !src.routable {
		return c.take()
	}
	for _, e := range c.under(src.ns) {
		switch {
		case e.held() && src.local != nil:
			c.serveHeld(now, e, src)
		case e.held():
			c.connect(now, e, src)
		case src.local != nil || e.linked(src):
		case e.input() && e.track != nil:
			c.end(now, e, wire.PublishDoneGoingAway, "a newer session publishes the track")
		case c.lone(e):
			c.switchTo(now, e, src)
		default:
			c.add(now, e, src)
		}
	}
	return c.take()
}

// add subscribes at one more publisher of e, if there may be one more.
func (c *core) add(now time.Time, e *entry, src *source) {
	if len(e.links) >= c.cfg.MaxPublishers && !c.makeRoom(now, e) {
		c.counts.surplus++
		return
	}
	c.connect(now, e, src)
}

// serveHeld gives the subscribers that wait for a track to a source in this
// process.
func (c *core) serveHeld(now time.Time, e *entry, src *source) {
	waiting := e.waiting
	e.waiting = nil
	c.drop(e)
	for _, w := range waiting {
		c.holds(w.sub, -1)
		c.joinLocal(now, src, e.name, w.sub, w.until.Sub(now))
	}
}

// withdraw removes a source whose publisher has withdrawn it.
func (c *core) withdraw(now time.Time, src *source) []action {
	c.remove(src)
	for _, e := range c.under(src.ns) {
		// An established subscription outlives the announcement (section 6.2);
		// a track that only waits for this source to come back does not.
		if e.last == src && e.track != nil && len(e.links) == 0 && c.pickSession(e.name.Namespace, nil) == nil {
			c.end(now, e, wire.PublishDoneTrackEnded, "the publisher has withdrawn the namespace")
		}
	}
	return c.take()
}

// peerGone tells that the session of p has ended. What it announced and did not
// withdraw stays for the grace.
func (c *core) peerGone(now time.Time, p *peer) []action {
	until := now.Add(c.cfg.Grace)
	for _, src := range slices.Clone(c.announced[p]) {
		src.lostUntil = until
		c.timers.Set(&timer{Do: func(time.Time) { c.remove(src) }}, until)
		sp := c.spaces[src.ns]
		// A live source makes the lost ones of its namespace superfluous.
		if slices.ContainsFunc(sp.sources, func(s *source) bool { return !s.lost() }) {
			c.forget(sp)
		}
		c.lookForSessions(sp)
	}
	return c.take()
}

// forget takes the lost sources out of sp.
func (c *core) forget(sp *space) {
	sp.sources = slices.DeleteFunc(sp.sources, func(s *source) bool {
		if s.lost() {
			c.disown(s)
		}
		return s.lost()
	})
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
	c.disown(src)
	c.lookForSessions(sp)
	if len(sp.sources) == 0 {
		delete(c.spaces, src.ns)
		c.tell(src.ns, false)
	}
}

// disown takes src off what its session announces.
func (c *core) disown(src *source) {
	if src.peer == nil {
		return
	}
	rest := slices.DeleteFunc(c.announced[src.peer], func(s *source) bool { return s == src })
	if len(rest) == 0 {
		delete(c.announced, src.peer)
		return
	}
	c.announced[src.peer] = rest
}

// pick returns the source to ask first for a track in ns: the one that publishes
// the longest prefix of it, a publisher in this process before a session, the
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

// sessions returns the sources among sessions that ns matches, in the order of
// pick, those that are lost included.
func (c *core) sessions(ns wire.Namespace) []*source {
	var out []*source
	for _, prefix := range prefixes(ns) {
		sp := c.spaces[prefix]
		if sp == nil {
			continue
		}
		for _, s := range slices.Backward(sp.sources) {
			if s.peer != nil {
				out = append(out, s)
			}
		}
	}
	return out
}

// candidates returns the sources that can be asked for a track, the preferred
// one first.
func (c *core) candidates(now time.Time, name wire.FullTrackName) []*source {
	return slices.DeleteFunc(c.sessions(name.Namespace), func(s *source) bool {
		return s.lost() || !s.routable || c.shuns(now, s, name)
	})
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

// rewatch puts w in the place of old, which told a session of another prefix
// (section 10.9.2). What only old has told, or has spelled otherwise, is
// withdrawn.
func (c *core) rewatch(old, w *watcher) []action {
	c.watchers = slices.DeleteFunc(c.watchers, func(o *watcher) bool { return o == old })
	for _, sp := range c.sorted() {
		before, told := respell(sp.ns, old.prefix, old.theirs)
		after, stays := respell(sp.ns, w.prefix, w.theirs)
		if told && !(stays && before == after) {
			c.do(actTell{old, sp.ns, false})
		}
	}
	return c.watch(w)
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
