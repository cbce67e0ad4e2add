package moqt

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// open takes the message that a request stream of the peer begins with.
func (c *core) open(st *stream, t wire.MessageType, body []byte) error {
	m, params, ns, err := parseRequest(t, body)
	if err != nil {
		return err
	}
	if err := c.ids.take(m.ID()); err != nil {
		return err
	}
	tokens, refusal, err := c.tokens.resolve(params.Tokens, false)
	if err != nil {
		return err
	}
	m = withTokens(m, tokens)
	c.timers.Stop(&st.timer)
	st.opener, st.role = t, closedRole{}
	st.req = &request{sid: st.sid}
	st.req.ctx, st.req.end = context.WithCancelCause(context.Background())
	st.pending = true
	c.unanswered++
	switch {
	case c.goawaySent:
		c.refuse(st, wire.RequestGoingAway, "the session is going away")
	case c.unanswered > c.cfg.Limits.Requests:
		c.refuse(st, wire.RequestExcessiveLoad, "too many requests wait for an answer")
	case reserved(ns):
		c.refuse(st, wire.RequestDoesNotExist, "reserved namespace")
	case refusal != nil:
		c.refuseWith(st, refusal)
	default:
		switch m := m.(type) {
		case wire.Subscribe:
			c.openSubscribe(st, m)
		case wire.Publish:
			return c.openPublish(st, m)
		case wire.PublishNamespace:
			c.openPublishNamespace(st, m)
		case wire.SubscribeNamespace:
			c.openSubscribeNamespace(st, m)
		case wire.Fetch:
			c.openFetch(st, m)
		case wire.TrackStatus:
			c.openStatus(st, m)
		case wire.SubscribeTracks:
			c.openSubscribeTracks(st, m)
		default:
			c.refuse(st, wire.RequestNotSupported, t.String()+" is not supported")
		}
	}
	return nil
}

// reserved reports whether nothing exists in ns or below: "." never does, and of
// ".session" no name is defined (sections 3.2.1 and 3.2.2).
func reserved(ns track.Namespace) bool {
	first := ns.First()
	return first == "." || first == ".session"
}

// parseRequest parses a message that opens a request stream, and tells its
// parameters and the namespace it is about.
func parseRequest(t wire.MessageType, body []byte) (wire.Request, wire.Params, track.Namespace, error) {
	switch t {
	case wire.TypeSubscribe:
		m, err := wire.ParseSubscribe(body)
		return m, m.Params, m.Track.Namespace, err
	case wire.TypePublish:
		m, err := wire.ParsePublish(body)
		return m, m.Params, m.Track.Namespace, err
	case wire.TypeFetch:
		m, err := wire.ParseFetch(body)
		return m, m.Params, m.Track.Namespace, err
	case wire.TypeTrackStatus:
		m, err := wire.ParseTrackStatus(body)
		return m, m.Params, m.Track.Namespace, err
	case wire.TypePublishNamespace:
		m, err := wire.ParsePublishNamespace(body)
		return m, m.Params, m.Namespace, err
	case wire.TypeSubscribeNamespace:
		m, err := wire.ParseSubscribeNamespace(body)
		return m, m.Params, m.Prefix, err
	default: // expected lets no other type through
		m, err := wire.ParseSubscribeTracks(body)
		return m, m.Params, m.Prefix, err
	}
}

// ask hands a request to whoever answers it.
func (c *core) ask(r role, st *stream, req any, src track.Source) {
	st.role = r
	c.do(actAsk{req, src})
}

// pendingRequest returns the stream of a request of the peer that is not
// answered yet.
func (c *core) pendingRequest(sid streamID) *stream {
	if st := c.streams[sid]; st != nil && st.pending {
		return st
	}
	return nil
}

// granted sends the answer that accepts a request of the peer, and those to
// the updates that came before it.
func (c *core) granted(st *stream, m wire.Message) {
	c.settle(st)
	c.do(actCount{st.opener.String(), outcomeOK})
	c.write(st, m)
	for ; st.updates > 0; st.updates-- {
		c.write(st, c.updateOK(st))
	}
}

// refuse answers a request of the peer with REQUEST_ERROR and FIN.
func (c *core) refuse(st *stream, code wire.RequestCode, reason string) {
	e := &RequestError{Code: code, Reason: reason}
	switch code {
	case wire.RequestExcessiveLoad, wire.RequestTimeout:
		e.RetryAfter = retryAfter
	}
	c.refuseWith(st, e)
}

// parseUpdate takes a REQUEST_UPDATE of the peer. ok is false if it is dealt
// with: it waits for the answer to its request, or has been refused.
func (c *core) parseUpdate(st *stream, body []byte) (m wire.RequestUpdate, ok bool, err error) {
	if m, err = wire.ParseRequestUpdate(body, st.opener); err != nil {
		return m, false, err
	}
	if err := c.ids.take(m.RequestID); err != nil {
		return m, false, err
	}
	tokens, refusal, err := c.tokens.resolve(m.Params.Tokens, false)
	if err != nil {
		return m, false, err
	}
	m.Params.Tokens = tokens
	return m, !c.refusesUpdate(st, refusal), nil
}

// refusesUpdate refuses an update whose tokens are refused, or one too many.
func (c *core) refusesUpdate(st *stream, tokens *RequestError) bool {
	switch {
	case tokens != nil:
		c.refuseUpdate(st, tokens.Code, tokens.Reason)
	case st.pending && st.updates+len(st.asked) >= maxUpdates:
		c.refuse(st, wire.RequestExcessiveLoad, "too many updates of a request that is not answered")
	default:
		return false
	}
	return true
}

// maxUpdates bounds the updates that wait for the answer to their request.
const maxUpdates = 16

// unchanged is the apply of an update that changes nothing here.
func unchanged(wire.Params) *RequestError { return nil }

// grantUpdate answers a REQUEST_UPDATE, now or right behind the answer to the
// request itself.
func (c *core) grantUpdate(st *stream) {
	if st.pending {
		st.updates++
		return
	}
	c.write(st, c.updateOK(st))
}

// updateOK makes the answer to an update, which for a subscription tells when it
// ends, and the largest object if we serve it (section 10.9.1).
func (c *core) updateOK(st *stream) wire.RequestOK {
	var m wire.RequestOK
	switch r := st.role.(type) {
	case *serving:
		m.Params.Expires = c.lifetime(st)
		if r.d.Track != nil {
			m.Params.LargestObject = c.told(r.told)
		}
	case *feed:
		m.Params.Expires = c.lifetime(st)
	}
	return m
}

// refuseUpdate refuses a REQUEST_UPDATE, which ends its request (section 10.9).
func (c *core) refuseUpdate(st *stream, code wire.RequestCode, reason string) {
	if st.pending { // the request itself has to be answered first
		c.refuse(st, code, reason)
		return
	}
	c.write(st, wire.RequestError{Code: code, Reason: reason})
	if s, ok := st.role.(*serving); ok {
		s.stop(c, st, wire.PublishDoneUpdateFailed, reason)
		return
	}
	c.finish(st, &RequestError{Code: code, Reason: reason})
}

// errNoAnswer is why a request of ours is over whose stream the peer ended.
var errNoAnswer = &RequestError{Code: wire.RequestInternalError, Reason: "the peer closed the stream without an answer"}

// retryAfter is what a request that was refused for load or time is told.
const retryAfter = time.Second

// request makes a stream for a request of ours and sends m on it. The answer
// has to come in time, else the request is over.
func (c *core) request(sid streamID, r role, m wire.Request) *stream {
	return c.requestWithin(sid, r, m, 0)
}

// requestWithin is request for a stream that has to open within wait, unless
// that is 0.
func (c *core) requestWithin(sid streamID, r role, m wire.Request, wait time.Duration) *stream {
	st := &stream{sid: sid, opener: m.Type(), role: r}
	c.streams[sid] = st
	c.do(actOpen{sid, cmp.Or(wait, c.cfg.ResponseTimeout)})
	c.write(st, m)
	c.arm(&st.timer, c.cfg.ResponseTimeout, func() error {
		c.over(st, &RequestError{Code: wire.RequestTimeout, Reason: "no answer to " + m.Type().String()})
		c.abandon(st, wire.ResetCancelled)
		return nil
	})
	return st
}

// unanswered makes the error of a call whose request ended for cause: always a
// *RequestError or a *SessionError.
func unanswered(cause error) error {
	if _, ok := errors.AsType[*RequestError](cause); ok {
		return cause
	}
	if _, ok := errors.AsType[*SessionError](cause); ok {
		return cause
	}
	e := &RequestError{Code: wire.RequestInternalError, Reason: cause.Error()}
	if se, ok := errors.AsType[*StreamError](cause); ok { // the peer gave up without an answer
		switch se.Code {
		case wire.ResetGoingAway:
			e.Code = wire.RequestGoingAway
		case wire.ResetExcessiveLoad:
			e.Code = wire.RequestExcessiveLoad
		case wire.ResetExpiredAuthToken:
			e.Code = wire.RequestExpiredAuthToken
		}
	}
	return e
}

// takeID returns the ID of our next request.
func (c *core) takeID() uint64 {
	id := c.nextID
	c.nextID += 2
	return id
}

// requestError parses a REQUEST_ERROR that answers a request of ours.
func (c *core) requestError(st *stream, body []byte) (*RequestError, error) {
	m, err := wire.ParseRequestError(body, st.opener)
	if err != nil {
		return nil, err
	}
	e, err := c.errorOf(m)
	if err == nil {
		c.do(actCount{st.opener.String(), outcomeRefused})
	}
	return e, err
}

// errorOf makes the error that a REQUEST_ERROR of the peer stands for.
func (c *core) errorOf(m wire.RequestError) (*RequestError, error) {
	if m.Redirect != nil && m.Redirect.ConnectURI != "" && !c.info.Client {
		return nil, violation("a client redirects to a URI")
	}
	e := &RequestError{Code: m.Code, Reason: m.Reason, Redirect: m.Redirect}
	if m.Retry {
		e.RetryAfter = max(m.RetryAfter, 1)
	}
	return e, nil
}

// cancel ends a request from our side.
func (c *core) cancel(ev evCancel) {
	for i, a := range c.announced {
		if a.sid == ev.sid {
			c.withdraw(i)
			break
		}
	}
	st := c.streams[ev.sid]
	if st == nil {
		return
	}
	if s, ok := st.role.(*serving); ok && !st.pending {
		s.stop(c, st, wire.PublishDoneTrackEnded, "no longer published")
		return
	}
	c.abandon(st, ev.code)
}

// refusal returns why no request can be made now, if so.
func (c *core) refusal() error {
	if c.goawayReceived {
		return &RequestError{Code: wire.RequestGoingAway, Reason: "the peer has sent GOAWAY"}
	}
	return nil
}

// fits reports whether m does not exceed what a message may have. Names and
// reasons always fit; properties may not.
func fits(m wire.Message) bool {
	_, err := wire.AppendMessage(nil, m)
	return err == nil
}

// largest returns the largest object of t as a parameter, nil if there is none.
func largest(t *track.Track) *wire.Location {
	if l, ok := t.Largest(); ok {
		return &l
	}
	return nil
}
