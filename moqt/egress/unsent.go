package egress

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// This file keeps account of what is with the transport and has not left. Where
// streams tell that themselves (conn.Unsender), the account is theirs, stream by
// stream; else backlog estimates it.

// minStuck is the least time after which a stream that sends nothing is looked
// at: longer than a transport paces.
const minStuck = 100 * time.Millisecond

// handOver counts n bytes of st as with the transport.
func (c *core) handOver(now time.Time, st *stream, n int) {
	if !c.exact {
		c.backlog.wrote(n, st.urgency, st.id)
		return
	}
	if st.unsent == 0 {
		st.moved, st.mark = now, c.backlog.last
		c.handed = append(c.handed, st)
	}
	st.unsent += n
	c.backlog.ahead[st.urgency].bytes += n
}

// move counts what st has with the transport at another urgency.
func (c *core) move(st *stream, urgency int) {
	switch {
	case !c.exact:
		c.backlog.rank(st.urgency, urgency, st.id)
	case !st.stuck:
		c.backlog.ahead[st.urgency].bytes -= st.unsent
		c.backlog.ahead[urgency].bytes += st.unsent
	}
	if c.exact {
		if urgency < st.urgency {
			st.moved, st.mark = c.now, c.backlog.last // what left until now did not pass it over
		}
		st.urgency = urgency
	}
}

// takeBack forgets what st has with the transport, because it is reset.
func (c *core) takeBack(st *stream) {
	if !c.exact {
		c.backlog.reset(st.urgency, st.id)
		return
	}
	c.account(st, 0)
	st.stuck = false
}

// account has st have n bytes with the transport.
func (c *core) account(st *stream, n int) {
	if !st.stuck {
		c.backlog.ahead[st.urgency].bytes += n - st.unsent
	}
	if st.unsent > 0 && n == 0 {
		c.handed = slices.DeleteFunc(c.handed, func(o *stream) bool { return o == st })
	}
	st.unsent = n
}

// inTransport returns the streams of which to tell what has not left.
func (c *core) inTransport() []*stream {
	c.asked = append(c.asked[:0], c.handed...)
	return c.asked
}

// measured takes how much of st has not left yet.
//
// A stream of which nothing leaves although its turn has come is out of flow
// control credit: its viewer does not read it. What it has with the transport
// takes nobody's turn, so it does not count, or it would keep the rest of the
// connection from being sent. It gets no more until some of it has left.
func (c *core) measured(now time.Time, st *stream, n int) {
	s := c.backlog.last
	switch {
	case n < st.unsent:
		if st.stuck {
			st.stuck = false
			c.backlog.ahead[st.urgency].bytes += st.unsent
		}
		c.account(st, n)
		st.moved, st.shrunk, st.left, st.mark = now, now, st.urgency, s
	case !st.stuck && now.Sub(st.moved) >= max(minStuck, 3*s.SmoothedRTT) && c.passedOver(st, s):
		c.backlog.ahead[st.urgency].bytes -= st.unsent
		st.stuck = true
	}
	if st.stuck && st.state == streaming {
		c.park(now)
		c.parked = true
		c.block(now, st.sub)
	}
}

// passedOver reports whether the turn of st has come since something of it left:
// the peer was heard, so that there was room for more on the path, and what
// comes after it was sent, or nothing is left that comes before it and less was
// sent than there was room for. (A slow path alone sends less than its window
// says while that has not shrunk yet.)
func (c *core) passedOver(st *stream, s conn.Stats) bool {
	if s.BytesReceived == st.mark.BytesReceived {
		return false
	}
	ahead := false
	for _, o := range c.handed {
		if o == st {
			continue
		}
		if o.shrunk.After(st.moved) && st.goesBefore(o.left, o.id) {
			return true
		}
		ahead = ahead || !o.stuck && o.unsent > 0 && !st.goesBefore(o.urgency, o.id)
	}
	return !ahead && s.BytesSent-st.mark.BytesSent < s.CongestionWindow/2
}

// goesBefore reports whether the transport sends st before the stream id of that
// urgency.
func (st *stream) goesBefore(urgency int, id uint64) bool {
	return st.urgency < urgency || st.urgency == urgency && st.id < id
}

// endTails resets the streams of s that have ended and of which something may
// still be with the transport, because nobody wants it any more.
func (c *core) endTails(s *subscription, code wire.ResetCode) {
	c.tails = slices.DeleteFunc(c.tails, func(st *stream) bool {
		if st.sub != s || !st.ended {
			return false
		}
		c.resetTail(st, code)
		return true
	})
}
