package moqt

import (
	"maps"
	"math"
	"slices"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// receiveSetup takes the peer's SETUP (section 10.3), and then what came before
// it on other streams.
func (c *core) receiveSetup(body []byte) error {
	m, err := wire.ParseSetup(body)
	if err != nil {
		return err
	}
	fromClient := !c.info.Client && c.info.Transport == QUIC
	switch {
	case m.Authority != nil && !fromClient:
		return closing(wire.SessionInvalidAuthority, "SETUP with AUTHORITY from a server or on WebTransport")
	case m.Path != nil && !fromClient:
		return closing(wire.SessionInvalidPath, "SETUP with PATH from a server or on WebTransport")
	}
	tokens, err := c.setupTokens(m.Tokens)
	if err != nil {
		return err
	}
	c.setup = &m
	c.timers.Stop(&c.clock)
	ps := PeerSetup{Implementation: m.Implementation, Tokens: tokens, Solicit: c.solicited()}
	if m.Authority != nil {
		ps.Authority = *m.Authority
	}
	if m.Path != nil {
		ps.Path = *m.Path
	}
	c.do(actReady{ps})
	for _, a := range c.announced {
		c.offer(a)
	}
	// Requests and answers that came before it, in order of arrival.
	for _, sid := range slices.Sorted(maps.Keys(c.streams)) {
		st := c.streams[sid]
		if st == nil || sid == c.control {
			continue
		}
		if st.opener == 0 {
			c.awaitRequest(st)
		}
		if err := c.drain(st); err != nil {
			return err
		}
	}
	return nil
}

// solicited reports whether the peer wants to hear of namespaces only when it
// asks. It is valid once SETUP has come.
func (c *core) solicited() bool {
	kv, ok := c.setup.Option(optionSolicit)
	return ok && kv.Uint == 1
}

// sendGoaway sends GOAWAY on our control stream (section 10.4).
func (c *core) sendGoaway(ev evGoaway) {
	if c.goawaySent {
		return
	}
	c.goawaySent = true
	id := c.ids.next()
	c.write(&stream{sid: ownControl}, wire.Goaway{NewSessionURI: ev.uri, Timeout: ev.timeout, RequestID: &id})
	if ev.timeout <= 0 {
		return
	}
	c.arm(&c.goawayClock, ev.timeout, func() error {
		for _, st := range c.streams {
			if _, closed := st.role.(closedRole); st.role != nil && !closed {
				return closing(wire.SessionGoawayTimeout, "requests are still open %v after GOAWAY", ev.timeout)
			}
		}
		return closing(wire.SessionNoError, "moved after GOAWAY")
	})
}

// receiveGoaway takes a GOAWAY, for the session or for one request.
func (c *core) receiveGoaway(st *stream, body []byte) error {
	control := st.sid == c.control
	if !control && st.role == nil {
		return violation("request stream begins with GOAWAY")
	}
	m, err := wire.ParseGoaway(body, control)
	switch {
	case err != nil:
		return err
	case st.goaway:
		return violation("second GOAWAY on a stream")
	case m.NewSessionURI != "" && !c.info.Client:
		return violation("a client's GOAWAY names a URI")
	case control && *m.RequestID&1 != c.nextID&1:
		return closing(wire.SessionInvalidRequestID, "GOAWAY names request %d, which is not ours", *m.RequestID)
	}
	st.goaway = true
	if control {
		c.goawayReceived = true
		c.do(actDrain{m})
		return nil
	}
	if st.sid < 0 { // a request of the peer is the peer's to ask again
		c.moveRequest(st, m)
	}
	return nil
}

// moveRequest ends a request of ours that the peer wants to be asked elsewhere,
// so that whoever made it asks again (section 10.4): at once where no media flows,
// else when the peer's patience ends. An announcement that was accepted stays;
// tracks are subscribed to without it.
func (c *core) moveRequest(st *stream, m wire.Goaway) {
	const reason = "the peer has sent GOAWAY for the request"
	switch r := st.role.(type) {
	case *feed:
		if r.live && r.done != nil {
			return // it ends already
		}
		if r.live {
			if r.moved != nil {
				c.do(actMoved{r.moved, m.NewSessionURI, m.Timeout})
			}
			c.arm(&st.timer, m.Timeout, func() error {
				c.over(st, &track.EndError{Code: wire.PublishDoneGoingAway, Reason: reason})
				c.abandon(st, wire.ResetCancelled)
				return nil
			})
			return
		}
	case *serving:
		if r.stopped {
			return
		}
		if r.live {
			c.arm(&st.timer, m.Timeout, func() error {
				r.stop(c, st, wire.PublishDoneGoingAway, reason)
				return nil
			})
			return
		}
	case *announced:
		if r.reply == nil {
			return
		}
	case *fetch:
		if r.ok {
			c.arm(&st.timer, m.Timeout, func() error {
				c.over(st, &StreamError{Code: wire.ResetGoingAway, Remote: true})
				c.abandon(st, wire.ResetCancelled)
				return nil
			})
			return
		}
	case closedRole:
		return
	}
	e := &RequestError{Code: wire.RequestGoingAway, Reason: reason}
	if m.NewSessionURI != "" {
		e.Redirect = &wire.Redirect{ConnectURI: m.NewSessionURI}
	}
	c.over(st, e)
	c.abandon(st, wire.ResetCancelled)
}

// requestIDs checks the request IDs of the peer (section 10.1): of its parity,
// each once. They may arrive in any order, and some never.
type requestIDs struct {
	parity uint64
	low    uint64 // the smallest that was not used
	high   uint64 // the largest that was used, plus 2; 0 before
	ahead  map[uint64]struct{}
	full   bool // there is none left
}

// maxAhead bounds the IDs that are remembered one by one. Beyond it, the
// smallest missing ones count as used.
const maxAhead = 1024

func (r *requestIDs) take(id uint64) error {
	_, dup := r.ahead[id]
	if id&1 != r.parity || dup || id < r.low || r.full {
		return closing(wire.SessionInvalidRequestID, "request ID %d has the wrong parity or was used before", id)
	}
	r.high = max(r.high, id)
	if r.ahead == nil {
		r.ahead = make(map[uint64]struct{})
	}
	r.ahead[id] = struct{}{}
	if len(r.ahead) > maxAhead {
		r.low = math.MaxUint64
		for id := range r.ahead {
			r.low = min(r.low, id)
		}
	}
	for {
		if _, used := r.ahead[r.low]; !used {
			return nil
		}
		delete(r.ahead, r.low)
		if r.low > math.MaxUint64-2 {
			r.full = true
			return nil
		}
		r.low += 2
	}
}

// used reports whether id of the peer was taken, or can no longer be.
func (r *requestIDs) used(id uint64) bool {
	_, ahead := r.ahead[id]
	return ahead || id < r.low || r.full
}

// next returns the smallest ID of the peer that was certainly not used.
func (r *requestIDs) next() uint64 {
	if r.low == r.parity && len(r.ahead) == 0 {
		return r.parity
	}
	if r.high > math.MaxUint64-2 {
		return r.high
	}
	return r.high + 2
}

// told returns largest as the peer can take it. Below version 0.3 @moq/net, with
// which @moq/watch 0.4 plays, reads every parameter of an odd type as bytes with
// a length, as drafts before 17 had it; it fails on a LARGEST_OBJECT (section
// 10.2.11) and has no use for one.
func (c *core) told(largest *wire.Location) *wire.Location {
	if _, later := c.setup.Option(optionHop); c.setup.Implementation == "moq-lite-js" && !later {
		return nil
	}
	return largest
}
