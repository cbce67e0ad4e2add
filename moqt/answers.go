package moqt

import (
	"errors"
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// Refuse refuses the request with REQUEST_ERROR as e says, with its RetryAfter
// and, if the code is REDIRECT, its Redirect.
func (r *request) Refuse(e *RequestError) {
	r.answer(evReject{sid: r.sid, code: e.Code, reason: e.Reason, retry: e.RetryAfter, redirect: e.Redirect})
}

// Redirect refuses a request with REDIRECT: it can succeed at to (section
// 10.6.1). A client cannot name a URI. It is for SUBSCRIBE, FETCH, TRACK_STATUS,
// and for PUBLISH_NAMESPACE and SUBSCRIBE_NAMESPACE without a track's name.
func (r *request) Redirect(to track.Redirect, reason string) {
	r.Refuse(&RequestError{Code: wire.RequestRedirect, Reason: reason, Redirect: &to})
}

// ExpireAt sets when the request ends from our side, such as at the expiry of
// the token that it came with: a subscription of the peer with PUBLISH_DONE
// EXPIRED, any other request with a reset EXPIRED_AUTH_TOKEN. The zero time is
// never. Said before Accept, or from the function of OnUpdate, the peer is told
// of a subscription's end with EXPIRES (section 10.2.10).
func (r *request) ExpireAt(at time.Time) {
	r.mu.Lock()
	r.expires = &at
	r.mu.Unlock()
	r.s.call(evExpire{r.sid, at})
}

// OnUpdate has f called, from the session's loop, for each REQUEST_UPDATE of the
// peer, with the parameters that it has (section 10.9). An error refuses it, as
// a *RequestError says or with UNAUTHORIZED, which ends the request. f must not
// block. Without it every update is granted but one that moves a prefix.
func (r *request) OnUpdate(f func(wire.Params) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.updated = f
}

func (r *request) onUpdate() func(wire.Params) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.updated
}

// Goaway asks the peer to make the request elsewhere (section 10.4): at uri, or
// on the current session's URI if that is empty, which it always is from a
// client. After timeout the request is reset with GOING_AWAY; 0 sets no time.
// One that is not answered yet is refused with GOING_AWAY.
func (r *request) Goaway(uri string, timeout time.Duration) error {
	if err := checkGoaway(uri, r.s.conn.Info().Client); err != nil {
		return err
	}
	r.s.call(evRequestGoaway{r.sid, uri, timeout})
	return nil
}

func checkGoaway(uri string, client bool) error {
	if uri != "" && client {
		return errors.New("moqt: a client's GOAWAY names no URI")
	}
	if len(uri) > wire.MaxURI {
		return fmt.Errorf("moqt: GOAWAY URI of %d bytes, at most %d", len(uri), wire.MaxURI)
	}
	return nil
}

// refuseWith answers a request of the peer with REQUEST_ERROR and FIN.
func (c *core) refuseWith(st *stream, e *RequestError) {
	e = c.refusable(st, e)
	c.do(actCount{st.opener.String(), limited(e.Code == wire.RequestExcessiveLoad, outcomeRefused)})
	c.write(st, errorMessage(e))
	c.finish(st, e)
}

// refusable returns e, or what takes its place if it cannot be said.
func (c *core) refusable(st *stream, e *RequestError) *RequestError {
	if e.Code != wire.RequestRedirect {
		return &RequestError{Code: e.Code, Reason: e.Reason, RetryAfter: e.RetryAfter}
	}
	var to wire.Redirect
	if e.Redirect != nil {
		to = *e.Redirect
	}
	switch st.opener {
	case wire.TypePublishNamespace, wire.TypeSubscribeNamespace, wire.TypeSubscribeTracks:
		to.Track.Name = ""
	}
	r := &RequestError{Code: e.Code, Reason: e.Reason, RetryAfter: e.RetryAfter, Redirect: &to}
	if to.ConnectURI != "" && c.info.Client || !fits(errorMessage(r)) {
		return &RequestError{Code: wire.RequestInternalError, Reason: "the request can only succeed elsewhere"}
	}
	return r
}

func errorMessage(e *RequestError) wire.RequestError {
	m := wire.RequestError{Code: e.Code, Reason: e.Reason, Retry: e.RetryAfter > 0, Redirect: e.Redirect}
	if e.RetryAfter > 1 { // which is how errorOf says "at once"
		m.RetryAfter = e.RetryAfter
	}
	return m
}

// expire takes when a request of the peer is to end.
func (c *core) expire(ev evExpire) {
	st := c.streams[ev.sid]
	if st == nil || st.req == nil {
		return
	}
	st.expires = ev.at
	c.timers.Stop(&st.expiry)
	if ev.at.IsZero() {
		return
	}
	c.at(&st.expiry, ev.at, func() error {
		c.expired(st)
		return nil
	})
}

func (c *core) expired(st *stream) {
	const reason = "the authorization has expired"
	s, serves := st.role.(*serving)
	switch {
	case st.pending:
		c.refuse(st, wire.RequestExpiredAuthToken, reason)
	case serves:
		s.stop(c, st, wire.PublishDoneExpired, reason)
	default:
		c.over(st, &StreamError{Code: wire.ResetExpiredAuthToken})
		c.abandon(st, wire.ResetExpiredAuthToken)
	}
}

// lifetime returns EXPIRES for a subscription, nil if it does not expire.
func (c *core) lifetime(st *stream) *time.Duration {
	if st.expires.IsZero() {
		return nil
	}
	return new(max(st.expires.Sub(c.now), time.Millisecond))
}

// requestGoaway asks for one request to be made elsewhere.
func (c *core) requestGoaway(ev evRequestGoaway) {
	st := c.streams[ev.sid]
	if st == nil || st.req == nil || st.moving {
		return
	}
	st.moving = true
	if st.pending {
		c.refuse(st, wire.RequestGoingAway, "this request belongs elsewhere")
		return
	}
	c.write(st, wire.Goaway{NewSessionURI: ev.uri, Timeout: ev.timeout})
	if ev.timeout > 0 {
		c.arm(&st.patience, ev.timeout, func() error {
			c.over(st, &StreamError{Code: wire.ResetGoingAway})
			c.abandon(st, wire.ResetGoingAway)
			return nil
		})
	}
}

// An askedUpdate is a REQUEST_UPDATE that waits for whoever answers its request.
type askedUpdate struct {
	params wire.Params
	apply  func(wire.Params) *RequestError
}

// takeUpdate takes a REQUEST_UPDATE of the peer. apply makes it so, or says why
// not, once whoever answers the request has agreed.
func (c *core) takeUpdate(st *stream, body []byte, apply func(wire.Params) *RequestError) error {
	m, ok, err := c.parseUpdate(st, body)
	if !ok {
		return err
	}
	f := st.onUpdate()
	if f == nil && st.pending && c.cfg.Handler != nil {
		// It may have come along with its request, which the handler sees first.
		f = st.req.consents
	}
	switch {
	case f == nil:
		c.applyUpdate(st, m.Params, apply)
	case len(st.asked) == maxUpdates:
		c.refuseUpdate(st, wire.RequestExcessiveLoad, "too many updates at a time")
	default:
		st.asked = append(st.asked, askedUpdate{m.Params, apply})
		c.do(actAskUpdate{st.sid, st.req, f, m.Params})
	}
	return nil
}

// consents asks who has to agree to an update at the time that it is called.
func (r *request) consents(p wire.Params) error {
	if f := r.onUpdate(); f != nil {
		return f(p)
	}
	return nil
}

// ask asks whoever has to agree.
func (a actAskUpdate) ask() evUpdateAnswer {
	ev := evUpdateAnswer{sid: a.sid, err: a.f(a.params)}
	if a.req != nil {
		a.req.mu.Lock()
		ev.expires = a.req.expires
		a.req.mu.Unlock()
	}
	return ev
}

// onUpdate returns who has to agree to an update, nil for nobody.
func (st *stream) onUpdate() func(wire.Params) error {
	if st.req != nil {
		return st.req.onUpdate()
	}
	if s, ok := st.role.(*serving); ok && s.offer != nil {
		return s.offer.Updated
	}
	return nil
}

// updateAnswered takes what was said to the oldest update that waits.
func (c *core) updateAnswered(ev evUpdateAnswer) {
	st := c.streams[ev.sid]
	if st == nil || len(st.asked) == 0 {
		return
	}
	next := st.asked[0]
	st.asked = st.asked[1:]
	if _, over := st.role.(closedRole); over {
		return
	}
	if ev.err == nil {
		if ev.expires != nil {
			c.expire(evExpire{ev.sid, *ev.expires})
		}
		c.applyUpdate(st, next.params, next.apply)
		return
	}
	if e, ok := errors.AsType[*RequestError](ev.err); ok {
		c.refuseUpdate(st, e.Code, e.Reason)
		return
	}
	c.refuseUpdate(st, wire.RequestUnauthorized, "not authorized")
}

func (c *core) applyUpdate(st *stream, p wire.Params, apply func(wire.Params) *RequestError) {
	if s, ok := st.role.(*serving); ok && s.stopped {
		return // PUBLISH_DONE is on its way
	}
	if e := apply(p); e != nil {
		c.refuseUpdate(st, e.Code, e.Reason)
		return
	}
	c.grantUpdate(st)
	if w, ok := st.role.(*watching); ok {
		w.announceAnew(c, st)
	}
}
