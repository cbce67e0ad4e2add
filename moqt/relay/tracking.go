package relay

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// HandleSubscribeTracks implements moqt.Handler.
func (p *peer) HandleSubscribeTracks(req *moqt.SubscribeTracksRequest) {
	ns, ok := p.authorize(AuthRequest{Action: SubscribeTracks, Namespace: req.Prefix}, req.Params, req)
	if !ok {
		return
	}
	w := &tracker{prefix: ns, peer: p, sink: offers{p, req, ns}}
	req.Accept()
	p.r.post(func(time.Time) []action { return p.r.core.trackTracks(w) })
	req.OnEnd(func(error) {
		p.r.post(func(time.Time) []action { return p.r.core.untrackTracks(w) })
	})
}

// offers is what a session that tracks tracks is offered: what it may subscribe
// to, under the prefix as it spelled it.
type offers struct {
	p      *peer
	req    *moqt.SubscribeTracksRequest
	prefix wire.Namespace // ours
}

func (o offers) offer(name wire.FullTrackName, t *track.Track) {
	theirs, ok := respell(name.Namespace, o.prefix, o.req.Prefix)
	if !ok {
		return
	}
	p := o.p
	auth := AuthRequest{Action: SubscribeTrack, Namespace: theirs, Track: name.Name}
	if _, refused := p.permits(auth, o.req.Params.Tokens); refused != nil {
		return
	}
	sub := &offered{p: p, paused: o.req.Params.Forward != nil && !*o.req.Params.Forward}
	o.req.Offer(moqt.Offer{
		Name: track.Name{Namespace: theirs, Name: name.Name}, Track: t, Expires: p.expires(),
		Answered: func(err error) {
			if err != nil {
				return
			}
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
