package relay

import (
	"errors"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An entry is one track that comes from sessions. Tracks of publishers in this
// process need none: their subscribers read the publisher's own track.
//
// It is held while subscribers wait and there is nobody to ask, connecting
// while the first link is asked for, live with a track and a link that fills
// it, and orphaned with a track that nobody fills while the grace runs.
type entry struct {
	name    wire.FullTrackName
	links   []*link   // in the order in which they began
	tried   []*source // they refused; forgotten when a link is lost
	last    *source   // of the link that was lost last
	track   *track.Track
	subs    map[subscriber]bool // true for one that reads sessions alone
	fed     bool                // this is the input track, and was read as one
	waiting []waiter
	// inquiries wait for the track to be there.
	inquiries []inquiry
	asked     *uint64   // the NEW_GROUP_REQUEST that is outstanding, made when
	askedAt   mark      // the track was so
	offered   bool      // with PUBLISH: those who track tracks have heard of it
	sick      bool      // malformed, and nobody was blamed yet
	resting   bool      // nobody subscribes: the other publishers are not asked
	idle      time.Time // when it ends for want of subscribers; zero while there is one
	grace     time.Time // when it ends for want of a publisher; zero while there is one
	timer     timer     // the earliest of the times above, of waiting and of links
}

// A link is what one source fills a track by: a subscription of ours, or the
// source's PUBLISH. A track has a link at each publisher that has it, and what
// comes of them is compared and stored once (section 9.3).
type link struct {
	src   *source
	epoch uint64       // its number: what is heard of others that are gone is dropped
	into  *track.Track // what it continues; nil: it brings a track
	up    upstream     // nil while the source has not answered
	until time.Time    // when it must have
	// offered: it is a PUBLISH, which cannot be asked for again.
	offered bool
	paused  bool // Forward State 0
	// heir: nobody else filled the track when it took it over. It may be its
	// publisher after a restart, that counts from below again.
	heir  bool
	since mark
	heard uint64    // of the session, at
	at    time.Time // the last time that it had changed
}

// A mark is what a track had at some time.
type mark struct {
	at      time.Time
	largest wire.Location
	some    bool
	stale   uint64 // streams that came too late to be kept
}

func markOf(now time.Time, t *track.Track) mark {
	l, ok := t.Largest()
	return mark{at: now, largest: l, some: ok, stale: t.Stale()}
}

type waiter struct {
	sub      subscriber
	until    time.Time // zero: as long as the connect takes
	sessions bool      // it reads sessions alone
	// patience ends with its RENDEZVOUS_TIMEOUT: until then it waits for
	// another publisher when the one that was asked is lost.
	patience time.Time
}

// held reports whether nobody is there to ask for e.
func (e *entry) held() bool { return e.track == nil && len(e.links) == 0 }

// live reports whether some source other than that of l fills e.
func (e *entry) live(but *link) bool {
	return slices.ContainsFunc(e.links, func(l *link) bool { return l != but && l.up != nil })
}

func (e *entry) asking() bool {
	return slices.ContainsFunc(e.links, func(l *link) bool { return l.up == nil })
}

func (e *entry) link(epoch uint64) *link {
	if i := slices.IndexFunc(e.links, func(l *link) bool { return l.epoch == epoch }); i >= 0 {
		return e.links[i]
	}
	return nil
}

func (e *entry) linked(src *source) bool {
	return slices.ContainsFunc(e.links, func(l *link) bool { return l.src == src })
}

func (e *entry) unlink(l *link) {
	e.links = slices.DeleteFunc(e.links, func(o *link) bool { return o == l })
}

// input reports whether a part of this process reads e as an input: what it
// makes of it is published in place of e. Such a track is not continued by
// another session, because a byte stream starts over there.
func (e *entry) input() bool {
	if e.fed {
		return true
	}
	for _, sessions := range e.subs {
		if sessions {
			return true
		}
	}
	return false
}

// lone reports whether e is filled by one source at a time: the bytes of an
// input track are a new stream with each session, not the same objects again.
func (c *core) lone(e *entry) bool {
	return e.input() || c.cfg.InputTrack != "" && e.name.Name == c.cfg.InputTrack
}

func (c *core) open(now time.Time, name wire.FullTrackName) *entry {
	e := &entry{name: name, subs: make(map[subscriber]bool)}
	e.timer.Do = func(now time.Time) { c.sweep(now, e) }
	c.tracks[name] = e
	if !c.pulse.IsSet() {
		c.timers.Set(&c.pulse, now.Add(pulse))
	}
	return e
}

// arm sets e's timer to the earliest time at which something of it is due.
func (c *core) arm(e *entry) {
	at := e.idle
	earlier := func(t time.Time) {
		if at.IsZero() || !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	if !e.asking() {
		earlier(e.grace) // an attempt under way is given its time
	}
	for _, w := range e.waiting {
		earlier(w.until)
	}
	for _, l := range e.links {
		earlier(l.until)
	}
	c.timers.Set(&e.timer, at)
}

// sweep ends what is due of e.
func (c *core) sweep(now time.Time, e *entry) {
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	for _, l := range slices.Clone(e.links) {
		if due(l.until) {
			c.do(actUnask{l.epoch})
			c.failed(now, e, l, errSilent)
			return // failed has armed what is left of e
		}
	}
	switch {
	case due(e.grace) && !e.asking():
		c.end(now, e, wire.PublishDoneInternalError, "the publisher was lost and did not return")
	case due(e.idle):
		c.rest(now, e)
	case e.held():
		c.expireHeld(now, e)
	default:
		c.arm(e)
	}
}

var errSilent = &track.RequestError{Code: wire.RequestTimeout, Reason: "the publisher did not answer"}

// admit lets sub read the track that there is.
func (c *core) admit(now time.Time, e *entry, sub subscriber, sessions bool) {
	e.subs[sub] = sessions
	c.linger(now, e)
	c.do(actAccept{sub, e.track})
	c.demand(now, e, sub.wants())
}

// connect subscribes at src; the answer comes as connected.
func (c *core) connect(now time.Time, e *entry, src *source) {
	c.released(e)
	l := &link{src: src, epoch: c.newEpoch(), into: e.track, until: now.Add(c.cfg.Connect)}
	l.paused = !e.wanted() && len(e.inquiries) > 0 || c.paused[e.name.Namespace]
	e.links = append(e.links, l)
	c.arm(e)
	n := e.newGroup()
	if n != nil {
		e.asked = n
	}
	c.do(actConnect{src, e.name, l.epoch, e.track, l.paused, n})
}

// connected takes the answer to a connect: an upstream, or why there is none.
func (c *core) connected(now time.Time, name wire.FullTrackName, epoch uint64, up upstream, err error) []action {
	e := c.tracks[name]
	var l *link
	if e != nil {
		l = e.link(epoch)
	}
	switch {
	case l == nil && up != nil:
		c.do(actRelease{up})
		if e == nil || e.track != up.Track() {
			c.discard(now, up.Track())
		}
	case l == nil:
	case err != nil:
		c.failed(now, e, l, err)
	case e.track != nil && l.into == nil:
		// Another one has brought the track meanwhile, which this one continues.
		c.do(actRelease{up})
		c.discard(now, up.Track())
		e.unlink(l)
		c.connect(now, e, l.src)
	default:
		c.live(now, e, l, up)
	}
	return c.take()
}

// live makes e a live track that l fills, among others.
func (c *core) live(now time.Time, e *entry, l *link, up upstream) {
	first := e.track == nil
	l.up, l.until = up, time.Time{}
	if first {
		e.track = up.Track()
		e.askedAt = markOf(now, e.track)
		c.do(actHear{e.name, e.track})
	}
	l.heir = !first && !e.live(l)
	l.since, l.heard, l.at = markOf(now, e.track), up.heard(), now
	e.grace = time.Time{}
	waiting := e.waiting
	e.waiting = nil
	for _, w := range waiting {
		e.subs[w.sub] = w.sessions
		e.fed = e.fed || w.sessions && e.name.Name == c.cfg.InputTrack
		c.do(actAccept{w.sub, e.track})
	}
	c.linger(now, e)
	inquiries := e.inquiries
	e.inquiries = nil
	for _, q := range inquiries {
		c.answer(now, e.name, e.track, q)
	}
	for _, w := range waiting {
		c.demand(now, e, w.sub.wants())
	}
	if e.resting = !e.wanted(); !e.resting {
		c.widen(now, e, nil)
	}
}

// widen subscribes at the other publishers of e, within bounds (section 9.5).
// It leaves out but, whose link has just been lost.
func (c *core) widen(now time.Time, e *entry, but *source) {
	if c.lone(e) && len(e.links) > 0 {
		return
	}
	for _, src := range c.candidates(now, e.name) {
		switch {
		case src == but, e.linked(src), slices.Contains(e.tried, src):
		case len(e.links) >= c.cfg.MaxPublishers:
			c.counts.surplus++
			return
		default:
			c.connect(now, e, src)
			if c.lone(e) {
				return
			}
		}
	}
}

// failed takes that l came to nothing, and goes on to the next source, or gives
// up when there is none.
func (c *core) failed(now time.Time, e *entry, l *link, err error) {
	e.unlink(l)
	e.tried = append(e.tried, l.src)
	if len(e.links) > 0 {
		c.arm(e)
		return // the others carry on
	}
	for _, src := range c.candidates(now, e.name) {
		if !slices.Contains(e.tried, src) {
			c.connect(now, e, src)
			return
		}
	}
	if e.track != nil {
		c.orphan(now, e)
		return
	}
	code, reason := requestCode(err)
	c.rejectInquiries(e, code, reason)
	waiting := e.waiting
	e.waiting = nil
	back := l.src.lost() || slices.ContainsFunc(c.sessions(e.name.Namespace), (*source).lost)
	_, refused := errors.AsType[*track.RequestError](err)
	c.drop(e)
	for _, w := range waiting {
		var d time.Duration
		if back {
			d = c.cfg.Grace
		}
		if !refused {
			d = max(d, w.patience.Sub(now))
		}
		switch {
		case d <= 0:
			c.do(actReject{w.sub, code, reason})
		case w.sessions: // it looks after returns itself
			c.do(actReject{w.sub, wire.RequestTimeout, "the publisher's session ended"})
		default:
			// The session went away under the request. It, or another one, may
			// come in time.
			c.hold(now, e.name, w.sub, d)
		}
	}
}

// upstreamEnded tells that the upstream of a link is over. ended is set when
// its publisher said so, or what it sent was malformed; else it was lost.
func (c *core) upstreamEnded(now time.Time, name wire.FullTrackName, epoch uint64, ended *track.EndError) []action {
	e := c.tracks[name]
	if e == nil {
		return c.take()
	}
	l := e.link(epoch)
	if l == nil || l.up == nil {
		return c.take()
	}
	if ended != nil && ended.Code == wire.PublishDoneMalformedTrack {
		c.malformed(now, e, l, ended.Reason)
		return c.take()
	}
	e.unlink(l)
	e.last = l.src
	switch {
	case e.live(nil):
		// Another one carries on with the same objects: nobody is the wiser.
		c.widen(now, e, l.src)
		c.arm(e)
	case ended != nil && final(ended.Code):
		c.end(now, e, ended.Code, ended.Reason)
	case e.input():
		c.do(actAbortOpen{e.track, wire.ResetInternalError})
		c.end(now, e, wire.PublishDoneInternalError, "the publisher's session ended")
	default:
		// Its session has cut the streams that were open. Those of another, which
		// may fill the track before we hear of its answer, go on.
		e.tried = nil
		c.widen(now, e, l.src)
		if len(e.links) == 0 {
			c.orphan(now, e)
		}
	}
	return c.take()
}

// final reports whether a publisher that ends a subscription with code has no
// more of the track, rather than no more for us here and now.
func final(code wire.PublishDoneCode) bool {
	switch code {
	case wire.PublishDoneGoingAway, wire.PublishDoneTooFarBehind, wire.PublishDoneExpired, wire.PublishDoneExcessiveLoad:
		return false
	}
	return true
}

// orphan keeps a track that has lost its publishers, so that one that returns
// within the grace continues it.
func (c *core) orphan(now time.Time, e *entry) {
	if e.grace.IsZero() { // a failed attempt to return does not prolong it
		e.grace = now.Add(c.cfg.Grace)
	}
	c.arm(e)
}

// switchTo lets src continue the track of e, whoever fed it before. Its
// subscribers see no more than a group boundary.
func (c *core) switchTo(now time.Time, e *entry, src *source) {
	for _, l := range slices.Clone(e.links) {
		c.release(e, l)
	}
	if e.track != nil {
		c.do(actAbortOpen{e.track, wire.ResetInternalError})
	}
	e.tried = nil
	c.connect(now, e, src)
}

// release ends a link from our side.
func (c *core) release(e *entry, l *link) {
	e.unlink(l)
	if l.up != nil {
		c.do(actRelease{l.up})
	} else {
		c.do(actUnask{l.epoch})
	}
}

func (c *core) rejectInquiries(e *entry, code wire.RequestCode, reason string) {
	for _, q := range e.inquiries {
		c.do(actRefuseInquiry{q, code, reason})
	}
	e.inquiries = nil
}

// linger keeps a track without subscribers for a while: the next viewer often
// comes soon, and finds the current group in memory.
func (c *core) linger(now time.Time, e *entry) {
	e.idle = time.Time{}
	if len(e.subs) == 0 {
		e.idle = now.Add(c.cfg.Linger)
	}
	c.arm(e)
}

// end ends a track for everybody. A closed track is never revived: the next
// subscriber gets a new one.
func (c *core) end(now time.Time, e *entry, code wire.PublishDoneCode, reason string) {
	for _, l := range slices.Clone(e.links) {
		c.release(e, l)
	}
	if e.track != nil {
		c.do(actEnd{e.track, code, reason})
		c.discard(now, e.track)
	}
	waiting := e.waiting // for another track, since this one was malformed
	e.waiting = nil
	c.drop(e)
	for _, w := range waiting {
		c.route(now, e.name, w.sub, w.patience.Sub(now))
	}
}

func (c *core) drop(e *entry) {
	for _, l := range slices.Clone(e.links) {
		c.release(e, l)
	}
	c.rejectInquiries(e, wire.RequestInternalError, "the track has ended")
	c.timers.Stop(&e.timer)
	delete(c.tracks, e.name)
	if len(c.tracks)+len(c.shun)+len(c.ended) == 0 {
		c.timers.Stop(&c.pulse)
	}
}
