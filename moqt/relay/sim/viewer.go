package sim

import (
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A viewer subscribes to tracks, in all ways that there are, and checks what it
// gets.
type viewer struct {
	sc      *scene
	name    string
	plans   []*plan // what it wants to see
	cl      *client
	subs    []*sub
	asks    []*ask
	dropped map[uint64]bool // aliases of subscriptions that it has left
	few     bool            // it grants few streams
	restive bool            // it does all kinds of things
	watch   bool            // it asks for namespaces
	badge   bool            // it shows a token with what it asks
	follows bool            // it asks for tracks, and takes what it is offered
	blocked map[wire.FullTrackName]bool
	spaces  map[wire.Namespace]bool
	leaving bool
	objects int // that have come whole
}

// A sub is one subscription.
type sub struct {
	v        *viewer
	p        *plan
	req      *request
	alias    uint64
	filter   wire.Filter
	start    wire.Location // what the filter came to
	endGroup uint64
	priority uint8
	live     bool
	over     bool
	paused   bool
	settled  time.Time // when the last change was answered
	since    time.Time // when it was accepted, or went on after a pause
	last     time.Time // when the last object came

	again     uint64 // below this group objects may come again, after a pause; 0: none may
	newest    uint64
	streams   uint64
	resets    int
	open      map[*checker]struct{}
	delivered map[wire.Location]bool
	finished  map[[2]uint64]bool
	updates   []update // that are not answered

	object, subgroup time.Duration // delivery timeouts; 0: none

	id      uint64
	offered bool           // by PUBLISH
	floor   wire.Location  // the largest object that was known when it was asked for
	joined  *wire.Location // the largest object when it began; nil: not known
}

// An update is a REQUEST_UPDATE that was sent.
type update struct {
	since time.Time
	slack time.Duration // of the connection then
}

// within reports whether l is not before the start of the filter.
func (s *sub) within(l wire.Location) bool { return !l.Less(s.start) }

func (v *viewer) connect() {
	if v.leaving {
		return
	}
	c := v.sc.dial(v.name)
	v.subs, v.asks, v.dropped, v.spaces = nil, nil, make(map[uint64]bool), nil
	v.cl = v.sc.w.newClient(v.name, c, v)
	v.cl.badge = v.badge
}

// patience is how long after a change of a subscription the relay may still send
// what was before.
func (v *viewer) patience() time.Duration { return 20 * time.Second }

func (v *viewer) lost(err error) {
	v.sc.lost(v.name, err, false)
	v.subs, v.asks = nil, nil
	v.sc.w.after(v.sc.w.between(10*time.Millisecond, 700*time.Millisecond), v.connect)
}

func (v *viewer) ready() {
	w := v.sc.w
	if v.watch {
		v.spaces = make(map[wire.Namespace]bool)
		v.cl.request(wire.SubscribeNamespace{RequestID: v.cl.id(), Prefix: v.sc.prefix}, v.namespaces, nil)
	}
	if v.follows {
		v.follow()
	}
	for _, p := range v.plans {
		w.after(w.between(0, 300*time.Millisecond), func() { v.subscribe(v.cl, p) })
	}
	if v.restive {
		cl := v.cl
		w.after(w.between(100*time.Millisecond, time.Second), func() { v.act(cl) })
	}
}

// namespaces takes what the relay says of namespaces (I11).
func (v *viewer) namespaces(t wire.MessageType, body []byte) {
	w := v.sc.w
	switch t {
	case wire.TypeNamespace:
		m, err := wire.ParseNamespaceMsg(body)
		ns, jerr := v.sc.prefix.Join(m.Suffix)
		switch {
		case err != nil || jerr != nil:
			w.fail("protocol", "%s: NAMESPACE: %v %v", v.name, err, jerr)
		case v.spaces[ns]:
			w.fail("I11 namespaces", "%s: NAMESPACE %v, which was told before", v.name, ns)
		}
		v.spaces[ns] = true
	case wire.TypeNamespaceDone:
		m, err := wire.ParseNamespaceDone(body)
		ns, jerr := v.sc.prefix.Join(m.Suffix)
		switch {
		case err != nil || jerr != nil:
			w.fail("protocol", "%s: NAMESPACE_DONE: %v %v", v.name, err, jerr)
		case !v.spaces[ns]:
			w.fail("I11 namespaces", "%s: NAMESPACE_DONE %v without NAMESPACE", v.name, ns)
		}
		delete(v.spaces, ns)
	case wire.TypeRequestOK:
	default:
		if t == wire.TypeRequestError && v.sc.drained {
			return
		}
		w.fail("protocol", "%s: %v in answer to SUBSCRIBE_NAMESPACE", v.name, t)
	}
}

// subscribe asks for a track, with any filter.
func (v *viewer) subscribe(cl *client, p *plan) {
	w := v.sc.w
	if cl != v.cl || cl.gone || v.leaving || v.sc.ending || v.current(p) != nil || v.follows && !v.blocked[p.name] {
		return
	}
	s := v.newSub(p)
	s.filter = wire.Filter{Type: pick(w, wire.FilterLargestObject, wire.FilterLargestObject, wire.FilterNextGroupStart, wire.FilterAbsoluteStart)}
	if s.filter.Type == wire.FilterAbsoluteStart && w.chance(0.5) {
		s.filter.Start = wire.Location{Group: max(1, p.made.Group) - 1, Object: uint64(w.number(0, 3))}
	}
	if v.restive && !w.calm && w.chance(0.1) {
		s.filter = wire.Filter{Type: wire.FilterAbsoluteRange, Start: wire.Location{Group: p.made.Group}, EndGroup: p.made.Group + uint64(w.number(0, 3))}
	}
	m := wire.Subscribe{RequestID: v.cl.id(), Track: p.name, Params: wire.Params{Tokens: v.tokens(), SubscriberPriority: &s.priority, Filter: &s.filter}}
	if w.chance(0.3) {
		m.Params.Filter, s.filter = nil, wire.Filter{Type: wire.FilterAbsoluteStart}
	}
	if w.chance(0.3) {
		m.Params.GroupOrder = wire.GroupDescending
	}
	if w.chance(0.7) {
		m.Params.RendezvousTimeout = new(w.between(0, 2*time.Second).Truncate(time.Millisecond))
	}
	if w.chance(0.15) {
		s.object = w.between(50*time.Millisecond, 600*time.Millisecond).Truncate(time.Millisecond)
		m.Params.ObjectDeliveryTimeout = &s.object
	}
	if w.chance(0.15) {
		s.subgroup = w.between(50*time.Millisecond, 600*time.Millisecond).Truncate(time.Millisecond)
		m.Params.SubgroupDeliveryTimeout = &s.subgroup
	}
	if w.chance(0.2) {
		m.Params.NewGroupRequest = new(uint64(pick(w, 0, 1, 1000)))
	}
	s.id, s.floor = m.RequestID, v.sc.largestOf(v.name, p)
	v.subs = append(v.subs, s)
	s.req = v.cl.request(m, s.message, s.ended)
}

func (v *viewer) newSub(p *plan) *sub {
	return &sub{
		v: v, p: p, priority: uint8(v.sc.w.number(0, 255)), endGroup: ^uint64(0),
		open: make(map[*checker]struct{}), delivered: make(map[wire.Location]bool), finished: make(map[[2]uint64]bool),
	}
}

// current returns the subscription to p, if there is one.
func (v *viewer) current(p *plan) *sub {
	for _, s := range v.subs {
		if s.p == p && !s.over {
			return s
		}
	}
	return nil
}

// message takes what the relay says of a subscription.
func (s *sub) message(t wire.MessageType, body []byte) {
	v, w := s.v, s.v.sc.w
	switch {
	case t == wire.TypeSubscribeOK && !s.live:
		m, err := wire.ParseSubscribeOK(body)
		if err != nil {
			w.fail("protocol", "%s: %v", v.name, err)
		}
		v.sc.answered(v.name, "SUBSCRIBE", s.req)
		s.accepted(m)
	case t == wire.TypeRequestOK && s.live && len(s.updates) > 0:
		v.sc.updated(v, s.updates[0])
		s.updates = s.updates[1:]
		s.settled = w.now
		if !s.paused && len(s.updates) == 0 && s.again != 0 {
			// The group that was current when it went on is sent from its start.
			s.since, s.again = w.now, s.p.made.Group+1
		}
	case t == wire.TypeRequestError:
		v.sc.answered(v.name, "SUBSCRIBE", s.req)
		s.end()
	case t == wire.TypePublishDone && s.live:
		m, err := wire.ParsePublishDone(body)
		if err != nil {
			w.fail("protocol", "%s: %v", v.name, err)
		}
		w.note(v.name, "done", s.alias, uint64(m.Status), m.StreamCount)
		s.done(m)
	default:
		w.fail("protocol", "%s: %v on the stream of a SUBSCRIBE", v.name, t)
	}
}

// accepted takes SUBSCRIBE_OK.
func (s *sub) accepted(m wire.SubscribeOK) {
	v, w := s.v, s.v.sc.w
	delete(v.dropped, m.TrackAlias)
	for _, o := range v.subs {
		if o != s && o.live && !o.over && o.alias == m.TrackAlias {
			w.fail("protocol", "%s: alias %d is in use", v.name, m.TrackAlias)
		}
	}
	s.joined = m.Params.LargestObject
	s.live, s.alias, s.since, s.settled, s.last = true, m.TrackAlias, w.now, w.now, w.now
	at := m.Params.LargestObject
	if !s.offered { // a PUBLISH may have waited for a stream
		v.sc.sawLargest(v.name, s.p, s.floor, at)
	}
	var last wire.Location
	if at != nil {
		last = *at
	}
	begin := wire.Location{}
	if at != nil {
		begin = wire.Location{Group: last.Group}
		if v.sc.strict {
			begin.Object = last.Object + 1
		}
	}
	switch s.filter.Type {
	case wire.FilterNextGroupStart:
		if at != nil {
			s.start = wire.Location{Group: last.Group + 1}
		}
	case wire.FilterLargestObject:
		s.start = begin
	default:
		s.start = s.filter.Start
		if s.start == (wire.Location{}) || v.sc.strict && s.start.Less(begin) {
			s.start = begin
		}
		if s.filter.Type == wire.FilterAbsoluteRange {
			s.endGroup = s.filter.EndGroup
		}
	}
	w.wake(v.cl.node)
}

// done takes PUBLISH_DONE: everything that was opened has been closed.
func (s *sub) done(wire.PublishDone) {
	s.end()
	if s.v.sc.w.chance(0.8) { // the others leave it to the relay
		s.req.finish()
	}
}

func (s *sub) ended(error) { s.end() }

// end ends the subscription, and asks again for the track after a while.
func (s *sub) end() {
	v, w := s.v, s.v.sc.w
	if s.over {
		return
	}
	s.over = true
	v.subs = slices.DeleteFunc(v.subs, func(o *sub) bool { return o == s })
	if s.live {
		v.dropped[s.alias] = true
	}
	if !v.sc.ending && !s.offered {
		cl := v.cl
		w.after(w.between(100*time.Millisecond, 600*time.Millisecond), func() { v.subscribe(cl, s.p) })
	}
}

func (v *viewer) asked(r *request, t wire.MessageType, body []byte) {
	if t == wire.TypePublish {
		v.offered(r, body)
		return
	}
	r.out.message(wire.RequestError{Code: wire.RequestNotSupported})
	r.finish()
}

func (v *viewer) data(s *inStream) sink {
	if s.kind == wire.StreamFetch {
		return &response{v: v, s: s}
	}
	return &checker{v: v, s: s}
}

// act does something that a viewer may do at any time.
func (v *viewer) act(cl *client) {
	w := v.sc.w
	if cl != v.cl || cl.gone || w.calm {
		return
	}
	var s *sub
	if len(v.subs) > 0 {
		s = v.subs[w.rand.IntN(len(v.subs))]
	}
	switch n := w.number(0, 13); {
	case n == 0:
		w.note(v.name, "cuts", 0, 0, 0)
		cl.c.cut(w.between(0, 2*time.Second))
		return
	case n == 1:
		w.note(v.name, "leaves", 0, 0, 0)
		_ = cl.c.CloseWithError(wire.SessionNoError, "")
		return
	case n <= 3:
		v.stall(cl)
	case n == 13:
		v.status(pick(w, v.plans...))
	case n >= 10:
		v.fetch(pick(w, v.plans...))
	case s == nil || !s.live:
	case n == 4 && s.offered: // it would not be offered again
	case n == 4:
		w.note(v.name, "unsubscribes", s.alias, 0, 0)
		s.req.drop(wire.ResetCancelled)
		s.end()
	case n == 5:
		for _, in := range cl.ins {
			if c, ok := in.sink.(*checker); ok && w.chance(0.5) {
				c.dead = true
				if c.sub != nil {
					delete(c.sub.open, c)
				}
				in.stop(wire.ResetCancelled)
			}
		}
	default:
		s.update()
	}
	w.after(w.between(50*time.Millisecond, 1200*time.Millisecond), func() { v.act(cl) })
}

// longestStall bounds how long a viewer reads no objects.
const longestStall = 1500 * time.Millisecond

// stall stops reading objects for a while.
func (v *viewer) stall(cl *client) {
	w := v.sc.w
	cl.stalled = true
	w.note(v.name, "stalls", 0, 0, 0)
	d := w.between(20*time.Millisecond, longestStall)
	w.after(d, func() {
		if relay := cl.c.peer; relay.limit-relay.wrote < someRoom {
			v.sc.excuse(cl.c, d) // there was no room for any message
		}
		cl.stalled = false
		w.wake(cl.node)
	})
}

// update changes the subscription with REQUEST_UPDATE.
func (s *sub) update() {
	w := s.v.sc.w
	m := wire.RequestUpdate{RequestID: s.v.cl.id()}
	if s.paused || w.chance(0.5) {
		s.joined = nil // another one, when it goes on
		s.paused = !s.paused
		m.Params.Forward = new(!s.paused)
		if !s.paused {
			s.again = ^uint64(0)
		}
	} else {
		s.priority = uint8(w.number(0, 255))
		m.Params.SubscriberPriority = &s.priority
	}
	w.note(s.v.name, "updates", s.alias, 0, 0)
	s.updates = append(s.updates, update{w.now, s.v.cl.c.slack()})
	s.req.out.message(m)
}

// at returns the location of item k of a group.
func (s *sub) at(g uint64, k int) wire.Location {
	return wire.Location{Group: g, Object: s.p.item(g, k).id}
}
