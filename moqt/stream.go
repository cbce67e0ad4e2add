package moqt

import (
	"maps"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A stream is a control or request stream.
type stream struct {
	sid      streamID
	buf      []byte // of a message that is not whole yet
	fin      bool   // the peer's half has ended cleanly, behind buf
	recvDone bool
	sendDone bool
	opener   wire.MessageType // what the stream began with; 0: nothing yet
	role     role             // nil: nothing yet
	req      *request         // of a request of the peer
	pending  bool             // a request of the peer, not answered
	updates  int              // REQUEST_UPDATEs that wait for the answer
	goaway   bool             // one was received on it
	moving   bool             // one was sent on it
	started  bool             // of ours: it is open
	asked    []askedUpdate    // in order; they wait for whoever answers the request
	expires  time.Time        // when we end the request; zero: never
	timer    timer
	expiry   timer // of expires
	patience timer // of the GOAWAY that was sent
	whole    timer // of a message that has begun

	leaves *track.Name // its key in core.leaving
	// next offers the track that has the name now of the one that this stream
	// serves, for when the peer has seen the end of that.
	next *evOffer
}

// A role is what a request stream is for.
type role interface {
	// message takes a message that follows the one that opened the stream.
	message(c *core, st *stream, t wire.MessageType, body []byte) error
	// fin takes the clean end of the peer's half.
	fin(c *core, st *stream) error
	// over ends the request. It is called once; the stream is dealt with.
	over(c *core, st *stream, cause error)
}

// byID returns the streams in an order that a replay has, too.
func (c *core) byID() []*stream {
	out := make([]*stream, 0, len(c.streams))
	for _, sid := range slices.Sorted(maps.Keys(c.streams)) {
		out = append(out, c.streams[sid])
	}
	return out
}

// opened takes a new request stream of the peer.
func (c *core) opened(sid streamID) {
	st := &stream{sid: sid}
	c.streams[sid] = st
	// Unanswered requests are bounded; so are those that were not even made.
	if c.unopened() > c.cfg.Limits.Requests {
		c.do(actCount{kindRequest, outcomeLimited})
		c.abandon(st, wire.ResetExcessiveLoad)
		return
	}
	if c.setup != nil {
		c.awaitRequest(st)
	}
}

// unopened counts the peer's streams that have not brought a request yet.
func (c *core) unopened() int {
	n := 0
	for sid, st := range c.streams {
		if sid > 0 && sid != c.control && st.opener == 0 {
			n++
		}
	}
	return n
}

// awaitRequest bounds the time in which the first message has to come.
func (c *core) awaitRequest(st *stream) {
	c.arm(&st.timer, c.cfg.ResponseTimeout, func() error {
		c.abandon(st, wire.ResetCancelled)
		return nil
	})
}

// received takes bytes of a control or request stream.
func (c *core) received(sid streamID, b []byte) error {
	st := c.streams[sid]
	if st == nil || st.recvDone {
		return nil
	}
	if c.held+len(b) > c.cfg.Limits.ControlBytes {
		if sid == c.control {
			return &SessionError{Code: wire.SessionInternalError, Reason: "too many bytes of unfinished messages"}
		}
		c.do(actCount{kindRequest, outcomeLimited})
		c.abandon(st, wire.ResetExcessiveLoad)
		return nil
	}
	st.buf = append(st.buf, b...)
	c.held += len(b)
	return c.drain(st)
}

// drain takes the whole messages in st.buf, and the end of the stream if it
// has come.
func (c *core) drain(st *stream) error {
	if c.setup == nil && st.sid != c.control {
		return nil
	}
	buf := st.buf
	st.buf, c.held = nil, c.held-len(buf)
	rest := buf
	for !st.recvDone {
		t, body, n, err := wire.ParseFrame(rest)
		if err != nil { // the message is not whole, but its type may be wrong
			if v, _, err := wire.ParseVarint(rest); err == nil {
				if err := c.expected(st, wire.MessageType(v)); err != nil {
					return err
				}
			}
			break
		}
		if err := c.expected(st, t); err != nil {
			return err
		}
		if err := c.message(st, t, body); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if st.recvDone {
		return nil
	}
	if len(rest) < len(buf) || len(rest) == 0 {
		c.timers.Stop(&st.whole)
	}
	if len(rest) > 0 { // most streams stay silent from here on and hold nothing
		st.buf, c.held = append(buf[:0], rest...), c.held+len(rest)
		c.awaitRest(st)
	}
	if !st.fin {
		return nil
	}
	if len(rest) > 0 {
		return violation("stream ends inside a message")
	}
	return c.ended(st)
}

// awaitRest bounds the time in which a message that has begun has to be whole.
func (c *core) awaitRest(st *stream) {
	if st.whole.IsSet() || st.role == nil && st.sid != c.control { // awaitRequest bounds the first one
		return
	}
	c.arm(&st.whole, c.cfg.ResponseTimeout, func() error {
		if st.sid == c.control {
			return closing(wire.SessionControlMessageTimeout, "half a message on the control stream for %v", c.cfg.ResponseTimeout)
		}
		c.over(st, &RequestError{Code: wire.RequestTimeout, Reason: "half a message"})
		c.abandon(st, wire.ResetCancelled)
		return nil
	})
}

// expected checks a message's type as soon as it is known.
func (c *core) expected(st *stream, t wire.MessageType) error {
	switch {
	case !t.Known():
		return violation("unknown message type %v", t)
	case st.sid == c.control:
		if c.setup == nil && t != wire.TypeSetup || c.setup != nil && t != wire.TypeGoaway {
			return violation("%v on the control stream", t)
		}
	case st.role == nil && !t.OpensRequest():
		return violation("request stream begins with %v", t)
	}
	return nil
}

func (c *core) message(st *stream, t wire.MessageType, body []byte) error {
	switch {
	case t == wire.TypeSetup && st.sid == c.control:
		return c.receiveSetup(body)
	case t == wire.TypeGoaway:
		return c.receiveGoaway(st, body)
	case st.role == nil:
		return c.open(st, t, body)
	}
	return st.role.message(c, st, t, body)
}

// finished takes the FIN of a control or request stream.
func (c *core) finished(sid streamID) error {
	st := c.streams[sid]
	if st == nil || st.recvDone {
		return nil
	}
	if sid == c.control {
		return violation("control stream closed")
	}
	st.fin = true
	return c.drain(st)
}

// ended takes the clean end of the peer's half, all messages before it taken.
func (c *core) ended(st *stream) error {
	st.recvDone = true
	if st.role == nil { // it brought nothing
		c.abandon(st, wire.ResetCancelled)
		return nil
	}
	if err := st.role.fin(c, st); err != nil {
		return err
	}
	c.reap(st)
	return nil
}

// aborted takes a reset of the peer's half of a stream, or its wish that we
// stop ours. Either cancels the request (section 3.3.2).
func (c *core) aborted(sid streamID, code wire.ResetCode, recv bool) error {
	if sid == c.control || sid == ownControl {
		return violation("control stream cancelled")
	}
	st := c.streams[sid]
	if st == nil {
		return nil
	}
	if recv {
		st.recvDone = true
	} else {
		c.do(actReset{sid, code})
		st.sendDone = true
	}
	if !recv && !st.stoppable() {
		c.reap(st)
		return nil
	}
	c.over(st, &StreamError{Code: code, Remote: true})
	c.abandon(st, wire.ResetCancelled)
	return nil
}

// stoppable reports whether the peer cancels the request by stopping our half.
// One whose answer we wait for, or who sends us a track, may just not read any
// further: its own half tells, though perhaps later, how the request ends.
func (st *stream) stoppable() bool {
	switch r := st.role.(type) {
	case *feed, *watch, *askingTracks, *announced, *fetch, *inquiry:
		return false
	case *serving:
		return r.answer == nil
	}
	return true
}

// failed takes the failure of one of our streams.
func (c *core) failed(ev evFailed) error {
	if ev.sid == ownControl {
		return &SessionError{Code: wire.SessionControlMessageTimeout, Reason: "control stream is blocked"}
	}
	if st := c.streams[ev.sid]; st != nil {
		if s, ok := st.role.(*serving); ok && s.offer != nil && !st.started { // the peer grants no stream
			c.block(s)
			ev.err = ErrBlocked
		}
		c.over(st, ev.err)
		c.abandon(st, wire.ResetExcessiveLoad)
	}
	return nil
}

// over ends the request of st, if it has not ended.
func (c *core) over(st *stream, cause error) {
	c.settle(st)
	c.timers.Stop(&st.timer)
	c.timers.Stop(&st.expiry)
	c.timers.Stop(&st.patience)
	st.asked = nil
	r := st.role
	st.role = closedRole{}
	if r != nil {
		r.over(c, st, cause)
	}
	if st.req != nil {
		c.do(actOver{st.req, cause})
		st.req = nil
	}
}

// settle counts a request of the peer as answered.
func (c *core) settle(st *stream) {
	if st.pending {
		st.pending = false
		c.unanswered--
	}
}

// abandon cuts what is left of st in both directions and forgets it. The
// request on it is over.
func (c *core) abandon(st *stream, code wire.ResetCode) {
	c.over(st, &StreamError{Code: code})
	if !st.sendDone {
		c.do(actReset{st.sid, code})
	}
	if !st.recvDone {
		c.do(actStop{st.sid, code})
	}
	st.sendDone, st.recvDone = true, true
	c.reap(st)
}

// finish ends our half of st cleanly. What the peer still sends is ignored, for
// a while.
func (c *core) finish(st *stream, cause error) {
	c.over(st, cause)
	if !st.sendDone {
		c.do(actFin{st.sid})
		st.sendDone = true
	}
	if !st.recvDone {
		c.awaitClose(st)
	}
	c.reap(st)
}

// overtaken is how long the peer may take to close the stream of a track that has
// ended while the next one of its name waits to be offered.
const overtaken = time.Second

// awaitClose gives the peer some time to close its half of st.
func (c *core) awaitClose(st *stream) {
	wait := c.cfg.ResponseTimeout
	if st.next != nil {
		wait = min(wait, overtaken)
	}
	c.arm(&st.timer, wait, func() error {
		c.abandon(st, wire.ResetCancelled)
		return nil
	})
}

// reap forgets st once both halves are done and nothing depends on it.
func (c *core) reap(st *stream) {
	if !st.sendDone || !st.recvDone {
		return
	}
	if _, closed := st.role.(closedRole); !closed {
		return
	}
	c.timers.Stop(&st.timer)
	c.timers.Stop(&st.whole)
	c.held -= len(st.buf)
	st.buf = nil
	delete(c.streams, st.sid)
	c.do(actForget{st.sid})
	c.left(st)
}

// write sends a message. One that is too large has been ruled out before.
func (c *core) write(st *stream, m wire.Message) {
	if st.sendDone {
		return
	}
	b, err := wire.AppendMessage(nil, m)
	if err != nil {
		c.close(&SessionError{Code: wire.SessionInternalError, Reason: m.Type().String() + ": " + err.Error()})
		return
	}
	c.do(actWrite{st.sid, b})
}

// closedRole is the role of a stream whose request is over.
type closedRole struct{}

func (closedRole) message(*core, *stream, wire.MessageType, []byte) error { return nil }
func (closedRole) fin(*core, *stream) error                               { return nil }
func (closedRole) over(*core, *stream, error)                             {}
