package moqt

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An egressSubscription is a subscription that an egress serves. The core owns
// it, but for the fields of the wake-up.
type egressSubscription struct {
	cfg    egressSub
	detach func() // from the track; for the egress

	egress *egress             // nil where nobody is to be woken
	dirty  atomic.Bool         // it is on the egress's stack, or about to be
	below  *egressSubscription // on that stack

	seen    uint64          // of the track's subgroups, in order of arrival
	streams []*egressStream // subgroups that are not done, in order of arrival
	class   uint16          // of the newest subgroup
	joined  bool            // what was cached at the start has been taken in
	newest  uint64          // largest group seen within the filter, if some
	some    bool
	begun   uint64    // how often a newer group became the newest since
	passed  bool      // a group after the end group was seen
	opened  uint64    // streams, for PUBLISH_DONE
	deficit int       // bytes it may write in its turn
	blocked time.Time // since when it has had no credit; zero: it has
	over    bool
}

func newEgressSubscription(e *egress, cfg egressSub) *egressSubscription {
	if cfg.onDone == nil {
		cfg.onDone = func(wire.PublishDoneCode, string, uint64) {}
	}
	return &egressSubscription{
		cfg: cfg, egress: e, detach: func() {},
		class: egressClass(cfg.priority, cfg.track.PublisherPriority()),
	}
}

// egressClass orders by the subscriber's priority, then by the publisher's.
func egressClass(subscriber, publisher uint8) uint16 {
	return uint16(subscriber)<<8 | uint16(publisher)
}

// Notify wakes the egress, unless it already knows that something changed. The
// track calls it from writers' goroutines.
func (s *egressSubscription) Notify() {
	if s.dirty.CompareAndSwap(false, true) && s.egress != nil {
		s.egress.push(s)
	}
}

// best returns the stream of s whose data goes first, nil if none has any.
func (s *egressSubscription) best() (best *egressStream) {
	for _, st := range s.streams {
		if st.pending() && (best == nil || st.before(best)) {
			best = st
		}
	}
	if best == nil {
		s.deficit = 0
	}
	return best
}

// sync takes in what has changed on the track of s.
func (c *egressCore) sync(now time.Time, s *egressSubscription) {
	logs, next := s.cfg.track.Since(s.seen)
	s.seen = next
	for _, log := range logs {
		c.arrive(now, s, log)
	}
	s.joined = true
	for i := len(s.streams) - 1; i >= 0; i-- {
		if i >= len(s.streams) {
			break // s is over, and has no streams
		}
		st := s.streams[i]
		if st.state == egressHeld && s.cfg.forward && !c.enter(st) {
			continue
		}
		c.settle(st)
	}
	c.conclude(s)
}

// arrive takes in a subgroup that is new to s.
func (c *egressCore) arrive(now time.Time, s *egressSubscription, log *track.Subgroup) {
	group := log.Header().Group
	switch {
	case group > s.cfg.endGroup:
		s.passed = true
		return
	case group < s.cfg.start.Group:
		return
	}
	if class := egressClass(s.cfg.priority, log.Priority()); class != s.class {
		s.class = class
		c.classify()
	}
	if !s.some || group > s.newest {
		s.newest, s.some = group, true
		if s.joined {
			s.begun++
			c.supersede(s)
		}
	}
	if len(s.streams) >= c.cfg.MaxWaiting {
		c.makeRoom(s)
	}
	s.streams = append(s.streams, c.newStream(now, s, log))
}

// makeRoom gives up the subgroup of s that has waited longest. If all have
// streams, their number is bounded by that of the streams.
func (c *egressCore) makeRoom(s *egressSubscription) {
	i := slices.IndexFunc(s.streams, func(st *egressStream) bool { return st.state != egressStreaming })
	if i >= 0 {
		c.counts.dropped++
		c.drop(s.streams[i], wire.ResetTooFarBehind)
	}
}

// supersede makes way for a new group of s: older ones move behind it, and those
// that could not get a stream so far are not sent at all.
func (c *egressCore) supersede(s *egressSubscription) {
	full := c.starved || c.open >= c.cfg.MaxStreams
	for i := len(s.streams) - 1; i >= 0; i-- {
		switch st := s.streams[i]; {
		case st.group >= s.newest:
		case st.state == egressStreaming:
			c.rank(st)
		case st.state == egressWaiting && full:
			c.counts.dropped++
			c.drop(st, wire.ResetTooFarBehind)
		}
	}
}

// enter has a held subgroup ask for a stream, once it has an object within the
// filter. It reports whether the subgroup is still there.
func (c *egressCore) enter(st *egressStream) bool {
	found, maybe := st.place()
	switch {
	case found:
		st.state = egressWaiting
	case !maybe:
		c.drop(st, wire.ResetCancelled)
		return false
	}
	return true
}

// conclude ends s if no stream is left and none can come any more.
func (c *egressCore) conclude(s *egressSubscription) {
	if s.over || slices.ContainsFunc(s.streams, func(st *egressStream) bool { return s.cfg.forward || st.state != egressHeld }) {
		return
	}
	// An end seen now has no subgroup after it that Since would miss.
	code, reason, ended := s.cfg.track.Ended()
	if _, next := s.cfg.track.Since(s.seen); ended && next == s.seen {
		c.finish(s, wire.ResetCancelled, code, reason)
	} else if s.passed {
		c.finish(s, wire.ResetCancelled, wire.PublishDoneSubscriptionEnded, "the end group has passed")
	}
}

// finish ends s and resets the streams that it has.
func (c *egressCore) finish(s *egressSubscription, code wire.ResetCode, doneCode wire.PublishDoneCode, reason string) {
	s.over = true
	for len(s.streams) > 0 {
		c.drop(s.streams[len(s.streams)-1], code)
	}
	i := slices.Index(c.subs, s)
	c.subs = slices.Delete(c.subs, i, i+1)
	if c.turn > i {
		c.turn--
	}
	if c.turn >= len(c.subs) {
		c.turn = 0
	}
	c.classify()
	c.enqueue(egressAction{op: egressDone, sub: s, doneCode: doneCode, reason: reason, streams: s.opened})
}

// update changes what the subscriber of s gets.
func (c *egressCore) update(now time.Time, s *egressSubscription, u egressSub) {
	s.cfg.start, s.cfg.endGroup, s.cfg.forward = u.start, u.endGroup, u.forward
	s.passed = s.passed && s.newest >= u.endGroup
	for i := len(s.streams) - 1; i >= 0; i-- {
		st := s.streams[i]
		switch {
		case st.group > u.endGroup:
			s.passed = true
			c.drop(st, wire.ResetCancelled)
		case st.group < u.start.Group:
			c.drop(st, wire.ResetCancelled)
		case !u.forward && st.state != egressHeld:
			// It may be entered again: keep it, without its stream.
			log := st.log
			c.drop(st, wire.ResetCancelled)
			s.streams = slices.Insert(s.streams, i, c.newStream(now, s, log))
		}
	}
	if s.cfg.priority != u.priority {
		s.cfg.priority = u.priority
		s.class = egressClass(u.priority, uint8(s.class))
		c.classify()
	}
	c.sync(now, s)
}

// expire takes the subscribers that are too far behind to their newest group.
func (c *egressCore) expire(now time.Time) {
	for i := len(c.subs) - 1; i >= 0; i-- {
		s := c.subs[i]
		if !slices.ContainsFunc(s.streams, func(st *egressStream) bool { return c.stale(now, st) }) {
			continue
		}
		c.counts.jumps++
		for i := len(s.streams) - 1; i >= 0; i-- {
			if st := s.streams[i]; st.group < s.newest && st.behind() {
				c.drop(st, wire.ResetTooFarBehind)
			}
		}
		c.conclude(s)
	}
}

// stale reports whether st is not worth finishing. A group that no newer one
// has followed always is: there is nothing to go to.
func (c *egressCore) stale(now time.Time, st *egressStream) bool {
	s := st.sub
	if st.group >= s.newest || !st.behind() {
		return false
	}
	lag := st.lag(now)
	return lag > c.cfg.MaxLag || lag > c.cfg.MinLag && s.begun-st.age > uint64(c.cfg.MaxLagGroups)
}

// newStream returns a held stream for log.
func (c *egressCore) newStream(now time.Time, s *egressSubscription, log *track.Subgroup) *egressStream {
	var st *egressStream
	if n := len(c.free); n > 0 {
		st, c.free = c.free[n-1], c.free[:n-1]
	} else {
		st = new(egressStream)
	}
	*st = egressStream{
		sub: s, log: log, group: log.Header().Group,
		age: s.begun, since: now, chunk: egressQuantum,
	}
	return st
}

// recycle keeps st for newStream. Nothing may refer to it any more.
func (c *egressCore) recycle(st *egressStream) {
	*st = egressStream{}
	if len(c.free) < c.cfg.MaxStreams {
		c.free = append(c.free, st)
	}
}

// drop takes st off its subscription, and resets the stream if there is one.
func (c *egressCore) drop(st *egressStream, code wire.ResetCode) {
	c.forget(st)
	if st.state != egressStreaming {
		c.recycle(st)
		return
	}
	c.open--
	c.counts.resets++
	c.backlog.reset(st.urgency, st.id)
	c.enqueue(egressAction{op: egressReset, stream: st, code: code})
}

// fin takes st off its subscription and ends the stream.
func (c *egressCore) fin(st *egressStream) {
	s := st.sub
	if st.group < s.newest && s.cfg.order != track.Descending {
		// Nothing follows on this stream. What the transport still holds of it
		// must not starve behind the newer group, which the subscriber wants
		// later.
		urgency := c.urgencyOf(st.class())
		c.backlog.rank(st.urgency, urgency, st.id)
		c.enqueue(egressAction{op: egressRank, stream: st, urgency: urgency})
	}
	c.forget(st)
	c.open--
	c.counts.fins++
	c.enqueue(egressAction{op: egressFin, stream: st})
}

func (c *egressCore) forget(st *egressStream) {
	s := st.sub
	i := slices.Index(s.streams, st)
	s.streams = slices.Delete(s.streams, i, i+1)
}

// classify works out anew which classes there are, and ranks all streams.
func (c *egressCore) classify() {
	c.classes = c.classes[:0]
	for _, s := range c.subs {
		if i, ok := slices.BinarySearch(c.classes, s.class); !ok {
			c.classes = slices.Insert(c.classes, i, s.class)
		}
	}
	for _, s := range c.subs {
		for _, st := range s.streams {
			if st.state == egressStreaming {
				c.rank(st)
			}
		}
	}
}

// rank gives st the urgency that it should have now.
func (c *egressCore) rank(st *egressStream) {
	urgency := c.urgencyOf(st.class())
	if s := st.sub; st.group < s.newest {
		urgency = egressUrgencyOld
		if s.begun-st.age > 1 {
			urgency = egressUrgencyStale
		}
	}
	if urgency != st.urgency {
		c.backlog.rank(st.urgency, urgency, st.id)
		st.urgency = urgency
		c.enqueue(egressAction{op: egressRank, stream: st, urgency: urgency})
	}
}

// urgencyOf returns the urgency of the newest groups of a class.
func (c *egressCore) urgencyOf(class uint16) int {
	better, _ := slices.BinarySearch(c.classes, class)
	return min(egressUrgencyFirst+better, egressUrgencyLast)
}
