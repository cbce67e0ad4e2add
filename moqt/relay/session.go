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
	return p, nil
}

// leave tells the core that the session has ended.
func (p *peer) leave() {
	p.guard.close()
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
			p.r.cfg.Log.Info("session refused", "session", p.s.ID(), "remote", info.Remote.String(), "err", p.refusal)
		}
	})
	return p.permit, p.refusal
}

// authorize refuses req through reject, or returns our name of its namespace.
func (p *peer) authorize(req AuthRequest, params wire.Params, reject func(wire.RequestCode, string)) (wire.Namespace, bool) {
	permit, err := p.admit()
	if err == nil {
		req.Tokens = params.Tokens
		var ns wire.Namespace
		if ns, err = permit.Authorize(req); err == nil {
			return ns, true
		}
	}
	code := wire.RequestUnauthorized
	if refused, ok := errors.AsType[*moqt.RequestError](err); ok {
		code = refused.Code
	}
	reject(code, shown(err))
	if p.refusal != nil {
		p.telling.Do(func() { close(p.told) })
	}
	return wire.Namespace{}, false
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
	ns, ok := p.authorize(AuthRequest{Action: SubscribeTrack, Namespace: req.Name.Namespace, Track: req.Name.Name}, req.Params, req.Reject)
	if !ok {
		return
	}
	name := track.Name{Namespace: ns, Name: req.Name.Name}
	sub := &remoteSubscriber{req}
	var hold time.Duration
	if d := req.Params.RendezvousTimeout; d != nil {
		hold = *d
	}
	p.r.post(func(now time.Time) []action { return p.r.core.subscribe(now, name, sub, hold) })
	req.OnEnd(func(error) {
		p.r.post(func(now time.Time) []action { return p.r.core.unsubscribe(now, name, sub) })
	})
}

type remoteSubscriber struct{ req *moqt.SubscribeRequest }

func (s *remoteSubscriber) accept(t *track.Track)                       { s.req.Accept(t) }
func (s *remoteSubscriber) reject(code wire.RequestCode, reason string) { s.req.Reject(code, reason) }

// HandleFetch implements moqt.Handler.
func (p *peer) HandleFetch(req *moqt.FetchRequest) {
	req.Reject(wire.RequestNotSupported, "FETCH is not supported")
}

// HandleTrackStatus implements moqt.Handler.
func (p *peer) HandleTrackStatus(req *moqt.TrackStatusRequest) {
	req.Reject(wire.RequestNotSupported, "TRACK_STATUS is not supported")
}

// HandlePublishNamespace implements moqt.Handler.
func (p *peer) HandlePublishNamespace(req *moqt.PublishNamespaceRequest) {
	ns, ok := p.authorize(AuthRequest{Action: PublishNamespace, Namespace: req.Namespace}, req.Params, req.Reject)
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
	ns, ok := p.authorize(AuthRequest{Action: SubscribeNamespace, Namespace: req.Prefix}, req.Params, req.Reject)
	if !ok {
		return
	}
	w := &watcher{prefix: ns, sink: view{req, ns, p.permit}}
	req.Accept()
	p.r.post(func(time.Time) []action { return p.r.core.watch(w) })
	req.OnEnd(func(error) {
		p.r.post(func(time.Time) []action { return p.r.core.unwatch(w) })
	})
}

// A view is what a session that watches namespaces sees of them: those that it
// may see, under the prefix as it spelled it.
type view struct {
	req    *moqt.SubscribeNamespaceRequest
	prefix wire.Namespace // ours
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
	return respell(ns, v.prefix, v.req.Prefix)
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

// HandleSubscribeTracks implements moqt.Handler.
func (p *peer) HandleSubscribeTracks(req *moqt.SubscribeTracksRequest) {
	req.Reject(wire.RequestNotSupported, "SUBSCRIBE_TRACKS is not supported")
}

// HandlePublish implements moqt.Handler.
func (p *peer) HandlePublish(req *moqt.PublishRequest) {
	ns, ok := p.authorize(AuthRequest{Action: PublishTrack, Namespace: req.Name.Namespace, Track: req.Name.Name}, req.Params, req.Reject)
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

func (o *remotePublication) accept(into *track.Track) {
	if into == nil {
		into = o.req.Track()
	}
	o.req.Target(into) // ours to end, so that it survives the session
	o.req.Accept()
}

func (o *remotePublication) refuse(code wire.RequestCode, reason string) { o.req.Reject(code, reason) }

// connect subscribes at a session, aside.
func (r *Relay) connect(a actConnect) {
	r.connects.Go(func() {
		ctx, cancel := context.WithTimeoutCause(r.ctx, r.cfg.Connect,
			&track.RequestError{Code: wire.RequestTimeout, Reason: "the publisher did not answer"})
		defer cancel()
		// What ended says may come before SubscribeInto returns; the core must
		// hear it after the answer.
		upstream, ended := context.WithCancelCause(context.Background())
		theirs, _ := respell(a.name.Namespace, a.src.ns, a.src.theirs)
		up, err := a.src.peer.s.SubscribeInto(ctx, track.Name{Namespace: theirs, Name: a.name.Name}, a.into, track.SubscribeOptions{}, ended)
		if err != nil {
			r.metrics.connects.WithLabelValues("refused").Inc()
			r.cfg.Log.Debug("upstream subscription failed", "track", a.name, "session", a.src.peer.s.ID(), "err", err)
			r.post(func(now time.Time) []action { return r.core.connected(now, a.name, a.epoch, nil, err) })
			return
		}
		r.metrics.connects.WithLabelValues("accepted").Inc()
		r.post(func(now time.Time) []action { return r.core.connected(now, a.name, a.epoch, up, nil) })
		context.AfterFunc(upstream, func() { r.upstreamEnded(a.name, a.epoch, context.Cause(upstream)) })
	})
}

func (r *Relay) upstreamEnded(name wire.FullTrackName, epoch uint64, cause error) {
	ended, _ := errors.AsType[*track.EndError](cause)
	r.post(func(now time.Time) []action { return r.core.upstreamEnded(now, name, epoch, ended) })
}

// requestCode returns how to refuse a subscriber whose publisher answered err.
func requestCode(err error) (wire.RequestCode, string) {
	if refused, ok := errors.AsType[*track.RequestError](err); ok {
		return refused.Code, refused.Reason
	}
	return wire.RequestInternalError, "the publisher's session ended"
}
