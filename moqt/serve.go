package moqt

import (
	"errors"
	"math"
	"time"

	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A serving is a subscription that we are the publisher of: a SUBSCRIBE of the
// peer or a PUBLISH of ours.
type serving struct {
	id     uint64 // request ID
	name   track.Name
	params wire.Params // of the peer, its updates merged in
	answer func(error) // of our PUBLISH, until it is answered
	own    bool        // our PUBLISH
	offer  *Offer      // what our PUBLISH offers; nil for Publish
	parent *stream     // of the SUBSCRIBE_TRACKS that an offer answers
	of     *tracking
	d      egress.Sub
	// joined is the Joining Location (section 5.1): the largest object that
	// PUBLISH, SUBSCRIBE_OK or the answer to the update that resumed the
	// subscription has told. told is that of the last answer.
	joined, told *wire.Location
	live         bool // the egress has it
	// stopped is set once it ends from our side, with this code and reason.
	stopped bool
	code    wire.PublishDoneCode
	reason  string
}

// openSubscribe takes a SUBSCRIBE (section 10.7).
func (c *core) openSubscribe(st *stream, m wire.Subscribe) {
	switch {
	case c.served[m.Track] != nil:
		c.refuse(st, wire.RequestDuplicateSubscription, "there is a subscription to this track")
		return
	case c.incoming >= c.cfg.Limits.Subscriptions:
		c.refuse(st, wire.RequestExcessiveLoad, "too many subscriptions")
		return
	}
	src, mine := c.source(m.Track.Namespace)
	if src == nil && c.cfg.Handler == nil {
		code := wire.RequestNotSupported
		if mine {
			code = wire.RequestDoesNotExist
		}
		c.refuse(st, code, "no such track")
		return
	}
	c.served[m.Track] = st
	c.incoming++
	c.ask(&serving{id: m.RequestID, name: m.Track, params: m.Params}, st,
		&SubscribeRequest{request: st.req, Name: m.Track, Params: m.Params}, src)
}

// source returns what was announced for exactly ns, and whether anything was
// announced at all.
func (c *core) source(ns track.Namespace) (src track.Source, any bool) {
	for _, a := range c.announced {
		if a.ns == ns {
			return a.src, true
		}
	}
	return nil, len(c.announced) > 0
}

func (c *core) acceptSubscribe(sid streamID, t *track.Track) {
	st := c.pendingRequest(sid)
	if st == nil {
		return
	}
	s, ok := st.role.(*serving)
	if !ok {
		return
	}
	at := largest(t)
	d, ok := c.delivery(t, s.params, at)
	if !ok {
		c.refuse(st, wire.RequestInvalidRange, "the end group has been published already")
		return
	}
	d.Alias = c.takeAlias()
	m := wire.SubscribeOK{TrackAlias: d.Alias, Params: wire.Params{LargestObject: c.told(at), Expires: c.lifetime(st)}, Properties: t.Properties()}
	if !fits(m) { // they may come from another session, and are no fault of this one
		c.refuse(st, wire.RequestInternalError, "the track's properties are too large")
		return
	}
	s.d, s.live, s.joined, s.told = d, true, at, at
	c.granted(st, m)
	c.do(actServe{sid, d})
	c.requestGroup(t, s.params)
}

// publish offers a track with PUBLISH (section 10.10).
func (c *core) publish(ev evPublish) {
	s := &serving{name: ev.t.Name(), own: true, answer: ev.answer}
	if err := c.sendPublish(ev.sid, s, ev.t, wire.Params{}, 0); err != nil {
		c.do(actTell{ev.answer, err})
	}
}

// sendPublish sends PUBLISH for t. wait is how long its stream may take to open,
// 0 for as long as an answer may take.
func (c *core) sendPublish(sid streamID, s *serving, t *track.Track, p wire.Params, wait time.Duration) error {
	s.id, s.joined = c.nextID, largest(t)
	s.told = s.joined
	s.d = egress.Sub{Alias: c.nextAlias + 1, Track: t}
	p.LargestObject = s.joined
	m := wire.Publish{RequestID: c.nextID, Track: s.name, TrackAlias: s.d.Alias, Params: p, Properties: t.Properties()}
	switch err := c.refusal(); {
	case err != nil:
		return err
	case c.served[s.name] != nil:
		return &RequestError{Code: wire.RequestDuplicateSubscription, Reason: "the peer is subscribed to this track"}
	case !fits(m):
		return &RequestError{Code: wire.RequestInternalError, Reason: "the track's properties are too large"}
	}
	c.takeAlias()
	c.takeID()
	c.served[s.name] = c.requestWithin(sid, s, m, wait)
	return nil
}

func (c *core) takeAlias() uint64 {
	c.nextAlias++
	return c.nextAlias
}

func (s *serving) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	switch {
	case t == wire.TypeRequestUpdate && (!s.own || s.live):
		return s.update(c, st, body)
	case t == wire.TypeRequestOK && s.answer != nil:
		return s.published(c, st, body)
	case t == wire.TypeRequestError && s.answer != nil:
		e, err := c.requestError(st, body)
		if err != nil {
			return err
		}
		c.finish(st, e)
		return nil
	}
	return violation("%v on the stream of %v", t, st.opener)
}

// published takes the answer to our PUBLISH. What was published since we sent
// it is still cached, so nothing is missing at the start.
func (s *serving) published(c *core, st *stream, body []byte) error {
	m, err := wire.ParseRequestOK(body, wire.TypePublish)
	if err != nil {
		return err
	}
	c.timers.Stop(&st.timer)
	c.do(actCount{st.opener.String(), outcomeOK})
	c.do(actTell{s.answer, nil})
	s.answer = nil
	if s.offer != nil && s.offer.Updated != nil {
		c.do(actTold{s.offer.Updated, m.Params})
	}
	c.requestGroup(s.d.Track, m.Params)
	d, ok := c.delivery(s.d.Track, m.Params, s.joined)
	if !ok {
		s.stop(c, st, wire.PublishDoneSubscriptionEnded, "the end group has been published already")
		return nil
	}
	d.Alias = s.d.Alias
	s.params, s.d, s.live = m.Params, d, true
	c.do(actServe{st.sid, d})
	return nil
}

// update takes a REQUEST_UPDATE of the subscriber (section 10.9.1).
func (s *serving) update(c *core, st *stream, body []byte) error {
	return c.takeUpdate(st, body, func(p wire.Params) *RequestError { return s.apply(c, st, p) })
}

func (s *serving) apply(c *core, st *stream, p wire.Params) *RequestError {
	resumed := p.Forward != nil && *p.Forward && s.params.Forward != nil && !*s.params.Forward
	merge(&s.params, p)
	if st.pending {
		return nil
	}
	at := largest(s.d.Track)
	d, ok := c.delivery(s.d.Track, s.params, at)
	if !ok {
		return &RequestError{Code: wire.RequestInvalidRange, Reason: "the end group has been published already"}
	}
	if s.told = at; resumed {
		s.joined = at
	}
	d.Alias = s.d.Alias
	if p.Filter == nil {
		// The filter stands where it stood, but what was published while it was
		// paused is the past, which a FETCH is for.
		if resumed && s.d.Start.Less(d.Start) {
			s.d.Start = d.Start
		}
		d.Start, d.EndGroup = s.d.Start, s.d.EndGroup
	}
	s.d = d
	c.do(actServeUpdate{st.sid, d})
	c.requestGroup(d.Track, p)
	return nil
}

// requestGroup passes on NEW_GROUP_REQUEST (section 10.2.13).
func (c *core) requestGroup(t *track.Track, p wire.Params) {
	if p.NewGroupRequest != nil {
		c.do(actNewGroup{t, *p.NewGroupRequest})
	}
}

func (s *serving) fin(c *core, st *stream) error {
	if s.answer != nil {
		c.over(st, errNoAnswer)
		c.abandon(st, wire.ResetCancelled)
	}
	return nil // otherwise there will be no more updates, that is all
}

// stop ends the subscription from our side. PUBLISH_DONE follows when every
// stream is closed.
func (s *serving) stop(c *core, st *stream, code wire.PublishDoneCode, reason string) {
	if s.stopped {
		return
	}
	s.stopped, s.code, s.reason = true, code, reason
	if s.live {
		c.do(actServeStop{st.sid, wire.ResetCancelled})
		return
	}
	s.done(c, st, 0)
}

// serveEnded takes the end of what the egress had to send.
func (c *core) serveEnded(ev evServed) {
	st := c.streams[ev.sid]
	if st == nil {
		return
	}
	s, ok := st.role.(*serving)
	if !ok {
		return
	}
	if !s.stopped {
		s.stopped, s.code, s.reason = true, ev.code, ev.reason
	}
	s.live = false
	s.done(c, st, ev.streams)
}

// done ends the stream with PUBLISH_DONE (section 10.11).
func (s *serving) done(c *core, st *stream, streams uint64) {
	c.write(st, wire.PublishDone{Status: s.code, StreamCount: streams, Reason: s.reason})
	c.finish(st, &track.EndError{Code: s.code, Reason: s.reason})
}

func (s *serving) over(c *core, st *stream, cause error) {
	delete(c.served, s.name)
	if s.d.Track != nil && !st.recvDone {
		c.leaving[s.name], st.leaves = st, &s.name
	}
	if !s.own {
		c.incoming--
	}
	if s.live {
		s.live = false
		c.do(actServeStop{st.sid, wire.ResetCancelled})
	}
	if s.offer != nil {
		c.offering--
	}
	switch {
	case s.answer != nil && errors.Is(cause, ErrBlocked):
		c.do(actTell{s.answer, ErrBlocked})
	case s.answer != nil:
		c.do(actTell{s.answer, unanswered(cause)})
	case s.offer != nil && s.offer.Ended != nil:
		c.do(actTell{s.offer.Ended, cause})
	}
}

// delivery works out, but for the alias, what a subscriber with these parameters gets of t, whose
// largest object is at. ok is false if its end group lies in the past.
func (c *core) delivery(t *track.Track, p wire.Params, at *wire.Location) (d egress.Sub, ok bool) {
	d = egress.Sub{
		Track: t, EndGroup: math.MaxUint64,
		Priority: track.DefaultPriority, Order: p.GroupOrder, Forward: true,
	}
	if p.SubscriberPriority != nil {
		d.Priority = *p.SubscriberPriority
	}
	if p.Forward != nil {
		d.Forward = *p.Forward
	}
	if d.Order == wire.GroupOrderUnset {
		d.Order = t.GroupOrder()
	}
	props := t.Properties().Track()
	d.ObjectTimeout = smaller(p.ObjectDeliveryTimeout, props.ObjectDeliveryTimeout)
	d.SubgroupTimeout = smaller(p.SubgroupDeliveryTimeout, props.SubgroupDeliveryTimeout)

	join := track.CurrentGroup
	if c.cfg.JoinStrict {
		join = track.NextObject
	}
	var last track.Location
	if at != nil {
		last = *at
	}
	now := join.Resolve(last, at != nil)
	f := p.Filter
	if f == nil {
		f = &wire.Filter{Type: wire.FilterAbsoluteStart}
	}
	switch f.Type {
	case wire.FilterNextGroupStart:
		d.Start = track.NextGroup.Resolve(last, at != nil)
	case wire.FilterLargestObject:
		d.Start = now
	default:
		// A start in the past is served from the cache, as far as it reaches.
		// {0, 0} is "unfiltered": everything from now on (section 5.1.2).
		d.Start = f.Start
		if f.Start == (track.Location{}) || c.cfg.JoinStrict && d.Start.Less(now) {
			d.Start = now
		}
		if f.Type == wire.FilterAbsoluteRange {
			d.EndGroup = f.EndGroup
		}
	}
	return d, at == nil || at.Group <= d.EndGroup
}

// smaller returns the delivery timeout of a subscription (section 8): the
// smaller one of the subscriber's and the publisher's, of which 0 is none.
func smaller(subscriber *time.Duration, publisher time.Duration) time.Duration {
	switch {
	case subscriber == nil || *subscriber == 0:
		return publisher
	case publisher == 0:
		return *subscriber
	}
	return min(*subscriber, publisher)
}

// merge applies the parameters of an update; those that are absent stay.
func merge(p *wire.Params, u wire.Params) {
	if u.ObjectDeliveryTimeout != nil {
		p.ObjectDeliveryTimeout = u.ObjectDeliveryTimeout
	}
	if u.SubgroupDeliveryTimeout != nil {
		p.SubgroupDeliveryTimeout = u.SubgroupDeliveryTimeout
	}
	if u.Forward != nil {
		p.Forward = u.Forward
	}
	if u.SubscriberPriority != nil {
		p.SubscriberPriority = u.SubscriberPriority
	}
	if u.Filter != nil {
		p.Filter = u.Filter
	}
	if u.NewGroupRequest != nil {
		p.NewGroupRequest = u.NewGroupRequest
	}
}
