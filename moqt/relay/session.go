package relay

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A peer is one session of the relay. It answers the session's requests by
// handing them to the core.
type peer struct {
	r *Relay
	s *moqt.Session

	admitted sync.Once
	permit   Permit
	refusal  error         // why there is no permit
	told     chan struct{} // closed when a request was answered with refusal
	telling  sync.Once
	guard    guard
	held     int // subscribers that wait for a publisher; the core's
}

// Serve runs a session on conn until it ends, as moqt.Session.Run does.
func (r *Relay) Serve(ctx context.Context, conn moqt.Conn) error {
	p, err := r.enter(conn)
	if err != nil {
		return err
	}
	guarded := make(chan struct{})
	go func() {
		defer close(guarded)
		p.guard.run()
	}()
	err = p.s.Run(ctx)
	<-guarded
	p.leave()
	return err
}

// enter makes a session on conn.
func (r *Relay) enter(conn moqt.Conn) (*peer, error) {
	p := &peer{r: r, told: make(chan struct{})}
	p.guard.p = p
	cfg := r.cfg.Session
	cfg.Handler = p
	var err error
	if p.s, err = moqt.NewSession(conn, cfg); err != nil {
		return nil, err
	}
	r.metrics.sessions.Inc()
	r.join(p)
	return p, nil
}

// leave tells the core that the session has ended.
func (p *peer) leave() {
	p.guard.close()
	p.r.part(p)
	p.r.metrics.sessions.Dec()
	p.r.post(func(now time.Time) []action { return p.r.core.peerGone(now, p) })
}

func (p *peer) admit() (Permit, error) {
	p.admitted.Do(func() {
		if p.r.cfg.Authorizer == nil {
			p.permit = openDoor{}
			return
		}
		setup, info := p.s.PeerSetup(), p.s.Conn().Info()
		p.permit, p.refusal = p.r.cfg.Authorizer.Admit(Credentials{
			Conn: info, Path: cmp.Or(info.Path, setup.Path), Tokens: setup.Tokens,
		})
		if p.refusal != nil {
			p.r.cfg.Log.Info("session refused", "moqt_session", p.s.ID(), "remote", info.Remote.String(), "err", p.refusal)
		}
	})
	return p.permit, p.refusal
}

// A refusable is a request that can be refused.
type refusable interface{ Refuse(*moqt.RequestError) }

// authorize returns our name of the namespace of a request, or refuses it.
func (p *peer) authorize(req AuthRequest, params wire.Params, to refusable) (wire.Namespace, bool) {
	ns, refused := p.permits(req, params.Tokens)
	if refused == nil {
		return ns, true
	}
	to.Refuse(refused)
	if p.refusal != nil {
		p.telling.Do(func() { close(p.told) })
	}
	return wire.Namespace{}, false
}

// permits returns our name of the namespace of req, or how to refuse it.
func (p *peer) permits(req AuthRequest, tokens []wire.Token) (wire.Namespace, *moqt.RequestError) {
	permit, err := p.admit()
	if err == nil {
		req.Tokens = tokens
		var ns wire.Namespace
		if ns, err = permit.Authorize(req); err == nil {
			return ns, nil
		}
	}
	if refused, ok := errors.AsType[*moqt.RequestError](err); ok {
		return wire.Namespace{}, refused
	}
	return wire.Namespace{}, &moqt.RequestError{Code: wire.RequestUnauthorized, Reason: shown(err)}
}

// expires returns when the permit ends by itself, zero if that is not known.
func (p *peer) expires() time.Time {
	if e, ok := p.permit.(Expiring); ok {
		return e.Expires()
	}
	return time.Time{}
}

// shown returns what a peer may read of why it was refused.
func shown(err error) string {
	if refused, ok := errors.AsType[*moqt.RequestError](err); ok {
		return refused.Reason
	}
	return "not authorized"
}

// HandleSubscribe implements moqt.Handler.
func (p *peer) HandleSubscribe(req *moqt.SubscribeRequest) {
	auth := AuthRequest{Action: SubscribeTrack, Namespace: req.Name.Namespace, Track: req.Name.Name}
	ns, ok := p.authorize(auth, req.Params, req)
	if !ok {
		return
	}
	name := track.Name{Namespace: ns, Name: req.Name.Name}
	sub := &remoteSubscriber{p, req}
	var hold time.Duration
	if d := req.Params.RendezvousTimeout; d != nil {
		hold = *d
	}
	p.r.post(func(now time.Time) []action {
		p.r.core.readers++
		return p.r.core.subscribe(now, name, sub, hold)
	})
	req.ExpireAt(p.expires())
	p.onUpdate(req, auth, name, sub)
	leave := p.reads(name)
	req.OnEnd(func(error) {
		leave()
		p.r.post(func(now time.Time) []action {
			p.r.core.readers--
			return p.r.core.unsubscribe(now, name, sub)
		})
	})
}

// onUpdate lets the subscriber change its subscription, with a token that it may
// bring, and passes on that it wants objects.
func (p *peer) onUpdate(req *moqt.SubscribeRequest, auth AuthRequest, name track.Name, sub subscriber) {
	req.OnUpdate(func(u wire.Params) error {
		if len(u.Tokens) > 0 {
			if _, refused := p.permits(auth, u.Tokens); refused != nil {
				return refused
			}
		}
		if u.Forward != nil && *u.Forward {
			p.r.post(func(now time.Time) []action { return p.r.core.updated(now, name, sub, wants{}) })
		}
		return nil
	})
}

type remoteSubscriber struct {
	p   *peer
	req *moqt.SubscribeRequest
}

func (s *remoteSubscriber) session() *peer { return s.p }

func (s *remoteSubscriber) accept(t *track.Track) { s.req.Accept(t) }
func (s *remoteSubscriber) wants() wants {
	p := s.req.Params
	return wants{paused: p.Forward != nil && !*p.Forward, newGroup: p.NewGroupRequest}
}

func (s *remoteSubscriber) reject(code wire.RequestCode, reason string) { s.req.Reject(code, reason) }

// HandlePublishNamespace implements moqt.Handler.
func (p *peer) HandlePublishNamespace(req *moqt.PublishNamespaceRequest) {
	ns, ok := p.authorize(AuthRequest{Action: PublishNamespace, Namespace: req.Namespace}, req.Params, req)
	if !ok {
		return
	}
	src := &source{ns: ns, theirs: req.Namespace, peer: p, routable: true}
	p.r.post(func(now time.Time) []action { return p.r.core.announce(now, src) })
	req.Accept()
	req.OnEnd(func(cause error) {
		if !lost(cause) {
			p.r.post(func(now time.Time) []action { return p.r.core.withdraw(now, src) })
		}
	})
}

// lost tells whether a request ended with its session. Otherwise the peer has
// ended it.
func lost(cause error) bool {
	_, ok := errors.AsType[*moqt.SessionError](cause)
	return ok
}

// HandleSubscribeNamespace implements moqt.Handler.
func (p *peer) HandleSubscribeNamespace(req *moqt.SubscribeNamespaceRequest) {
	auth := AuthRequest{Action: SubscribeNamespace, Namespace: req.Prefix}
	ns, ok := p.authorize(auth, req.Params, req)
	if !ok {
		return
	}
	w := &watcher{prefix: ns, theirs: req.Prefix, sink: view{req, ns, req.Prefix, p.permit}}
	p.onMove(req, auth, req.Params.Tokens, func(ours, theirs wire.Namespace, _ []wire.Token) {
		old := w
		next := &watcher{prefix: ours, theirs: theirs, sink: view{req, ours, theirs, p.permit}}
		w = next
		p.r.post(func(time.Time) []action { return p.r.core.rewatch(old, next) })
	})
	req.Accept()
	first := w
	p.r.post(func(time.Time) []action { return p.r.core.watch(first) })
	req.OnEnd(func(error) {
		last := w
		p.r.post(func(time.Time) []action { return p.r.core.unwatch(last) })
	})
}

// A view is what a session that watches namespaces sees of them: those that it
// may see, under the prefix as it spelled it.
type view struct {
	req    *moqt.SubscribeNamespaceRequest
	prefix wire.Namespace // ours
	theirs wire.Namespace
	permit Permit
}

func (v view) Announce(ns wire.Namespace) {
	if theirs, ok := v.spell(ns); ok {
		v.req.Announce(theirs)
	}
}

func (v view) Withdraw(ns wire.Namespace) {
	if theirs, ok := v.spell(ns); ok {
		v.req.Withdraw(theirs)
	}
}

func (v view) spell(ns wire.Namespace) (theirs wire.Namespace, ok bool) {
	if !v.permit.Visible(ns) {
		return wire.Namespace{}, false
	}
	return respell(ns, v.prefix, v.theirs)
}

// respell replaces the prefix from of ns by to.
func respell(ns, from, to wire.Namespace) (wire.Namespace, bool) {
	suffix, ok := ns.TrimPrefix(from)
	if !ok {
		return wire.Namespace{}, false
	}
	out, err := to.Join(suffix)
	return out, err == nil
}

// HandlePublish implements moqt.Handler.
func (p *peer) HandlePublish(req *moqt.PublishRequest) {
	ns, ok := p.authorize(AuthRequest{Action: PublishTrack, Namespace: req.Name.Namespace, Track: req.Name.Name}, req.Params, req)
	if !ok {
		return
	}
	name := track.Name{Namespace: ns, Name: req.Name.Name}
	src := &source{ns: ns, theirs: req.Name.Namespace, peer: p}
	p.r.post(func(now time.Time) []action {
		epoch, acts := p.r.core.published(now, src, name, &remotePublication{req})
		if epoch == 0 {
			return acts
		}
		acts = append(acts, p.r.core.announce(now, src)...)
		req.OnEnd(func(cause error) {
			p.r.upstreamEnded(name, epoch, cause)
			if !lost(cause) {
				p.r.post(func(now time.Time) []action { return p.r.core.withdraw(now, src) })
			}
		})
		return acts
	})
}

type remotePublication struct{ req *moqt.PublishRequest }

func (o *remotePublication) Track() *track.Track { return o.req.Track() }
func (o *remotePublication) Close()              { o.req.Close() }
func (o *remotePublication) heard() uint64       { return o.req.Session().Conn().Stats().BytesReceived }

func (o *remotePublication) accept(into *track.Track, paused bool) {
	if into == nil {
		into = o.req.Track()
	} else {
		into.Renew(o.req.Track().Properties())
	}
	if l := o.req.Params.LargestObject; l != nil {
		into.Report(*l) // before somebody else is told of the track
	}
	o.req.Target(into) // ours to end, so that it survives the session
	o.req.AcceptWith(track.SubscribeOptions{Paused: paused})
}

func (o *remotePublication) update(forward *bool, newGroup *uint64) {
	o.req.Update(track.SubscribeUpdate{Forward: forward, NewGroup: newGroup})
}

func (o *remotePublication) refuse(code wire.RequestCode, reason string) { o.req.Reject(code, reason) }

// connect subscribes at a session. Run's goroutine owns asks.
func (r *Relay) connect(a actConnect) {
	theirs, _ := respell(a.name.Namespace, a.src.ns, a.src.theirs)
	s := a.src.peer.s
	r.asks[a.epoch] = s.SubscribeAsync(track.Name{Namespace: theirs, Name: a.name.Name}, a.into,
		track.SubscribeOptions{Paused: a.paused, NewGroup: a.newGroup},
		func(sub *track.Subscription, err error) {
			result := "accepted"
			if err != nil {
				result = "refused"
				r.cfg.Log.Debug("upstream subscription failed", "track", a.name, "moqt_session", s.ID(), "err", err)
			}
			r.metrics.connects.WithLabelValues(result).Inc()
			r.post(func(now time.Time) []action {
				delete(r.asks, a.epoch)
				if err != nil {
					return r.core.connected(now, a.name, a.epoch, nil, err)
				}
				return r.core.connected(now, a.name, a.epoch, subscribed{sub, s}, nil)
			})
		},
		func(cause error) { r.upstreamEnded(a.name, a.epoch, cause) })
}

// unask gives up a connect. A subscription that has started already is closed.
func (r *Relay) unask(epoch uint64) {
	if cancel := r.asks[epoch]; cancel != nil {
		delete(r.asks, epoch)
		cancel()
	}
}

// subscribed is a subscription of ours at s.
type subscribed struct {
	*track.Subscription
	s *moqt.Session
}

func (u subscribed) update(forward *bool, newGroup *uint64) {
	u.Update(track.SubscribeUpdate{Forward: forward, NewGroup: newGroup})
}

func (u subscribed) heard() uint64 { return u.s.Conn().Stats().BytesReceived }

func (r *Relay) upstreamEnded(name wire.FullTrackName, epoch uint64, cause error) {
	ended, _ := errors.AsType[*track.EndError](cause)
	r.post(func(now time.Time) []action { return r.core.upstreamEnded(now, name, epoch, ended) })
}

// requestCode returns how to refuse a subscriber whose publisher answered err.
// What concerns the track is passed on. What concerns the session upstream would
// be taken for a word about this one.
func requestCode(err error) (wire.RequestCode, string) {
	refused, ok := errors.AsType[*track.RequestError](err)
	if !ok {
		return wire.RequestInternalError, "the publisher's session ended"
	}
	switch refused.Code {
	case wire.RequestUnauthorized, wire.RequestTimeout, wire.RequestNotSupported, wire.RequestExcessiveLoad,
		wire.RequestDoesNotExist, wire.RequestInvalidRange, wire.RequestMalformedTrack, wire.RequestUnsupportedExtension:
		return refused.Code, refused.Reason
	case wire.RequestGoingAway, wire.RequestRedirect:
		return wire.RequestDoesNotExist, "the publisher goes elsewhere"
	default:
		return wire.RequestInternalError, refused.Reason
	}
}
