package moqt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A feed is a subscription that we are the subscriber of: a SUBSCRIBE of ours
// or a PUBLISH of the peer. It fills a track.
type feed struct {
	st    *stream
	name  track.Name
	alias uint64
	track *track.Track // nil until it is known
	keep  bool         // the track outlives the feed
	ended func(error)  // of SubscribeInto
	// started answers our SUBSCRIBE, once.
	started func(*track.Subscription, error)
	hold    *hold
	moved   func(uri string, timeout time.Duration) // of a GOAWAY for it
	live    bool                                    // accepted: alias is bound to track
	largest *wire.Location                          // of PUBLISH, for the track that it gets
	dynamic bool                                    // the publisher takes NEW_GROUP_REQUEST
	upd     updating

	open map[streamID]struct{} // data streams
	seen uint64                // how many there were
	done *wire.PublishDone     // the publisher will open no more
	late bool                  // and those it opened should have come
}

// subscribe asks for a track with SUBSCRIBE (section 10.7).
func (c *core) subscribe(ev evSubscribe) {
	m := wire.Subscribe{RequestID: c.nextID, Track: ev.name, Params: subscribeParams(ev.opt)}
	err := c.refusal()
	switch {
	case err != nil:
	case !fits(m):
		err = errTokensTooLarge
	case c.feeds[ev.name] != nil:
		err = &RequestError{Code: wire.RequestDuplicateSubscription, Reason: "this session is subscribed to the track"}
	case len(c.feeds)+len(c.offers) >= c.cfg.Limits.Tracks:
		err = &RequestError{Code: wire.RequestExcessiveLoad, Reason: "this session receives too many tracks"}
	}
	if err != nil {
		c.do(actStarted{f: ev.started, err: err})
		return
	}
	f := &feed{
		name: ev.name, track: ev.into, keep: ev.keep, ended: ev.ended, started: ev.started, hold: ev.hold, moved: ev.opt.Moved,
		open: make(map[streamID]struct{}),
	}
	c.feeds[ev.name] = f
	c.takeID()
	f.st = c.request(ev.sid, f, m)
	if ev.opt.Rendezvous > 0 { // the peer may wait so long before it answers
		c.timers.Set(&f.st.timer, f.st.timer.At().Add(ev.opt.Rendezvous))
	}
}

func subscribeParams(o track.SubscribeOptions) wire.Params {
	p := wire.Params{
		GroupOrder: o.GroupOrder, Filter: filter(o.Start, o.EndGroup),
		NewGroupRequest: o.NewGroup, Tokens: byValue(o.Tokens),
	}
	if o.HasPriority {
		p.SubscriberPriority = &o.Priority
	}
	if o.Paused {
		p.Forward = new(false)
	}
	if o.DeliveryTimeout > 0 {
		p.ObjectDeliveryTimeout = &o.DeliveryTimeout
	}
	if o.SubgroupTimeout > 0 {
		p.SubgroupDeliveryTimeout = &o.SubgroupTimeout
	}
	if o.Rendezvous > 0 {
		p.RendezvousTimeout = &o.Rendezvous
	}
	return p
}

// openPublish takes a PUBLISH (section 10.10).
func (c *core) openPublish(st *stream, m wire.Publish) error {
	if other := c.aliases[m.TrackAlias]; other != nil && other.name != m.Track {
		return closing(wire.SessionDuplicateTrackAlias, "track alias %d of %v is that of %v", m.TrackAlias, m.Track, other.name)
	}
	own := c.feeds[m.Track]
	switch {
	case own != nil && own.live, c.offers[m.Track] != nil:
		c.refusePublish(st, m, wire.RequestDuplicateSubscription, "there is a subscription to this track")
	case len(c.feeds)+len(c.offers) >= c.cfg.Limits.Tracks:
		c.refusePublish(st, m, wire.RequestExcessiveLoad, "too many tracks")
	case c.cfg.Handler == nil:
		c.refusePublish(st, m, wire.RequestNotSupported, "PUBLISH is not supported")
	default:
		if t, unknown := m.Properties.Mandatory(); unknown {
			c.refusePublish(st, m, wire.RequestUnsupportedExtension, fmt.Sprintf("mandatory track property %#x", t))
			return nil
		}
		f := &feed{
			st: st, name: m.Track, alias: m.TrackAlias, open: make(map[streamID]struct{}),
			track:   track.New(m.Track, track.Info{Properties: m.Properties}, c.cfg.TrackConfig),
			largest: m.Params.LargestObject,
			dynamic: m.Properties.Track().DynamicGroups,
			hold:    new(hold),
		}
		f.hold.setExpires(c.expiry(m.Params.Expires))
		c.offers[m.Track] = f
		c.aliases[m.TrackAlias] = f
		c.ask(f, st, &PublishRequest{request: st.req, Name: m.Track, Params: m.Params, own: f.track, hold: f.hold}, nil)
	}
	return nil
}

// refusePublish refuses a PUBLISH and the data streams that it announced.
func (c *core) refusePublish(st *stream, m wire.Publish, code wire.RequestCode, reason string) {
	c.refuse(st, code, reason)
	if c.aliases[m.TrackAlias] == nil {
		c.dropAlias(m.TrackAlias)
	}
}

func (c *core) acceptPublish(ev evAcceptPublish) error {
	st := c.pendingRequest(ev.sid)
	if st == nil {
		return nil
	}
	f, ok := st.role.(*feed)
	if !ok {
		return nil
	}
	if own := c.feeds[f.name]; own != nil {
		if own.live {
			c.refuse(st, wire.RequestDuplicateSubscription, "there is a subscription to this track")
			return nil
		}
		// Our SUBSCRIBE crossed the PUBLISH and must end first (section 5.1).
		c.over(own.st, &RequestError{Code: wire.RequestDuplicateSubscription, Reason: "the peer publishes the track to us"})
		c.abandon(own.st, wire.ResetCancelled)
	}
	f.track, f.keep = ev.t, ev.keep
	delete(c.offers, f.name)
	c.feeds[f.name] = f
	c.granted(st, wire.RequestOK{Params: f.acceptParams(c, ev.opt)})
	f.report(f.largest)
	c.goLive(f)
	c.deliverEarly(f)
	return nil
}

// acceptParams returns what PUBLISH_OK says (section 10.5).
func (f *feed) acceptParams(c *core, opt *track.SubscribeOptions) wire.Params {
	p := wire.Params{}
	if opt != nil {
		p = subscribeParams(*opt)
		p.Tokens, p.RendezvousTimeout = nil, nil
		if opt.Start == track.CurrentGroup {
			p.Filter = nil // whatever the publisher sends
		}
		if !f.dynamic {
			p.NewGroupRequest = nil
		}
	}
	p.Expires = c.lifetime(f.st)
	return p
}

func (f *feed) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	ours := st.opener == wire.TypeSubscribe
	switch {
	case t == wire.TypePublishDone && f.done == nil && (f.live || !ours):
		m, err := wire.ParsePublishDone(body)
		if err != nil {
			return err
		}
		f.publisherDone(c, m)
		return nil
	case t == wire.TypeRequestUpdate && !ours && f.done == nil:
		return c.takeUpdate(st, body, unchanged)
	case t == wire.TypeSubscribeOK && f.started != nil:
		return f.subscribed(c, body)
	case (t == wire.TypeRequestOK || t == wire.TypeRequestError) && f.upd.sent != nil && f.done == nil:
		return f.updated(c, t, body)
	case t == wire.TypeRequestError && f.started != nil:
		e, err := c.requestError(st, body)
		if err != nil {
			return err
		}
		c.finish(st, e)
		return nil
	}
	return violation("%v on the stream of %v", t, st.opener)
}

// subscribed takes a SUBSCRIBE_OK (section 10.8).
func (f *feed) subscribed(c *core, body []byte) error {
	m, err := wire.ParseSubscribeOK(body)
	if err != nil {
		return err
	}
	if other := c.aliases[m.TrackAlias]; other != nil {
		return closing(wire.SessionDuplicateTrackAlias, "track alias %d of %v is that of %v", m.TrackAlias, f.name, other.name)
	}
	c.timers.Stop(&f.st.timer)
	f.alias = m.TrackAlias
	if t, unknown := m.Properties.Mandatory(); unknown { // section 2.5.1
		e := &RequestError{Code: wire.RequestUnsupportedExtension, Reason: fmt.Sprintf("mandatory track property %#x", t)}
		c.over(f.st, e)
		c.dropAlias(f.alias)
		c.abandon(f.st, wire.ResetCancelled)
		return nil
	}
	if f.track == nil {
		f.track = track.New(f.name, track.Info{Properties: m.Properties}, c.cfg.TrackConfig)
	} else {
		f.track.Renew(m.Properties)
	}
	c.aliases[f.alias] = f
	f.report(m.Params.LargestObject)
	f.dynamic = m.Properties.Track().DynamicGroups
	c.do(actCount{f.st.opener.String(), outcomeOK})
	c.do(actExpires{f.hold, c.expiry(m.Params.Expires)})
	to := f.started
	f.started = nil
	c.goLive(f) // first, so that a reader of the track finds what came early
	c.do(actStarted{f: to, t: f.track, hold: f.hold})
	c.deliverEarly(f)
	return nil
}

// report tells the track of the publisher's largest object, because what we say
// ourselves covers it (section 10.2.11).
func (f *feed) report(largest *wire.Location) {
	if largest != nil {
		f.track.Report(*largest)
	}
}

// goLive binds what has come early for f, and whatever comes from now on.
func (c *core) goLive(f *feed) {
	f.live = true
	c.cancelled.remove(f.alias)
	c.unpark(f.alias, func(d *dataStream) { c.bind(d, f) })
	f.sendUpdate(c)
	f.check(c)
}

func (f *feed) publisherDone(c *core, m wire.PublishDone) {
	f.done = &m
	c.endUpdates(f, &track.EndError{Code: m.Status, Reason: m.Reason})
	c.arm(&f.st.timer, c.cfg.Limits.DoneWait, func() error {
		f.late = true
		f.check(c)
		if f.done == nil || len(f.open) == 0 {
			return nil
		}
		// A stream that stalls must not keep the track from ending.
		c.arm(&f.st.timer, c.cfg.ResponseTimeout, func() error {
			f.stopStreams(c, wire.ResetCancelled)
			f.end(c)
			return nil
		})
		return nil
	})
	f.check(c)
}

// check ends f if the publisher is done and all data streams have come and
// gone, or had their time (section 10.11).
func (f *feed) check(c *core) {
	if f.live && f.done != nil && len(f.open) == 0 && (f.late || f.seen >= f.done.StreamCount) {
		f.end(c)
	}
}

func (f *feed) end(c *core) {
	c.finish(f.st, &track.EndError{Code: f.done.Status, Reason: f.done.Reason})
}

// fin takes the end of the publisher's messages. Some publishers end a track
// so, without PUBLISH_DONE.
func (f *feed) fin(c *core, st *stream) error {
	switch {
	case f.done != nil:
	case f.live:
		f.publisherDone(c, wire.PublishDone{Status: wire.PublishDoneTrackEnded, StreamCount: wire.StreamCountUnknown})
	default:
		c.over(st, errNoAnswer)
		c.abandon(st, wire.ResetCancelled)
	}
	return nil
}

func (f *feed) over(c *core, _ *stream, cause error) {
	if c.feeds[f.name] == f {
		delete(c.feeds, f.name)
	}
	if c.offers[f.name] == f {
		delete(c.offers, f.name)
	}
	if c.aliases[f.alias] == f {
		delete(c.aliases, f.alias)
		c.dropAlias(f.alias)
	}
	c.endUpdates(f, cause)
	if f.started != nil {
		c.do(actStarted{f: f.started, err: unanswered(cause)})
		return
	}
	f.stopStreams(c, wire.ResetCancelled)
	se, stream := errors.AsType[*StreamError](cause)
	local := closedHere(cause)
	if f.ended != nil && !local {
		c.do(actTell{f.ended, cause})
	}
	if f.keep || f.track == nil {
		return
	}
	end, ok := errors.AsType[*track.EndError](cause)
	if stream && se.Remote && se.Code == wire.ResetGoingAway {
		end, ok = &track.EndError{Code: wire.PublishDoneGoingAway, Reason: cause.Error()}, true
	}
	if !ok {
		end = &track.EndError{Code: wire.PublishDoneInternalError, Reason: cause.Error()}
		if local {
			end = &track.EndError{Code: wire.PublishDoneSubscriptionEnded, Reason: "unsubscribed"}
		}
	}
	c.do(actEndTrack{f.track, end.Code, end.Reason})
}

// closedHere reports whether a request has ended because we closed it.
func closedHere(cause error) bool {
	se, ok := errors.AsType[*StreamError](cause)
	return ok && !se.Remote
}

// stopStreams stops the data streams of f that are still open.
func (f *feed) stopStreams(c *core, code wire.ResetCode) {
	for _, sid := range slices.Sorted(maps.Keys(f.open)) {
		c.do(actStop{sid, code})
	}
}
