package egress

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// maxTails is how many streams that have ended are watched at a time. What is
// not watched is left to the transport.
const maxTails = 1024

// timeouts ends what has taken too long, and returns when to look again; zero
// means never.
func (c *core) timeouts(now time.Time) (next time.Time) {
	for i := len(c.subs) - 1; i >= 0; i-- {
		if i >= len(c.subs) {
			continue // subscriptions after it are over, too
		}
		s := c.subs[i]
		if s.fetch != nil {
			if s.fetch.timedOut(now) {
				c.syncFetch(now, s)
			}
			if at, ok := s.fetch.timeout(); ok && !s.over {
				next = earlier(next, at)
			}
			continue
		}
		if s.timed() {
			next = earlier(next, c.expireSubgroups(now, s))
		}
	}
	c.timed = slices.ContainsFunc(c.subs, (*subscription).timed)
	c.tails = slices.DeleteFunc(c.tails, func(st *stream) bool {
		switch {
		case st.due.IsZero():
			return false
		case now.Before(st.due) || !st.ended:
			next = earlier(next, st.due)
			return false
		}
		c.resetTail(st, wire.ResetDeliveryTimeout)
		c.counts.expired++
		return true
	})
	return next
}

// timed reports whether s has something that takes too long after a while.
func (s *subscription) timed() bool {
	return s.fetch != nil || s.cfg.ObjectTimeout > 0 || s.cfg.SubgroupTimeout > 0
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// expireSubgroups resets the streams of s that have taken too long, and returns
// when the next one will have.
func (c *core) expireSubgroups(now time.Time, s *subscription) (next time.Time) {
	for i := len(s.streams) - 1; i >= 0; i-- {
		st := s.streams[i]
		at, ok := st.timeout(now)
		switch {
		case !ok:
		case now.Before(at):
			next = earlier(next, at)
		default:
			c.counts.expired++
			c.drop(st, wire.ResetDeliveryTimeout)
		}
	}
	c.conclude(s)
	return next
}

// timeout returns when st will have taken too long (section 8).
func (st *stream) timeout(now time.Time) (at time.Time, ok bool) {
	s := st.sub
	if st.state == held {
		return time.Time{}, false
	}
	if d := s.cfg.ObjectTimeout; d > 0 && st.behind() {
		if ref, some := st.log.Object(st.log.SearchOffset(st.pos)); some {
			at, ok = later(ref.Arrival, s.since).Add(d), true
		}
	}
	if d := s.cfg.SubgroupTimeout; d > 0 {
		if st.complete.IsZero() {
			if state, _ := st.log.State(); state == track.Complete {
				st.complete = now
			}
		}
		if !st.complete.IsZero() {
			if t := st.complete.Add(d); !ok || t.Before(at) {
				at, ok = t, true
			}
		}
	}
	return at, ok
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// tooLate reports whether what st would send next must not be sent any more.
func (st *stream) tooLate(now time.Time) bool {
	s := st.sub
	if st.fetch != nil || !s.timed() {
		return false
	}
	at, ok := st.timeout(now)
	return ok && !now.Before(at)
}

// watch keeps st, which ends with FIN, for as long as its subgroup timeout may
// still have to reset it.
func (c *core) watch(now time.Time, st *stream) {
	st.due = time.Time{}
	if d := st.sub.cfg.SubgroupTimeout; st.fetch == nil && d > 0 {
		if st.complete.IsZero() {
			st.complete = now
		}
		st.due = st.complete.Add(d)
	}
	if st.due.IsZero() && st.unsent == 0 || len(c.tails) >= maxTails {
		return
	}
	st.state = tail
	c.tails = append(c.tails, st)
}

// resetTail resets a stream after its FIN. The caller takes it off the tails.
func (c *core) resetTail(st *stream, code wire.ResetCode) {
	c.counts.resets++
	c.takeBack(st)
	st.state = streaming // nothing keeps it beyond the reset
	c.enqueue(action{op: opReset, stream: st, code: code})
}

// settleTails lets go of the streams whose data, to all appearance, has arrived.
func (c *core) settleTails(now time.Time, s conn.Stats) {
	c.tails = slices.DeleteFunc(c.tails, func(st *stream) bool {
		if !c.left(now, st, s) {
			return false
		}
		c.recycle(st)
		return true
	})
}

// left reports whether nothing more has to be done for a stream after its FIN:
// all has left, and if it is to be reset should it not arrive, then no packet of
// the connection was lost for four round trips in which the peer was heard.
func (c *core) left(now time.Time, st *stream, s conn.Stats) bool {
	switch {
	case !st.ended || st.unsent > 0 || !c.exact && c.backlog.total() > 0:
		return false
	case st.due.IsZero():
		return true
	case st.quiet.IsZero() || s.PacketsLost != st.mark.PacketsLost:
		st.quiet, st.mark = now, s
		return false
	}
	return now.Sub(st.quiet) >= max(minQuiet, 4*s.SmoothedRTT) && s.BytesReceived != st.mark.BytesReceived
}

// minQuiet is the least time after which data is believed to have arrived. It
// leaves room for a peer that delays its acknowledgements.
const minQuiet = 100 * time.Millisecond
