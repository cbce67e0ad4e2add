package relay

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// HandleSubscribeTracks implements moqt.Handler.
func (p *peer) HandleSubscribeTracks(req *moqt.SubscribeTracksRequest) {
	auth := AuthRequest{Action: SubscribeTracks, Namespace: req.Prefix}
	ns, ok := p.authorize(auth, req.Params, req)
	if !ok {
		return
	}
	w := &tracker{prefix: ns, theirs: req.Prefix, peer: p, sink: offers{p, req, ns, req.Prefix, req.Params.Tokens}}
	p.onMove(req, auth, req.Params.Tokens, func(ours, theirs wire.Namespace, tokens []wire.Token) {
		old := w
		next := &tracker{prefix: ours, theirs: theirs, peer: p, sink: offers{p, req, ours, theirs, tokens}}
		w = next
		p.r.post(func(time.Time) []action { return p.r.core.retrack(old, next) })
	})
	req.Accept()
	first := w
	p.r.post(func(time.Time) []action { return p.r.core.trackTracks(first) })
	req.OnEnd(func(error) {
		last := w
		p.r.post(func(time.Time) []action { return p.r.core.untrackTracks(last) })
	})
}

// An updatable is a request that the peer may change.
type updatable interface {
	OnUpdate(func(wire.Params) error)
}

// onMove lets the peer move a request to another prefix (section 10.9.2), or
// show other tokens for it, if it may ask for that. move is told of it, from the
// session's loop.
func (p *peer) onMove(req updatable, auth AuthRequest, tokens []wire.Token, move func(ours, theirs wire.Namespace, tokens []wire.Token)) {
	req.OnUpdate(func(u wire.Params) error {
		next, shown := auth, tokens
		if u.NamespacePrefix != nil {
			next.Namespace = *u.NamespacePrefix
		}
		if len(u.Tokens) > 0 {
			shown = u.Tokens
		}
		ns, refused := p.permits(next, shown)
		if refused != nil {
			return refused
		}
		auth, tokens = next, shown
		move(ns, next.Namespace, shown)
		return nil
	})
}

// offers is what a session that tracks tracks is offered: what it may subscribe
// to, under the prefix as it spelled it.
type offers struct {
	p      *peer
	req    *moqt.SubscribeTracksRequest
	prefix wire.Namespace // ours
	theirs wire.Namespace
	tokens []wire.Token
}

func (o offers) offer(name wire.FullTrackName, t *track.Track) {
	theirs, ok := respell(name.Namespace, o.prefix, o.theirs)
	if !ok {
		return
	}
	p := o.p
	auth := AuthRequest{Action: SubscribeTrack, Namespace: theirs, Track: name.Name}
	if _, refused := p.permits(auth, o.tokens); refused != nil {
		return
	}
	leave := func() {}
	sub := &offered{p: p, paused: o.req.Params.Forward != nil && !*o.req.Params.Forward}
	o.req.Offer(moqt.Offer{
		Name: track.Name{Namespace: theirs, Name: name.Name}, Track: t, Expires: p.expires(),
		Answered: func(err error) {
			if err != nil {
				return
			}
			leave = p.reads(name)
			p.r.post(func(now time.Time) []action {
				p.r.core.readers++
				return p.r.core.took(now, name, t, sub)
			})
		},
		Updated: func(u wire.Params) error {
			if u.Forward != nil {
				wants := wants{paused: !*u.Forward}
				p.r.post(func(now time.Time) []action {
					sub.paused = wants.paused
					return p.r.core.updated(now, name, sub, wants)
				})
			}
			return nil
		},
		Ended: func(error) {
			leave()
			p.r.post(func(now time.Time) []action {
				p.r.core.readers--
				return p.r.core.unsubscribe(now, name, sub)
			})
		},
	})
}

// An offered is a subscriber by a PUBLISH of ours.
type offered struct {
	p      *peer
	paused bool // the relay's loop only
}

func (*offered) accept(*track.Track)             {}
func (*offered) reject(wire.RequestCode, string) {}
func (s *offered) wants() wants                  { return wants{paused: s.paused} }
func (s *offered) session() *peer                { return s.p }
