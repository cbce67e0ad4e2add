package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An Action is what a peer asks for.
type Action int

// The actions that an Authorizer decides on.
const (
	PublishNamespace Action = iota + 1
	PublishTrack
	SubscribeNamespace
	SubscribeTrack
	FetchTrack
	TrackStatus
	SubscribeTracks
)

func (a Action) String() string {
	switch a {
	case PublishNamespace:
		return "publish namespace"
	case PublishTrack:
		return "publish"
	case SubscribeNamespace:
		return "subscribe namespace"
	case SubscribeTrack:
		return "subscribe"
	case FetchTrack:
		return "fetch"
	case TrackStatus:
		return "track status"
	case SubscribeTracks:
		return "subscribe tracks"
	default:
		return fmt.Sprintf("Action(%d)", int(a))
	}
}

// Credentials are what a session shows of itself.
type Credentials struct {
	Conn moqt.ConnInfo
	// Path of the session's URL, with its query; both may carry a credential.
	// From the CONNECT request, or the SETUP of a client on raw QUIC.
	Path   string
	Tokens []wire.Token // of the SETUP
}

// An AuthRequest is one thing that a peer wants to do.
type AuthRequest struct {
	Action    Action
	Namespace wire.Namespace // for SubscribeNamespace and SubscribeTracks: the prefix
	Track     string         // for those that are about one track
	Tokens    []wire.Token   // of the request
}

// An Authorizer decides about sessions. A *moqt.RequestError says how to refuse;
// with any other error it is UNAUTHORIZED and the text is not shown to the peer.
type Authorizer interface {
	// Admit decides about a session when its SETUP has come. It may wait for
	// some seconds, such as for a key that has to be fetched: the session's
	// requests wait with it, and nobody else does. A session that is refused gets
	// the error as the answer to its first request and is then closed with
	// UNAUTHORIZED.
	Admit(Credentials) (Permit, error)
}

// A Permit is what one session may do.
type Permit interface {
	// Authorize allows a request or returns why not. The peer's name for the
	// namespace may be another than ours: ns is ours. It may wait as Admit may;
	// what the session is sent goes on meanwhile.
	Authorize(AuthRequest) (ns wire.Namespace, err error)
	// Visible says whether the session may hear that a namespace is published.
	// It must not block: all sessions that watch are told one after the other.
	Visible(ns wire.Namespace) bool
	// Context ends when the permit does, such as at the expiry of its token. The
	// session is then closed with UNAUTHORIZED and the text of the cause.
	Context() context.Context
	// Close lets go of it, when the session has ended.
	Close()
}

// Expiring is a Permit that knows when it will end by itself. Subscribers are
// told so with EXPIRES (section 10.2.10).
type Expiring interface{ Expires() time.Time }

// openDoor is the Permit of those whom no Authorizer looks at.
type openDoor struct{}

func (openDoor) Authorize(r AuthRequest) (wire.Namespace, error) { return r.Namespace, nil }
func (openDoor) Visible(wire.Namespace) bool                     { return true }
func (openDoor) Context() context.Context                        { return context.Background() }
func (openDoor) Close()                                          {}
