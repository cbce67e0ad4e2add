package egress

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// What happens to a core.
type eventKind uint8

const (
	evAdded    eventKind = iota // sub
	evUpdated                   // sub, update
	evRemoved                   // sub, code
	evDirty                     // sub: something changed on its track
	evMeasured                  // stats
	evOpened                    // stream, result: of the last action
	evWrote                     // stream, result, n: of the last action
)

// An event is what a core is told.
type event struct {
	kind   eventKind
	result result
	sub    *subscription
	stream *stream
	n      int
	exact  bool // of evOpened: the stream tells what has left
	code   wire.ResetCode
	update *Sub
	stats  conn.Stats
}

// A result is how the transport took an action.
type result uint8

const (
	resultOK      result = iota
	resultBlocked        // no credit now
	resultStopped        // the peer wants no more of this stream
)

// What a core wants done.
type opcode uint8

const (
	opSleep    opcode = iota // nothing until the next event, or until a time
	opOpen                   // stream: open it and tell the result
	opWrite                  // stream, data: write all or nothing and tell the result
	opRank                   // stream, urgency
	opFin                    // stream
	opReset                  // stream, code
	opDatagram               // data
	opDone                   // sub, doneCode, reason, streams: it is over
)

// An action is one thing to do. It is valid until the next call of next.
type action struct {
	op       opcode
	boundary bool // of a write: it ends where a reset must not cut
	shared   bool // of a write: data never changes
	urgency  int
	stream   *stream
	sub      *subscription
	data     []byte // part of a log, or of the stream's own bytes
	code     wire.ResetCode
	doneCode wire.PublishDoneCode
	reason   string
	streams  uint64
	until    time.Time // zero: no limit
}

const (
	// quantum is how much a subscription may write before one of the same
	// class has its turn, and the most that one write takes: a key frame cannot
	// hold up what is more urgent.
	quantum = 16 << 10
	// leastWrite is the smallest write that is tried at once after a larger one
	// was refused.
	leastWrite = 256
)

// A core decides what a connection sends next. It has no goroutine,
// clock, lock or I/O: handle takes what happened, next says what to do. Given
// the same calls, and tracks that do the same, it says the same.
//
// The order of the decisions is: expire what is too far behind, admit waiting
// subgroups to streams, rank what has data, fill the transport up to its limit.
type core struct {
	cfg     Config
	now     time.Time // of the call at hand
	subs    []*subscription
	turn    int // index in subs of who is next among equals
	queue   []action
	taken   int     // of queue, by next
	spent   *stream // of the last action; nothing refers to it any more
	free    []*stream
	classes []uint16 // of the subscriptions, ascending, each once
	backlog backlog
	counts  counts
	waits   []wait // since the last count

	estimator estimator

	open     int       // streams
	fetches  int       // subscriptions that are a fetch
	lastID   uint64    // of a stream
	starved  bool      // there was no stream credit at the last try
	parked   bool      // some stream is parked
	retry    time.Time // when parked streams and stream credit are tried again
	parkedAt time.Time // when the last stream was parked
	expireAt time.Time // when to look for what is too far behind

	timed     bool      // some subscription has a timeout
	timeoutAt time.Time // when something has taken too long; zero: never
	tails     []*stream // that have ended with FIN and may have to be reset
	exact     bool      // the transport tells what has left
	handed    []*stream // with unsent bytes, if exact
	asked     []*stream // the last answer of inTransport
	datagram  []byte    // the last one, its memory used again
	grams     bool      // some subscription may have datagrams that wait
}

func newCore(cfg Config) *core {
	cfg = cfg.withDefaults()
	return &core{cfg: cfg, backlog: newBacklog(cfg)}
}

// handle takes one event.
func (c *core) handle(now time.Time, ev event) {
	c.now = now
	switch ev.kind {
	case evAdded:
		c.subs = append(c.subs, ev.sub)
		ev.sub.since = now
		c.timed = c.timed || ev.sub.timed()
		if ev.sub.fetch != nil {
			c.openFetch(now, ev.sub)
		}
		c.classify()
		c.sync(now, ev.sub)
	case evUpdated:
		if !ev.sub.over {
			c.update(now, ev.sub, *ev.update)
		}
	case evRemoved:
		c.endTails(ev.sub, ev.code)
		if !ev.sub.over {
			c.finish(ev.sub, ev.code, wire.PublishDoneSubscriptionEnded, "the subscription was cancelled")
		}
	case evDirty:
		if !ev.sub.over {
			c.sync(now, ev.sub)
		}
	case evMeasured:
		c.backlog.measure(now, ev.stats)
		if c.estimator.measure(now, ev.stats, c.backlog.waiting) {
			c.counts.rate = c.estimator.Rate
		}
		if len(c.tails) > 0 {
			c.settleTails(now, ev.stats)
		}
	case evOpened:
		c.exact = c.exact || ev.exact
		c.backlog.exact = c.exact
		c.opened(now, ev.stream, ev.result)
	case evWrote:
		c.wrote(now, ev.stream, ev.result, ev.n)
	}
}

// next returns what to do now. After opOpen and opWrite the result must
// be handled before next is called again.
func (c *core) next(now time.Time) action {
	c.now = now
	if c.spent != nil {
		c.recycle(c.spent)
		c.spent = nil
	}
	if (c.parked || c.starved) && !now.Before(c.retry) {
		c.unpark()
	}
	if !c.expireAt.IsZero() && !now.Before(c.expireAt) {
		c.expireAt = time.Time{}
		c.expire(now)
	}
	if !c.timeoutAt.IsZero() && !now.Before(c.timeoutAt) {
		c.timeoutAt = c.timeouts(now)
	}
	if a, ok := c.dequeue(); ok {
		return a
	}
	if st := c.admit(now); st != nil {
		return action{op: opOpen, stream: st}
	}
	return c.fill(now)
}

func (c *core) enqueue(a action) { c.queue = append(c.queue, a) }

func (c *core) dequeue() (action, bool) {
	if c.taken == len(c.queue) {
		return action{}, false
	}
	a := c.queue[c.taken]
	c.queue[c.taken] = action{}
	if c.taken++; c.taken == len(c.queue) {
		c.queue, c.taken = c.queue[:0], 0
	}
	switch {
	case a.op == opFin && a.stream.state == tail:
		a.stream.ended = true
	case a.op == opFin || a.op == opReset:
		c.spent = a.stream
	}
	return a, true
}

// sleep returns the action for when there is nothing to do. waiting says that
// there is data which the limit holds back.
func (c *core) sleep(now time.Time, waiting bool) action {
	if c.timed || len(c.tails) > 0 {
		c.timeoutAt = c.timeouts(now)
		if a, ok := c.dequeue(); ok {
			return a
		}
	}
	a := action{op: opSleep}
	if c.parked || c.starved {
		a.until = c.retry
	}
	c.backlog.waiting = waiting
	if waiting {
		if t := now.Add(c.backlog.pause()); a.until.IsZero() || t.Before(a.until) {
			a.until = t
		}
	}
	if c.expireAt.IsZero() {
		c.expireAt = a.until // whoever is held back may fall behind
	}
	a.until = earlier(a.until, c.timeoutAt)
	return a
}

// park has the core try again in a tick.
func (c *core) park(now time.Time) {
	if !c.parked && !c.starved {
		c.retry = now.Add(c.cfg.Tick)
	}
}

func (c *core) unpark() {
	c.starved = false
	c.unparkStreams()
}

func (c *core) unparkStreams() {
	c.parked = false
	for _, s := range c.subs {
		for _, st := range s.streams {
			st.parked = false
		}
	}
}

// admit returns the waiting subgroup that gets the next stream, nil if there is
// none or no stream. What has to wait, sync drops when a newer group comes, but
// for messages; those get what the newest groups leave.
func (c *core) admit(now time.Time) (best *stream) {
	if c.starved || c.open >= c.cfg.MaxStreams {
		return nil
	}
	for _, s := range c.subs {
		for _, st := range s.streams {
			if st.state == waiting && (best == nil || st.admittedBefore(now, best)) {
				best = st
			}
		}
	}
	return best
}

// admittedBefore reports whether st gets a stream before other. Of one class,
// subgroups come before fetches that have not waited for long, and then the
// subscription whose last stream is the oldest: where streams are short, all
// get some.
func (st *stream) admittedBefore(now time.Time, other *stream) bool {
	if st.spare != other.spare && st.class() == other.class() {
		return other.spare
	}
	if st.sub == other.sub || st.class() != other.class() {
		return st.before(other)
	}
	if a, b := st.fetch != nil, other.fetch != nil; a != b {
		if a {
			return now.Sub(st.since) >= fetchPatience
		}
		return now.Sub(other.since) < fetchPatience
	}
	return st.sub.lastID < other.sub.lastID
}

// opened takes the result of opOpen.
func (c *core) opened(now time.Time, st *stream, result result) {
	s := st.sub
	if result != resultOK {
		c.park(now)
		c.starved = true
		c.block(now, s)
		return
	}
	s.blocked = time.Time{}
	st.state = streaming
	c.lastID++
	st.id, s.lastID = c.lastID, c.lastID
	s.opened++
	c.open++
	c.counts.opened++
	c.rank(st)
	if st.fetch == nil {
		c.settle(now, st)
	}
}

// fill returns the next write, or sleep.
func (c *core) fill(now time.Time) action {
	for {
		st := c.pick()
		if s, i, class := c.pickDatagram(now); s != nil && (st == nil || class <= st.class()) {
			urgency := c.urgencyOf(class)
			if !c.backlog.room(urgency) {
				return c.sleep(now, true)
			}
			return c.sendDatagram(s, i, urgency)
		}
		if st == nil {
			return c.sleep(now, false)
		}
		if st.tooLate(now) {
			c.counts.expired++
			c.drop(st, wire.ResetDeliveryTimeout)
			c.conclude(st.sub)
			if a, ok := c.dequeue(); ok {
				return a
			}
			continue
		}
		if !c.backlog.room(st.urgency) {
			return c.sleep(now, true)
		}
		if data, boundary := st.data(); len(data) > 0 {
			return action{op: opWrite, stream: st, data: data, boundary: boundary, shared: len(st.head) == 0}
		}
		c.settle(now, st) // evicted
		if a, ok := c.dequeue(); ok {
			return a
		}
	}
}

// pick returns the stream whose data goes next: by class, then by deficit round
// robin among subscriptions of the same class, then by the subscription's own
// order. Fetches of the class go last, but for their share.
func (c *core) pick() *stream {
	var best *stream
	var least uint32
	at := 0
	for i := range c.subs {
		if i += c.turn; i >= len(c.subs) {
			i -= len(c.subs)
		}
		st := c.subs[i].best()
		if st == nil {
			continue
		}
		if rank := st.rankOf(); best == nil || rank < least {
			best, least, at = st, rank, i
		}
	}
	if best == nil {
		return nil
	}
	if s := best.sub; s.deficit <= 0 {
		s.deficit += quantum
	}
	c.turn = at
	return best
}

// wrote takes the result of opWrite.
func (c *core) wrote(now time.Time, st *stream, result result, n int) {
	s := st.sub
	switch result {
	case resultOK:
		s.blocked = time.Time{}
		c.begin(now, st)
		st.advance(n)
		c.counts.bytes += uint64(n)
		c.handOver(now, st, n)
		if c.parked && now.Sub(c.parkedAt) >= minPause {
			// There is room again, and what is more urgent may want it.
			c.unparkStreams()
		}
		if st.fetch != nil {
			c.spend(st, n)
		} else if c.fetches > 0 {
			c.owe(st.class(), n)
		}
		if s.deficit -= n; s.deficit <= 0 {
			c.turn = (slices.Index(c.subs, s) + 1) % len(c.subs)
		}
		if st.fetch != nil {
			c.syncFetch(now, s)
			return
		}
		c.settle(now, st)
	case resultBlocked:
		// There may be credit for less.
		st.chunk = max(1, min(st.chunk, n)/4)
		if st.chunk < leastWrite {
			c.park(now)
			c.parked, st.parked, c.parkedAt = true, true, now
			c.block(now, s)
		}
	case resultStopped:
		c.counts.stops++
		c.drop(st, wire.ResetCancelled)
		c.conclude(s)
	}
}

// maxWaits bounds what is noted until somebody counts.
const maxWaits = 256

// begin notes how long the first bytes of a subgroup, and of its subscription,
// were waited for. They are about to be taken off st.
func (c *core) begin(now time.Time, st *stream) {
	if st.fetch != nil || st.object || len(st.head)+len(st.first) > 0 {
		return
	}
	st.object = true
	if len(c.waits) >= maxWaits {
		return
	}
	c.waits = append(c.waits, wait{time: st.lag(now)})
	if !st.sub.object {
		st.sub.object = true
		c.waits = append(c.waits, wait{first: true, time: now.Sub(st.sub.since)})
	}
}

// block notes that s has data and no credit, and ends s when that lasts.
func (c *core) block(now time.Time, s *subscription) {
	if s.blocked.IsZero() {
		s.blocked = now
	}
	if now.Sub(s.blocked) >= c.cfg.Stall {
		c.counts.stalls++
		c.finish(s, wire.ResetTooFarBehind, wire.PublishDoneTooFarBehind, "no flow control credit for "+c.cfg.Stall.String())
	}
}

// settle ends a stream whose log is at its end.
func (c *core) settle(now time.Time, st *stream) {
	s := st.sub
	switch end, code := st.end(); {
	case end == goesOn:
		return
	case end == cutShort:
		c.drop(st, code)
	case st.state == streaming:
		c.fin(now, st)
	}
	c.conclude(s)
}
