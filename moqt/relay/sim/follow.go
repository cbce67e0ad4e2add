package sim

import (
	"slices"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// follow asks for all tracks of the prefix (SUBSCRIBE_TRACKS). What is offered
// then is a subscription like any other.
func (v *viewer) follow() {
	v.blocked = make(map[wire.FullTrackName]bool)
	var r *request
	r = v.cl.request(wire.SubscribeTracks{RequestID: v.cl.id(), Prefix: v.sc.prefix, Params: wire.Params{Tokens: v.tokens()}}, func(t wire.MessageType, body []byte) {
		w := v.sc.w
		switch t {
		case wire.TypeRequestOK:
			v.sc.answered(v.name, "SUBSCRIBE_TRACKS", r)
		case wire.TypePublishBlocked:
			m, err := wire.ParsePublishBlocked(body)
			ns, jerr := v.sc.prefix.Join(m.Suffix)
			if err != nil || jerr != nil {
				w.fail("protocol", "%s: PUBLISH_BLOCKED: %v %v", v.name, err, jerr)
			}
			v.blocked[wire.FullTrackName{Namespace: ns, Name: m.Name}] = true
		default:
			if t == wire.TypeRequestError && v.sc.drained {
				return
			}
			w.fail("protocol", "%s: %v in answer to SUBSCRIBE_TRACKS", v.name, t)
		}
	}, nil)
}

// offered takes a PUBLISH of the relay.
func (v *viewer) offered(r *request, body []byte) {
	w := v.sc.w
	m, err := wire.ParsePublish(body)
	if err != nil {
		w.fail("protocol", "%s: %v", v.name, err)
	}
	p := v.sc.plan(m.Track)
	switch {
	case !v.follows:
		w.fail("offers", "%s is offered %v, and did not ask for tracks", v.name, m.Track)
	case p == nil:
		w.fail("nothing invented", "%s is offered %v", v.name, m.Track)
	case !v.sc.pushed(p):
		w.fail("offers", "%s is offered %v, which nobody has offered the relay", v.name, m.Track)
	case v.blocked[m.Track]:
		w.fail("offers", "%s is offered %v, which it was told is blocked", v.name, m.Track)
	}
	if s := v.current(p); s != nil {
		w.fail("offers", "%s is offered %v twice", v.name, m.Track)
	}
	s := v.newSub(p)
	s.req, s.id, s.filter, s.offered = r, m.RequestID, wire.Filter{Type: wire.FilterAbsoluteStart}, true
	s.floor = v.sc.largestOf(v.name, p)
	v.subs = append(v.subs, s)
	r.message, r.ended = s.message, s.ended
	r.out.message(wire.RequestOK{Params: wire.Params{SubscriberPriority: &s.priority}})
	s.accepted(wire.SubscribeOK{TrackAlias: m.TrackAlias, Params: m.Params, Properties: m.Properties})
}

// follow asks for the tracks of others, once the relay has taken those of p:
// before that it may offer p what an earlier session of p has brought.
func (p *publisher) follow() {
	if !p.follows || p.following || slices.ContainsFunc(p.tracks, func(e *encoder) bool { return !p.holds(e.p.name) }) {
		return
	}
	p.following = true
	p.cl.request(wire.SubscribeTracks{RequestID: p.cl.id(), Prefix: p.sc.prefix}, nil, nil)
}

// offered takes a PUBLISH of the relay for a publisher that asks for tracks, too:
// its own are not among them.
func (p *publisher) offered(r *request, body []byte) {
	w := p.sc.w
	m, err := wire.ParsePublish(body)
	if err != nil {
		w.fail("protocol", "%s: %v", p.name, err)
	}
	if !p.following || p.holds(m.Track) {
		w.fail("offers", "%s is offered %v", p.name, m.Track)
	}
	r.out.message(wire.RequestError{Code: wire.RequestUninterested})
	r.finish()
}

// holds reports whether the relay has taken p's offer of a track, and no other.
func (p *publisher) holds(name wire.FullTrackName) bool {
	return slices.ContainsFunc(p.feeds, func(f *feed) bool { return f.live && f.e.p.name == name })
}

// plan returns the plan of a track.
func (sc *scene) plan(name wire.FullTrackName) *plan {
	for _, e := range sc.encoders {
		if e.p.name == name {
			return e.p
		}
	}
	return nil
}

// pushed reports whether a track is offered with PUBLISH, or published in the
// process.
func (sc *scene) pushed(p *plan) bool {
	return sc.inProcess(p) || slices.ContainsFunc(sc.publishers, func(pub *publisher) bool {
		return pub.push && !pub.impostor && slices.ContainsFunc(pub.tracks, func(e *encoder) bool { return e.p == p })
	})
}

// checkOffered holds that everything that is on offer was offered.
func (v *viewer) checkOffered() {
	for _, pub := range v.sc.publishers {
		for _, f := range pub.feeds {
			s := v.current(f.e.p)
			if pub.push && f.live && !v.blocked[f.e.p.name] && (s == nil || !s.live) {
				v.sc.w.fail("offers", "%s was not offered %v, which %s publishes", v.name, f.e.p.name, pub.name)
			}
		}
	}
}
