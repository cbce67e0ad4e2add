package moqt

import (
	"errors"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// ErrBlocked reports that a track could not be offered, because the peer grants
// no stream or has as many subscriptions as it may. It was told so with
// PUBLISH_BLOCKED and may subscribe by itself.
var ErrBlocked = errors.New("moqt: the track cannot be offered now")

// A SubscribeTracksRequest is a SUBSCRIBE_TRACKS (section 10.19). It never moves
// to another prefix without the consent of the function that OnUpdate names,
// which has to make its own of the new one.
type SubscribeTracksRequest struct {
	*request
	Prefix track.Namespace // read only
	Params wire.Params     // read only
}

// Accept answers with REQUEST_OK.
func (r *SubscribeTracksRequest) Accept() { r.answer(evAccept{sid: r.sid}) }

// An Offer is a track that a SUBSCRIBE_TRACKS covers. Its functions may be nil.
// They are called from the session's loop and must not block.
type Offer struct {
	// Name is what the peer knows the track by, below its prefix.
	Name  track.Name
	Track *track.Track
	// Expires is when the subscription shall end. The zero time is never.
	Expires time.Time
	// Answered is called once: with nil when the peer has accepted, with
	// ErrBlocked, or with a *RequestError or *SessionError.
	Answered func(error)
	// Updated is called with what the peer asks for: when it accepts, where its
	// result has no effect, and for each REQUEST_UPDATE, as in OnUpdate.
	Updated func(wire.Params) error
	// Ended is called once after Answered(nil), as the cause of a request's
	// Context.
	Ended func(error)
}

// Offer sends PUBLISH for a track, or PUBLISH_BLOCKED, once Accept was called.
// FORWARD is that of the request. It does not block. Tracks that the peer
// publishes itself are the caller's to leave out. withdraw ends the subscription
// from our side.
func (r *SubscribeTracksRequest) Offer(o Offer) (withdraw func()) {
	ev := evOffer{sid: r.s.newSID(), of: r.sid, offer: o}
	if !r.s.call(ev) && o.Answered != nil {
		o.Answered(r.s.err)
	}
	return r.s.cancel(ev.sid)
}

// A tracking is a SUBSCRIBE_TRACKS of the peer.
type tracking struct {
	prefix  track.Namespace
	paused  bool      // FORWARD is 0
	waiting []evOffer // until the request is accepted
	blocked map[track.Name]struct{}
}

func (c *core) openSubscribeTracks(st *stream, m wire.SubscribeTracks) {
	switch {
	case c.cfg.Handler == nil:
		c.refuse(st, wire.RequestNotSupported, "SUBSCRIBE_TRACKS is not supported")
	case overlaps(c.trackers, st, m.Prefix):
		c.refuse(st, wire.RequestPrefixOverlap, "the prefix overlaps with that of another request")
	case len(c.trackers) >= c.cfg.Limits.Namespaces:
		c.refuse(st, wire.RequestExcessiveLoad, "too many track subscriptions")
	default:
		tr := &tracking{
			prefix: m.Prefix, paused: m.Params.Forward != nil && !*m.Params.Forward,
			blocked: make(map[track.Name]struct{}),
		}
		c.trackers = append(c.trackers, st)
		c.ask(tr, st, &SubscribeTracksRequest{request: st.req, Prefix: m.Prefix, Params: m.Params}, nil)
	}
}

// overlaps reports whether one of the requests on list, but for st, has a prefix
// of which p is a prefix, or the other way around.
func overlaps(list []*stream, st *stream, p track.Namespace) bool {
	return slices.ContainsFunc(list, func(o *stream) bool {
		if o == st {
			return false
		}
		var q track.Namespace
		switch r := o.role.(type) {
		case *watching:
			q = r.prefix
		case *tracking:
			q = r.prefix
		}
		return p.HasPrefix(q) || q.HasPrefix(p)
	})
}

func (tr *tracking) message(c *core, st *stream, t wire.MessageType, body []byte) error {
	if t != wire.TypeRequestUpdate {
		return violation("%v on the stream of %v", t, st.opener)
	}
	return c.takeUpdate(st, body, func(p wire.Params) *RequestError {
		e := c.mayMove(st, c.trackers, tr.prefix, p)
		if e == nil && p.NamespacePrefix != nil {
			tr.prefix = *p.NamespacePrefix // what was offered before stays
		}
		return e
	})
}

// mayMove checks an update that moves the prefix of a request (section 10.9.2).
func (c *core) mayMove(st *stream, list []*stream, old track.Namespace, p wire.Params) *RequestError {
	switch {
	case p.NamespacePrefix == nil || *p.NamespacePrefix == old:
		return nil
	case reserved(*p.NamespacePrefix):
		return &RequestError{Code: wire.RequestDoesNotExist, Reason: "reserved namespace"}
	case st.onUpdate() == nil && c.cfg.Handler != nil: // nobody has looked at it
		return &RequestError{Code: wire.RequestNotSupported, Reason: "the prefix cannot be changed"}
	case overlaps(list, st, *p.NamespacePrefix):
		return &RequestError{Code: wire.RequestPrefixOverlap, Reason: "the prefix overlaps with that of another request"}
	}
	return nil
}

// fin takes the end of the stream, with which the request is cancelled.
func (tr *tracking) fin(c *core, st *stream) error {
	c.finish(st, &StreamError{Code: wire.ResetCancelled, Remote: true})
	return nil
}

// over ends the request. What was offered stays, but for a PUBLISH that is not
// out yet: the peer wants none any more (section 6.1).
func (tr *tracking) over(c *core, st *stream, cause error) {
	c.trackers = slices.DeleteFunc(c.trackers, func(o *stream) bool { return o == st })
	for _, ev := range tr.waiting {
		c.answerOffer(ev.offer, unanswered(cause))
	}
	tr.waiting = nil
	for _, st := range c.byID() {
		if s, ok := st.role.(*serving); ok && s.of == tr && !st.started {
			c.over(st, cause)
			c.abandon(st, wire.ResetCancelled)
		}
	}
}

func (c *core) answerOffer(o Offer, err error) {
	if o.Answered != nil {
		c.do(actTell{o.Answered, err})
	}
}

// offerTrack offers a track to a SUBSCRIBE_TRACKS of the peer.
func (c *core) offerTrack(ev evOffer) {
	st := c.streams[ev.of]
	var tr *tracking
	if st != nil {
		tr, _ = st.role.(*tracking)
	}
	if tr == nil {
		c.answerOffer(ev.offer, &RequestError{Code: wire.RequestUninterested, Reason: "the peer has ended the request"})
		return
	}
	if st.pending {
		tr.waiting = append(tr.waiting, ev)
		return
	}
	o := ev.offer
	_, below := o.Name.Namespace.TrimPrefix(tr.prefix)
	_, blocked := tr.blocked[o.Name]
	switch {
	case !below:
		c.answerOffer(o, &RequestError{Code: wire.RequestUninterested, Reason: "the track is not below the prefix"})
		return
	case c.outlived(o.Name) != nil:
		st := c.outlived(o.Name)
		if st.next != nil {
			c.answerOffer(st.next.offer, &RequestError{Code: wire.RequestUninterested, Reason: "a newer track has the name"})
		}
		st.next = &ev
		if c.served[o.Name] == nil {
			c.awaitClose(st)
		}
		return
	case c.served[o.Name] != nil:
		c.answerOffer(o, &RequestError{Code: wire.RequestDuplicateSubscription, Reason: "the peer is subscribed to this track"})
		return
	case blocked:
		c.answerOffer(o, ErrBlocked)
		return
	}
	s := &serving{name: o.Name, own: true, offer: &o, parent: st, of: tr, answer: func(err error) {
		if o.Answered != nil {
			o.Answered(err)
		}
	}}
	if c.incoming+c.offering >= c.cfg.Limits.Subscriptions {
		c.block(s)
		c.answerOffer(o, ErrBlocked)
		return
	}
	p := wire.Params{}
	if tr.paused {
		p.Forward = new(false)
	}
	if !o.Expires.IsZero() {
		p.Expires = new(max(o.Expires.Sub(c.now), time.Millisecond))
	}
	if err := c.sendPublish(ev.sid, s, o.Track, p, c.cfg.Limits.PublishWait); err != nil {
		c.answerOffer(o, err)
		return
	}
	c.offering++
	if !o.Expires.IsZero() {
		st := c.served[s.name]
		st.expires = o.Expires
		c.at(&st.expiry, o.Expires, func() error {
			c.expired(st)
			return nil
		})
	}
}

// outlived returns the stream of a track with that name that has ended, as long
// as not all of it is sent or the peer has not closed its half: were the next one
// offered now, that could overtake the end.
func (c *core) outlived(name track.Name) *stream {
	st := c.served[name]
	if st == nil {
		return c.leaving[name]
	}
	if s, ok := st.role.(*serving); ok && s.d.Track != nil {
		if _, _, ended := s.d.Track.Ended(); ended {
			return st
		}
	}
	return nil
}

// left makes the offer that has waited for the end of st.
func (c *core) left(st *stream) {
	if st.leaves != nil && c.leaving[*st.leaves] == st {
		delete(c.leaving, *st.leaves)
	}
	if ev := st.next; ev != nil {
		st.next = nil
		c.offerTrack(*ev)
	}
}

// block tells the peer that a track cannot be offered (section 10.20).
func (c *core) block(s *serving) {
	c.do(actCount{wire.TypePublishBlocked.String(), outcomeOK})
	if s.parent.role != s.of {
		return
	}
	if len(s.of.blocked) >= c.cfg.Limits.Matches {
		// More than what we would remember: the peer asks for less.
		c.over(s.parent, &RequestError{Code: wire.RequestNamespaceTooLarge, Reason: "too many tracks that cannot be offered"})
		c.abandon(s.parent, wire.ResetExcessiveLoad)
		return
	}
	s.of.blocked[s.name] = struct{}{}
	if suffix, ok := s.name.Namespace.TrimPrefix(s.of.prefix); ok {
		c.write(s.parent, wire.PublishBlocked{Suffix: suffix, Name: s.name.Name})
	}
}
