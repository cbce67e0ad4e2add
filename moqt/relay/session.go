package relay

import (
	"context"
	"errors"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A peer is one session of the relay. It answers the session's requests by
// handing them to the core.
type peer struct {
	r    *Relay
	conn moqt.Conn
	s    *moqt.Session
}

// Serve runs a session on conn until it ends, as moqt.Session.Run does.
func (r *Relay) Serve(ctx context.Context, conn moqt.Conn) error {
	p := &peer{r: r, conn: conn}
	cfg := r.cfg.Session
	cfg.Handler = p
	s, err := moqt.NewSession(conn, cfg)
	if err != nil {
		return err
	}
	p.s = s
	r.metrics.sessions.Inc()
	defer r.metrics.sessions.Dec()
	err = s.Run(ctx)
	r.post(func(now time.Time) []action { return r.core.peerGone(now, p) })
	return err
}

// authorize refuses req through reject, or returns true.
func (p *peer) authorize(req AuthRequest, params wire.Params, reject func(wire.RequestCode, string)) bool {
	auth := p.r.cfg.Authorizer
	if auth == nil {
		return true
	}
	req.Conn = p.conn.Info()
	req.Tokens = append(req.Tokens, params.Tokens...)
	err := auth.Authorize(req)
	if err == nil {
		return true
	}
	code, reason := wire.RequestUnauthorized, "not authorized"
	if refused, ok := errors.AsType[*moqt.RequestError](err); ok {
		code, reason = refused.Code, refused.Reason
	}
	reject(code, reason)
	return false
}

// HandleSubscribe implements moqt.Handler.
func (p *peer) HandleSubscribe(req *moqt.SubscribeRequest) {
	if !p.authorize(AuthRequest{Action: SubscribeTrack, Namespace: req.Name.Namespace, Track: req.Name.Name}, req.Params, req.Reject) {
		return
	}
	sub := &remoteSubscriber{req}
	var hold time.Duration
	if d := req.Params.RendezvousTimeout; d != nil {
		hold = *d
	}
	p.r.post(func(now time.Time) []action { return p.r.core.subscribe(now, req.Name, sub, hold) })
	context.AfterFunc(req.Context(), func() {
		p.r.post(func(now time.Time) []action { return p.r.core.unsubscribe(now, req.Name, sub) })
	})
}

type remoteSubscriber struct{ req *moqt.SubscribeRequest }

func (s *remoteSubscriber) accept(t *track.Track)                       { s.req.Accept(t) }
func (s *remoteSubscriber) reject(code wire.RequestCode, reason string) { s.req.Reject(code, reason) }

// HandlePublishNamespace implements moqt.Handler.
func (p *peer) HandlePublishNamespace(req *moqt.PublishNamespaceRequest) {
	if !p.authorize(AuthRequest{Action: PublishNamespace, Namespace: req.Namespace}, req.Params, req.Reject) {
		return
	}
	src := &source{ns: req.Namespace, peer: p, routable: true}
	p.r.post(func(now time.Time) []action { return p.r.core.announce(now, src) })
	req.Accept()
	context.AfterFunc(req.Context(), func() {
		if !lost(req.Context()) {
			p.r.post(func(now time.Time) []action { return p.r.core.withdraw(now, src) })
		}
	})
}

// lost tells whether a request ended with its session. Otherwise the peer has
// ended it.
func lost(request context.Context) bool {
	_, ok := errors.AsType[*moqt.SessionError](context.Cause(request))
	return ok
}

// HandleSubscribeNamespace implements moqt.Handler.
func (p *peer) HandleSubscribeNamespace(req *moqt.SubscribeNamespaceRequest) {
	if !p.authorize(AuthRequest{Action: SubscribeNamespace, Namespace: req.Prefix}, req.Params, req.Reject) {
		return
	}
	w := &watcher{prefix: req.Prefix, sink: req}
	req.Accept()
	p.r.post(func(time.Time) []action { return p.r.core.watch(w) })
	context.AfterFunc(req.Context(), func() {
		p.r.post(func(time.Time) []action { return p.r.core.unwatch(w) })
	})
}

// HandlePublish implements moqt.Handler.
func (p *peer) HandlePublish(req *moqt.PublishRequest) {
	if !p.authorize(AuthRequest{Action: PublishTrack, Namespace: req.Name.Namespace, Track: req.Name.Name}, req.Params, req.Reject) {
		return
	}
	src := &source{ns: req.Name.Namespace, peer: p}
	p.r.post(func(now time.Time) []action {
		epoch, acts := p.r.core.published(now, src, req.Name, &remotePublication{req})
		if epoch == 0 {
			return acts
		}
		acts = append(acts, p.r.core.announce(now, src)...)
		context.AfterFunc(req.Context(), func() {
			p.r.upstreamEnded(req.Name, epoch, context.Cause(req.Context()))
			if !lost(req.Context()) {
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
		up, err := a.peer.s.SubscribeInto(ctx, a.name, a.into, track.SubscribeOptions{}, ended)
		if err != nil {
			r.metrics.connects.WithLabelValues("refused").Inc()
			r.cfg.Log.Info("upstream subscription failed", "track", a.name, "session", a.peer.s.ID(), "err", err)
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
