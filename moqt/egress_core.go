package moqt

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// What happens to an egressCore.
type egressEventKind uint8

const (
	egressAdded    egressEventKind = iota // sub
	egressUpdated                         // sub, update
	egressRemoved                         // sub, code
	egressDirty                           // sub: something changed on its track
	egressMeasured                        // stats
	egressOpened                          // stream, result: of the last action
	egressWrote                           // stream, result, n: of the last action
)

// An egressEvent is what an egressCore is told.
type egressEvent struct {
	kind   egressEventKind
	result egressResult
	sub    *egressSubscription
	stream *egressStream
	n      int
	code   wire.ResetCode
	update egressSub
	stats  ConnStats
}

// An egressResult is how the transport took an action.
type egressResult uint8

const (
	egressOK      egressResult = iota
	egressBlocked              // no credit now
	egressStopped              // the peer wants no more of this stream
)

// What an egressCore wants done.
type egressOp uint8

const (
	egressSleep egressOp = iota // nothing until the next event, or until a time
	egressOpen                  // stream: open it and tell the result
	egressWrite                 // stream, data: write all or nothing and tell the result
	egressRank                  // stream, urgency
	egressFin                   // stream
	egressReset                 // stream, code
	egressDone                  // sub, doneCode, reason, streams: it is over
)

// An egressAction is one thing to do. It is valid until the next call of next.
type egressAction struct {
	op       egressOp
	boundary bool // of a write: it ends where a reset must not cut
	urgency  int
	stream   *egressStream
	sub      *egressSubscription
	data     []byte // part of a log, or of the stream's own bytes
	code     wire.ResetCode
	doneCode wire.PublishDoneCode
	reason   string
	streams  uint64
	until    time.Time // zero: no limit
}

const (
	// egressQuantum is how much a subscription may write before one of the same
	// class has its turn, and the most that one write takes: a key frame cannot
	// hold up what is more urgent.
	egressQuantum = 16 << 10
	// egressLeast is the smallest write that is tried at once after a larger one
	// was refused.
	egressLeast = 256
)

// An egressCore decides what a connection sends next. It has no goroutine,
// clock, lock or I/O: handle takes what happened, next says what to do. Given
// the same calls, and tracks that do the same, it says the same.
//
// The order of the decisions is: expire what is too far behind, admit waiting
// subgroups to streams, rank what has data, fill the transport up to its limit.
type egressCore struct {
	cfg     EgressConfig
	subs    []*egressSubscription
	turn    int // index in subs of who is next among equals
	queue   []egressAction
	taken   int           // of queue, by next
	spent   *egressStream // of the last action; nothing refers to it any more
	free    []*egressStream
	classes []uint16 // of the subscriptions, ascending, each once
	backlog egressBacklog
	counts  egressCounts

	open     int       // streams
	lastID   uint64    // of a stream
	starved  bool      // there was no stream credit at the last try
	parked   bool      // some stream is parked
	retry    time.Time // when parked streams and stream credit are tried again
	expireAt time.Time // when to look for what is too far behind
}

func newEgressCore(cfg EgressConfig) *egressCore {
	cfg = cfg.withDefaults()
	return &egressCore{cfg: cfg, backlog: newEgressBacklog(cfg)}
}

// handle takes one event.
func (c *egressCore) handle(now time.Time, ev egressEvent) {
	switch ev.kind {
	case egressAdded:
		c.subs = append(c.subs, ev.sub)
		c.classify()
		c.sync(now, ev.sub)
	case egressUpdated:
		if !ev.sub.over {
			c.update(now, ev.sub, ev.update)
		}
	case egressRemoved:
		if !ev.sub.over {
			c.finish(ev.sub, ev.code, wire.PublishDoneSubscriptionEnded, "the subscription was cancelled")
		}
	case egressDirty:
		if !ev.sub.over {
			c.sync(now, ev.sub)
		}
	case egressMeasured:
		c.backlog.measure(now, ev.stats)
	case egressOpened:
		c.opened(now, ev.stream, ev.result)
	case egressWrote:
		c.wrote(now, ev.stream, ev.result, ev.n)
	}
}

// next returns what to do now. After egressOpen and egressWrite the result must
// be handled before next is called again.
func (c *egressCore) next(now time.Time) egressAction {
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
	if a, ok := c.dequeue(); ok {
		return a
	}
	if st := c.admit(); st != nil {
		return egressAction{op: egressOpen, stream: st}
	}
	return c.fill(now)
}

func (c *egressCore) enqueue(a egressAction) { c.queue = append(c.queue, a) }

func (c *egressCore) dequeue() (egressAction, bool) {
	if c.taken == len(c.queue) {
		return egressAction{}, false
	}
	a := c.queue[c.taken]
	c.queue[c.taken] = egressAction{}
	if c.taken++; c.taken == len(c.queue) {
		c.queue, c.taken = c.queue[:0], 0
	}
	if a.op == egressFin || a.op == egressReset {
		c.spent = a.stream
	}
	return a, true
}

// sleep returns the action for when there is nothing to do. waiting says that
// there is data which the limit holds back.
func (c *egressCore) sleep(now time.Time, waiting bool) egressAction {
	a := egressAction{op: egressSleep}
	if c.parked || c.starved {
		a.until = c.retry
	}
	if waiting {
		if t := now.Add(c.backlog.pause()); a.until.IsZero() || t.Before(a.until) {
			a.until = t
		}
	}
	if c.expireAt.IsZero() {
		c.expireAt = a.until // whoever is held back may fall behind
	}
	return a
}

// park has the core try again in a tick.
func (c *egressCore) park(now time.Time) {
	if !c.parked && !c.starved {
		c.retry = now.Add(c.cfg.Tick)
	}
}

func (c *egressCore) unpark() {
	c.parked, c.starved = false, false
	for _, s := range c.subs {
		for _, st := range s.streams {
			st.parked = false
		}
	}
}

// admit returns the waiting subgroup that gets the next stream, nil if there is
// none or no stream. What has to wait, sync drops when a newer group comes.
func (c *egressCore) admit() (best *egressStream) {
	if c.starved || c.open >= c.cfg.MaxStreams {
		return nil
	}
	for _, s := range c.subs {
		for _, st := range s.streams {
			if st.state == egressWaiting && (best == nil || st.before(best)) {
				best = st
			}
		}
	}
	return best
}

// opened takes the result of egressOpen.
func (c *egressCore) opened(now time.Time, st *egressStream, result egressResult) {
	s := st.sub
	if result != egressOK {
		c.park(now)
		c.starved = true
		c.block(now, s)
		return
	}
	s.blocked = time.Time{}
	st.state = egressStreaming
	c.lastID++
	st.id = c.lastID
	s.opened++
	c.open++
	c.counts.opened++
	c.rank(st)
	c.settle(st)
}

// fill returns the next write, or sleep.
func (c *egressCore) fill(now time.Time) egressAction {
	for {
		st := c.pick()
		if st == nil {
			return c.sleep(now, false)
		}
		if !c.backlog.room(st.urgency) {
			return c.sleep(now, true)
		}
		if data, boundary := st.data(); len(data) > 0 {
			return egressAction{op: egressWrite, stream: st, data: data, boundary: boundary}
		}
		c.settle(st) // evicted
		if a, ok := c.dequeue(); ok {
			return a
		}
	}
}

// pick returns the stream whose data goes next: by class, then by deficit round
// robin among subscriptions of the same class, then by the subscription's own
// order.
func (c *egressCore) pick() *egressStream {
	var best *egressStream
	at := 0
	for i := range c.subs {
		i = (c.turn + i) % len(c.subs)
		st := c.subs[i].best()
		if st != nil && (best == nil || st.class() < best.class()) {
			best, at = st, i
		}
	}
	if best == nil {
		return nil
	}
	if s := best.sub; s.deficit <= 0 {
		s.deficit += egressQuantum
	}
	c.turn = at
	return best
}

// wrote takes the result of egressWrite.
func (c *egressCore) wrote(now time.Time, st *egressStream, result egressResult, n int) {
	s := st.sub
	switch result {
	case egressOK:
		s.blocked = time.Time{}
		st.advance(n)
		c.counts.bytes += uint64(n)
		c.backlog.wrote(n, st.urgency, st.id)
		if s.deficit -= n; s.deficit <= 0 {
			c.turn = (slices.Index(c.subs, s) + 1) % len(c.subs)
		}
		c.settle(st)
	case egressBlocked:
		// There may be credit for less.
		st.chunk = max(1, min(st.chunk, n)/4)
		if st.chunk < egressLeast {
			c.park(now)
			c.parked, st.parked = true, true
			c.block(now, s)
		}
	case egressStopped:
		c.counts.stops++
		c.drop(st, wire.ResetCancelled)
		c.conclude(s)
	}
}

// block notes that s has data and no credit, and ends s when that lasts.
func (c *egressCore) block(now time.Time, s *egressSubscription) {
	if s.blocked.IsZero() {
		s.blocked = now
	}
	if now.Sub(s.blocked) >= c.cfg.Stall {
		c.counts.stalls++
		c.finish(s, wire.ResetTooFarBehind, wire.PublishDoneTooFarBehind, "no flow control credit for "+c.cfg.Stall.String())
	}
}

// settle ends a stream whose log is at its end.
func (c *egressCore) settle(st *egressStream) {
	s := st.sub
	switch end, code := st.end(); {
	case end == egressGoesOn:
		return
	case end == egressCut:
		c.drop(st, code)
	case st.state == egressStreaming:
		c.fin(st)
	}
	c.conclude(s)
}
