package moqt

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A Handler answers what the peer asks for. It is called from the session's
// loop, so it must not block: it keeps the request and answers it, once, from
// any goroutine, also before it returns. Further answers have no effect.
type Handler interface {
	HandleSubscribe(*SubscribeRequest)
	HandleFetch(*FetchRequest)
	HandleTrackStatus(*TrackStatusRequest)
	HandlePublish(*PublishRequest)
	HandlePublishNamespace(*PublishNamespaceRequest)
	HandleSubscribeNamespace(*SubscribeNamespaceRequest)
	HandleSubscribeTracks(*SubscribeTracksRequest)
}

// RequestError says why a request was refused.
type RequestError = track.RequestError

// A request is what the kinds of incoming request share.
type request struct {
	s        *Session
	sid      streamID
	ctx      context.Context
	end      context.CancelCauseFunc
	answered atomic.Bool

	mu    sync.Mutex
	over  bool
	ended []func(cause error) // until it is over
	// updated is what OnUpdate was given.
	updated func(wire.Params) error
	expires *time.Time // what ExpireAt was given last
}

// Context ends when the request has ended: refused, cancelled by the peer,
// withdrawn, done, or its session is gone. Its cause says which: the
// *SessionError of the session, a *track.EndError for a subscription that ended
// with PUBLISH_DONE, a *StreamError for a cancelled one.
func (r *request) Context() context.Context { return r.ctx }

// OnEnd has f called once when the request ends, from the session's loop, in the
// order of what else comes from there; at once if it has ended. cause is that of
// Context. f must not block.
func (r *request) OnEnd(f func(cause error)) {
	r.mu.Lock()
	over := r.over
	if !over {
		r.ended = append(r.ended, f)
	}
	r.mu.Unlock()
	if over {
		f(context.Cause(r.ctx))
	}
}

// finish ends the request.
func (r *request) finish(cause error) {
	r.answered.Store(true)
	r.end(cause)
	r.mu.Lock()
	ended := r.ended
	r.ended, r.over = nil, true
	r.mu.Unlock()
	for _, f := range ended {
		f(cause)
	}
}

// Session returns the session that the request came on.
func (r *request) Session() *Session { return r.s }

// Reject refuses the request with REQUEST_ERROR (section 10.6). The reason is
// for people, at most 1024 bytes.
func (r *request) Reject(code wire.RequestCode, reason string) {
	r.answer(evReject{sid: r.sid, code: code, reason: reason})
}

func (r *request) answer(ev event) {
	if !r.answered.Swap(true) {
		r.s.call(ev)
	}
}

// A SubscribeRequest is a SUBSCRIBE (section 10.7).
type SubscribeRequest struct {
	*request
	Name   track.Name
	Params wire.Params // read only
}

// Accept answers with SUBSCRIBE_OK and sends t from then on, until it ends or
// the subscription does.
func (r *SubscribeRequest) Accept(t *track.Track) { r.answer(evAcceptSubscribe{sid: r.sid, t: t}) }

// A PublishRequest is a PUBLISH (section 10.10).
type PublishRequest struct {
	*request
	Name   track.Name
	Params wire.Params // read only
	own    *track.Track
	hold   *hold
	target atomic.Pointer[track.Track]
}

// Track returns the track that Accept fills: the one that Target named, else
// one that the session made. What arrives before Accept waits, within bounds,
// and goes into the track then.
func (r *PublishRequest) Track() *track.Track {
	if t := r.target.Load(); t != nil {
		return t
	}
	return r.own
}

// Target makes Accept fill t, which another source may have begun: the
// publication continues it. The session then never ends t, which may also be
// Track itself; the end of Context says that nothing more will come. Call it
// before Accept.
func (r *PublishRequest) Target(t *track.Track) { r.target.Store(t) }

// Accept answers with REQUEST_OK.
func (r *PublishRequest) Accept() {
	r.answer(evAcceptPublish{sid: r.sid, t: r.Track(), keep: r.target.Load() != nil})
}

// AcceptWith is Accept with something to ask for: what of o has its place in
// PUBLISH_OK. A Start of CurrentGroup takes whatever the publisher sends.
func (r *PublishRequest) AcceptWith(o track.SubscribeOptions) {
	r.answer(evAcceptPublish{sid: r.sid, t: r.Track(), keep: r.target.Load() != nil, opt: &o})
}

// Update changes an accepted publication with REQUEST_UPDATE (section 10.9.1).
// It does not block: u.Done tells how it ends.
func (r *PublishRequest) Update(u track.SubscribeUpdate) { r.hold.Update(u) }

// Expires returns when the publisher wants to end the publication, as EXPIRES
// says (section 10.2.10). Zero: it does not say.
func (r *PublishRequest) Expires() time.Time { return r.hold.Expires() }

// Close ends an accepted publication from our side. It is idempotent.
func (r *PublishRequest) Close() { r.s.call(evCancel{sid: r.sid, code: wire.ResetCancelled}) }

// A PublishNamespaceRequest is a PUBLISH_NAMESPACE (section 10.15). Its Context
// ends when the peer withdraws the namespace.
type PublishNamespaceRequest struct {
	*request
	Namespace track.Namespace
	Params    wire.Params // read only
}

// Accept answers with REQUEST_OK.
func (r *PublishNamespaceRequest) Accept() { r.answer(evAccept{sid: r.sid}) }

// A SubscribeNamespaceRequest is a SUBSCRIBE_NAMESPACE (section 10.18).
type SubscribeNamespaceRequest struct {
	*request
	Prefix track.Namespace
	Params wire.Params // read only
}

// Accept answers with REQUEST_OK.
//
// An update that the function of OnUpdate grants may move the prefix (section
// 10.9.2). What was announced until then is forgotten, so that the handler
// announces what is below the new prefix, and withdraws what is no longer. What
// it says from that function on, from any goroutine, is taken as said after the
// move.
func (r *SubscribeNamespaceRequest) Accept() { r.answer(evAccept{sid: r.sid}) }

// Announce sends NAMESPACE for ns, once Accept was called. It does not block.
// A namespace outside the prefix, or one that is announced already, is left out.
func (r *SubscribeNamespaceRequest) Announce(ns track.Namespace) {
	r.s.call(evNamespace{sid: r.sid, ns: ns, active: true})
}

// Withdraw sends NAMESPACE_DONE for ns, if it was announced. It does not block.
func (r *SubscribeNamespaceRequest) Withdraw(ns track.Namespace) {
	r.s.call(evNamespace{sid: r.sid, ns: ns, active: false})
}
