package relay

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A publication is a track that a session offers. Its methods do not block.
type publication interface {
	upstream
	accept(into *track.Track, paused bool)
	refuse(wire.RequestCode, string)
}

// published takes a track that a session offers with PUBLISH. The offer fills
// the track that exists, beside others, or else brings it. epoch is 0 if it is
// refused.
func (c *core) published(now time.Time, src *source, name wire.FullTrackName, offer publication) (epoch uint64, acts []action) {
	if best := c.pick(name.Namespace, nil); best != nil && best.local != nil && name.Name != c.cfg.InputTrack {
		c.do(actRefuse{offer, wire.RequestUninterested, "a publisher in this process has the namespace"})
		return 0, c.take()
	}
	e := c.tracks[name]
	if e != nil && e.input() {
		c.end(now, e, wire.PublishDoneGoingAway, "a newer session publishes the track")
		e = nil
	}
	switch {
	case e == nil:
		e = c.open(now, name)
	case c.lone(e):
		for _, l := range slices.Clone(e.links) {
			c.release(e, l)
		}
		if e.track != nil {
			c.do(actAbortOpen{e.track, wire.ResetInternalError})
		}
	case len(e.links) >= c.cfg.MaxPublishers && !c.makeRoom(now, e):
		c.counts.surplus++
		c.do(actRefuse{offer, wire.RequestExcessiveLoad, "the track has enough publishers"})
		return 0, c.take()
	}
	c.released(e)
	l := &link{src: src, epoch: c.newEpoch(), into: e.track, offered: true, paused: !e.wanted() || c.paused[name.Namespace]}
	e.links = append(e.links, l)
	c.do(actTake{offer, e.track, l.paused})
	if e.track != nil {
		c.live(now, e, l, continued{offer, e.track})
	} else {
		c.live(now, e, l, offer)
	}
	if !e.offered {
		e.offered = true
		for _, w := range c.trackers {
			c.offer(w, e)
		}
	}
	return l.epoch, c.take()
}

// A tracker hears of each track under prefix that somebody else publishes: of
// those that sessions publish with PUBLISH, and those of publishers in this
// process that list them. It is offered each once.
type tracker struct {
	prefix wire.Namespace
	theirs wire.Namespace // how the session spells prefix
	peer   *peer
	sink   trackSink
}

// A trackSink passes an offer on. It does not block.
type trackSink interface {
	offer(wire.FullTrackName, *track.Track)
}

// trackTracks offers w every track under its prefix, and from now on each that
// comes.
func (c *core) trackTracks(w *tracker) []action { return c.retrack(nil, w) }

// retrack puts w in the place of old, which offered a session tracks under
// another prefix (section 10.9.2). What old has offered under the same name stays
// with the session, and is not offered again.
func (c *core) retrack(old, w *tracker) []action {
	c.trackers = append(slices.DeleteFunc(c.trackers, func(o *tracker) bool { return o == old }), w)
	fresh := func(ns wire.Namespace) bool {
		if old == nil {
			return true
		}
		before, told := respell(ns, old.prefix, old.theirs)
		after, _ := respell(ns, w.prefix, w.theirs)
		return !told || before != after
	}
	for _, e := range c.under(w.prefix) {
		if e.offered && fresh(e.name.Namespace) {
			c.offer(w, e)
		}
	}
	for _, sp := range c.sorted() {
		if !sp.ns.HasPrefix(w.prefix) || !fresh(sp.ns) {
			continue
		}
		if src := c.pick(sp.ns, nil); src != nil && src.local != nil && src.ns == sp.ns {
			for _, t := range src.tracks {
				c.offerListed(w, src, t)
			}
		}
	}
	return c.take()
}

func (c *core) untrackTracks(w *tracker) []action {
	c.trackers = slices.DeleteFunc(c.trackers, func(o *tracker) bool { return o == w })
	return c.take()
}

// listed takes a track that a publisher in this process tells of, in the place
// of the one that had its name.
func (c *core) listed(src *source, t *track.Track) []action {
	sp := c.spaces[src.ns]
	if sp == nil || !slices.Contains(sp.sources, src) {
		return nil // withdrawn
	}
	src.tracks = append(slices.DeleteFunc(src.tracks, func(o *track.Track) bool {
		return o.Name() == t.Name() || isOver(o)
	}), t)
	if c.pick(src.ns, nil) == src {
		for _, w := range c.trackers {
			c.offerListed(w, src, t)
		}
	}
	return c.take()
}

func isOver(t *track.Track) bool {
	_, _, ended := t.Ended()
	return ended
}

func (c *core) offerListed(w *tracker, src *source, t *track.Track) {
	if src.ns.HasPrefix(w.prefix) && !isOver(t) {
		c.do(actOffer{w, wire.FullTrackName{Namespace: src.ns, Name: t.Name().Name}, t})
	}
}

// offer offers e to w, unless w's session publishes it, or has asked for it and
// gets it as it asked (section 9.5).
func (c *core) offer(w *tracker, e *entry) {
	if !e.name.Namespace.HasPrefix(w.prefix) {
		return
	}
	for _, l := range e.links {
		if l.src.peer == w.peer {
			return
		}
	}
	for sub := range e.subs { // whether one is there, in no order
		if sub.session() == w.peer {
			return
		}
	}
	c.do(actOffer{w, e.name, e.track})
}

// took tells that an offer was accepted: sub reads the track t from now on.
func (c *core) took(now time.Time, name wire.FullTrackName, t *track.Track, sub subscriber) []action {
	if e := c.tracks[name]; e != nil && e.track == t {
		e.subs[sub] = false
		c.linger(now, e)
		c.demand(now, e, sub.wants())
	}
	return c.take()
}

// continued is an offer that fills a track which existed before it.
type continued struct {
	upstream
	t *track.Track
}

func (c continued) Track() *track.Track { return c.t }
