package egress

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A subscription is a Sub that a scheduler serves. The core owns
// it, but for the fields of the wake-up.
type subscription struct {
	cfg    Sub
	detach func() // from the track; for the scheduler

	scheduler *Scheduler    // nil where nobody is to be woken
	dirty     atomic.Bool   // it is on the scheduler's stack, or about to be
	below     *subscription // on that stack

	seen    uint64    // of the track's subgroups, in order of arrival
	streams []*stream // subgroups that are not done, in order of arrival
	class   uint16    // of the newest subgroup
	joined  bool      // what was cached at the start has been taken in
	newest  uint64    // largest group seen within the filter, if some
	some    bool
	begun   uint64    // how often a newer group became the newest since
	passed  bool      // a group after the end group was seen
	opened  uint64    // streams, for PUBLISH_DONE
	lastID  uint64    // of its last stream
	deficit int       // bytes it may write in its turn
	blocked time.Time // since when it has had no credit; zero: it has
	since   time.Time // it was added, or began to forward
	over    bool
	object  bool // some of an object was written since

	datagrams     []track.Object // that wait, in order of arrival
	seenDatagrams uint64         // of the track's datagrams

	fetch *fetch // nil, or this is a FETCH: of one stream, which no log fills
}

// done tells who asked that s is over.
func (s *subscription) done(a action) {
	if f := s.fetch; f != nil {
		f.cfg.OnDone(f.ok, f.code)
		return
	}
	s.cfg.OnDone(a.doneCode, a.reason, a.streams)
}

func newSubscription(e *Scheduler, cfg Sub) *subscription {
	if cfg.OnDone == nil {
		cfg.OnDone = func(wire.PublishDoneCode, string, uint64) {}
	}
	return &subscription{
		cfg: cfg, scheduler: e, detach: func() {},
		class: classOf(cfg.Priority, cfg.Track.PublisherPriority()),
	}
}

// classOf orders by the subscriber's priority, then by the publisher's.
func classOf(subscriber, publisher uint8) uint16 {
	return uint16(subscriber)<<8 | uint16(publisher)
}

// Notify wakes the scheduler, unless it already knows that something changed. The
// track calls it from writers' goroutines.
func (s *subscription) Notify() {
	if s.dirty.CompareAndSwap(false, true) && s.scheduler != nil {
		s.scheduler.push(s)
	}
}

// best returns the stream of s whose data goes first, nil if none has any.
func (s *subscription) best() (best *stream) {
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
func (c *core) sync(now time.Time, s *subscription) {
	if s.fetch != nil {
		c.syncFetch(now, s)
		return
	}
	logs, next := s.cfg.Track.Since(s.seen)
	s.seen = next
	for _, log := range logs {
		c.arrive(now, s, log)
	}
	c.arriveDatagrams(s)
	s.joined = true
	for i := len(s.streams) - 1; i >= 0; i-- {
		if i >= len(s.streams) {
			break // s is over, and has no streams
		}
		st := s.streams[i]
		if st.state == held && s.cfg.Forward && !c.enter(now, st) {
			continue
		}
		c.settle(now, st)
	}
	c.conclude(s)
}

// arrive takes in a subgroup that is new to s.
func (c *core) arrive(now time.Time, s *subscription, log *track.Subgroup) {
	group := log.Header().Group
	switch {
	case group > s.cfg.EndGroup:
		s.passed = true
		return
	case group < s.cfg.Start.Group:
		return
	}
	if class := classOf(s.cfg.Priority, log.Priority()); class != s.class {
		s.class = class
		c.classify()
	}
	if !s.some || group > s.newest {
		s.newest, s.some = group, true
		if s.joined {
			s.begun++
			c.supersede(now, s)
		}
	}
	if len(s.streams) >= c.cfg.MaxWaiting {
		c.makeRoom(s)
	}
	s.streams = append(s.streams, c.newStream(now, s, log))
}

// makeRoom gives up the subgroup of s that has waited longest. If all have
// streams, their number is bounded by that of the streams.
func (c *core) makeRoom(s *subscription) {
	i := slices.IndexFunc(s.streams, func(st *stream) bool { return st.state != streaming })
	if i >= 0 {
		c.counts.dropped++
		c.drop(s.streams[i], wire.ResetTooFarBehind)
	}
}

// supersede makes way for a new group of s: older ones move behind it, and those
// that could not get a stream so far are not sent at all. A message, small and
// whole, is: it may wait for a stream that the newest groups leave, until it is as
// old as anything late may be.
func (c *core) supersede(now time.Time, s *subscription) {
	full := c.starved || c.open >= c.cfg.MaxStreams
	for i := len(s.streams) - 1; i >= 0; i-- {
		switch st := s.streams[i]; {
		case st.group >= s.newest:
		case st.state == streaming:
			c.rank(st)
		case st.state != waiting || !full:
		case st.message() && st.lag(now) <= c.cfg.MinLag:
			st.spare = true
		default:
			c.counts.dropped++
			c.drop(st, wire.ResetTooFarBehind)
		}
	}
}

// enter has a held subgroup ask for a stream, once it has an object within the
// filter. It reports whether the subgroup is still there.
func (c *core) enter(now time.Time, st *stream) bool {
	found, maybe := st.place(now)
	switch {
	case found:
		st.state = waiting
	case !maybe:
		c.drop(st, wire.ResetCancelled)
		return false
	}
	return true
}

// conclude ends s if no stream is left and none can come any more.
func (c *core) conclude(s *subscription) {
	if s.fetch != nil {
		c.concludeFetch(s)
		return
	}
	if s.over || slices.ContainsFunc(s.streams, func(st *stream) bool { return s.cfg.Forward || st.state != held }) {
		return
	}
	if len(s.datagrams) > 0 {
		return
	}
	// An end seen now has nothing after it that the look-ups would miss.
	code, reason, ended := s.cfg.Track.Ended()
	if ended && s.sawAll() {
		c.finish(s, wire.ResetCancelled, code, reason)
	} else if s.passed {
		c.finish(s, wire.ResetCancelled, wire.PublishDoneSubscriptionEnded, "the end group has passed")
	}
}

// sawAll reports whether s has seen everything that has come to its track.
func (s *subscription) sawAll() bool {
	_, subgroups := s.cfg.Track.Since(s.seen)
	_, datagrams := s.cfg.Track.Datagrams(s.seenDatagrams)
	return subgroups == s.seen && datagrams == s.seenDatagrams
}

// finish ends s and resets the streams that it has.
func (c *core) finish(s *subscription, code wire.ResetCode, doneCode wire.PublishDoneCode, reason string) {
	s.over, s.datagrams = true, nil
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
	if s.fetch != nil {
		c.fetches--
	}
	c.enqueue(action{op: opDone, sub: s, doneCode: doneCode, reason: reason, streams: s.opened})
}

// update changes what the subscriber of s gets.
func (c *core) update(now time.Time, s *subscription, u Sub) {
	if s.fetch != nil {
		c.prioritise(s, u.Priority)
		return
	}
	if u.Forward && !s.cfg.Forward {
		s.since, s.object = now, false
	}
	s.cfg.Start, s.cfg.EndGroup, s.cfg.Forward = u.Start, u.EndGroup, u.Forward
	s.cfg.ObjectTimeout, s.cfg.SubgroupTimeout = u.ObjectTimeout, u.SubgroupTimeout
	c.timed = c.timed || s.timed()
	s.passed = s.passed && s.newest >= u.EndGroup
	s.keepDatagrams()
	for i := len(s.streams) - 1; i >= 0; i-- {
		st := s.streams[i]
		switch {
		case st.group > u.EndGroup:
			s.passed = true
			c.drop(st, wire.ResetCancelled)
		case st.group < u.Start.Group:
			c.drop(st, wire.ResetCancelled)
		case !u.Forward && st.state != held:
			// It may be entered again: keep it, without its stream.
			log := st.log
			c.drop(st, wire.ResetCancelled)
			s.streams = slices.Insert(s.streams, i, c.newStream(now, s, log))
		}
	}
	c.prioritise(s, u.Priority)
	c.sync(now, s)
}

// prioritise gives s another subscriber priority.
func (c *core) prioritise(s *subscription, priority uint8) {
	if s.cfg.Priority != priority {
		s.cfg.Priority = priority
		s.class = classOf(priority, uint8(s.class))
		c.classify()
	}
}

// expire takes the subscribers that are too far behind to their newest group.
func (c *core) expire(now time.Time) {
	for i := len(c.subs) - 1; i >= 0; i-- {
		s := c.subs[i]
		if !slices.ContainsFunc(s.streams, func(st *stream) bool { return c.stale(now, st) }) {
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
// has followed always is: there is nothing to go to. Who wants the newest group
// first has no use for late ends of older ones, and would pay for them with the
// end of the newest.
func (c *core) stale(now time.Time, st *stream) bool {
	s := st.sub
	if st.fetch != nil || st.group >= s.newest || !st.behind() {
		return false
	}
	lag := st.lag(now)
	return lag > c.cfg.MaxLag || lag > c.cfg.MinLag &&
		(s.cfg.Order == track.Descending || s.begun-st.age > uint64(c.cfg.MaxLagGroups))
}

// newStream returns a held stream for log.
func (c *core) newStream(now time.Time, s *subscription, log *track.Subgroup) *stream {
	var st *stream
	if n := len(c.free); n > 0 {
		st, c.free = c.free[n-1], c.free[:n-1]
	} else {
		st = new(stream)
	}
	*st = stream{sub: s, log: log, age: s.begun, since: now, chunk: quantum}
	if log != nil {
		st.group = log.Header().Group
	}
	return st
}

// recycle keeps st for newStream. Nothing may refer to it any more.
func (c *core) recycle(st *stream) {
	*st = stream{}
	if len(c.free) < c.cfg.MaxStreams {
		c.free = append(c.free, st)
	}
}

// drop takes st off its subscription, and resets the stream if there is one.
func (c *core) drop(st *stream, code wire.ResetCode) {
	c.forget(st)
	if st.fetch != nil {
		st.fetch.code = code
	}
	if st.state != streaming {
		c.recycle(st)
		return
	}
	c.open--
	c.counts.resets++
	c.takeBack(st)
	c.enqueue(action{op: opReset, stream: st, code: code})
}

// fin takes st off its subscription and ends the stream.
func (c *core) fin(now time.Time, st *stream) {
	s := st.sub
	if st.group < s.newest && s.cfg.Order != track.Descending {
		// Nothing follows on this stream. What the transport still holds of it
		// must not starve behind the newer group, which the subscriber wants
		// later.
		urgency := c.urgencyOf(st.class())
		c.move(st, urgency)
		c.enqueue(action{op: opRank, stream: st, urgency: urgency})
	}
	if st.fetch != nil {
		st.fetch.ok, st.fetch.code = true, 0
	}
	c.forget(st)
	c.open--
	c.counts.fins++
	c.watch(now, st)
	c.enqueue(action{op: opFin, stream: st})
}

func (c *core) forget(st *stream) {
	s := st.sub
	i := slices.Index(s.streams, st)
	s.streams = slices.Delete(s.streams, i, i+1)
}

// classify works out anew which classes there are, and ranks all streams.
func (c *core) classify() {
	c.classes = c.classes[:0]
	for _, s := range c.subs {
		if i, ok := slices.BinarySearch(c.classes, s.class); !ok {
			c.classes = slices.Insert(c.classes, i, s.class)
		}
	}
	for _, s := range c.subs {
		for _, st := range s.streams {
			if st.state == streaming {
				c.rank(st)
			}
		}
	}
}

// rank gives st the urgency that it should have now.
func (c *core) rank(st *stream) {
	urgency := c.urgencyOf(st.class())
	if f := st.fetch; f != nil && !f.raised {
		urgency = min(urgency+1, urgencyOld)
	} else if s := st.sub; st.group < s.newest {
		urgency = urgencyOld
		if s.begun-st.age > 1 {
			urgency = urgencyStale
		}
	}
	if urgency != st.urgency {
		c.move(st, urgency)
		st.urgency = urgency
		c.enqueue(action{op: opRank, stream: st, urgency: urgency})
	}
}

// urgencyOf returns the urgency of the newest groups of a class.
func (c *core) urgencyOf(class uint16) int {
	better, _ := slices.BinarySearch(c.classes, class)
	return min(urgencyFirst+better, urgencyLast)
}
