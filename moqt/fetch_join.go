package moqt

import (
	"slices"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// resumeJoins looks again at the joining FETCHes that wait for something (section
// 10.12.2): the answer to the subscription, or a message that was sent before
// them and is still on its way, since every request has a stream of its own.
func (c *core) resumeJoins() {
	if len(c.joins) == 0 || c.err != nil {
		return
	}
	for _, st := range slices.Clone(c.joins) {
		if f, ok := st.role.(*fetching); ok && f.join != nil {
			c.join(st, f)
		}
	}
}

// join finds the subscription of a joining FETCH and from it the range (section
// 10.12.2.1), unless it has to wait.
func (c *core) join(st *stream, f *fetching) {
	id := f.join.JoiningRequestID
	s, sub := c.subscriptionOf(id)
	switch {
	case s == nil && !f.overdue && id < f.id && id&1 == c.ids.parity && !c.ids.used(id):
		return // a SUBSCRIBE that this FETCH has overtaken
	case s == nil || s.stopped, s.own && !s.live && f.overdue:
		c.refuse(st, wire.RequestInvalidJoiningRequestID, "there is no such subscription")
		return
	case !s.live && (sub.pending || s.own):
		return
	case !s.d.Forward && !f.overdue && c.ids.low < f.id:
		return // a REQUEST_UPDATE that this FETCH has overtaken
	case !s.d.Forward:
		c.refuse(st, wire.RequestInvalidRange, "the subscription does not forward")
		return
	case s.joined == nil:
		c.refuse(st, wire.RequestInvalidRange, "nothing had been published when the subscription began")
		return
	}
	f.name = s.name
	f.rng = track.Range{Start: track.Location{Group: f.join.JoiningStart}, End: after(*s.joined)}
	if f.join.FetchType == wire.FetchRelativeJoining {
		// What would lie before the first group is not there to be asked for.
		f.rng.Start.Group = s.joined.Group - min(s.joined.Group, f.join.JoiningStart)
	}
	f.join = nil
	c.joins = slices.DeleteFunc(c.joins, func(o *stream) bool { return o == st })
	c.timers.Stop(&st.timer)
	c.askFetch(st, f, s.d.Track)
}

// subscriptionOf returns the subscription with this request ID that we are the
// publisher of, nil if there is none.
func (c *core) subscriptionOf(id uint64) (*serving, *stream) {
	for _, st := range c.served { // the order is of no account, since IDs are unique
		if s, ok := st.role.(*serving); ok && s.id == id {
			return s, st
		}
	}
	return nil, nil
}
