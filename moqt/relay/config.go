package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
	"github.com/prometheus/client_golang/prometheus"
)

// Config configures a Relay. The zero value is ready to use.
type Config struct {
	// Session configures the sessions that Serve runs. Its Handler is set by
	// the relay.
	Session moqt.Config
	// Authorizer decides who may publish and subscribe. Nil allows everybody
	// everything.
	Authorizer Authorizer
	// Grace is how long a track and its namespace outlive a publisher whose
	// session was lost, so that one that returns continues them. Zero means 5 s,
	// negative none.
	Grace time.Duration
	// Linger is how long the upstream subscription of a track outlives its last
	// subscriber. Zero means 30 s.
	Linger time.Duration
	// Connect bounds the wait for a publisher's answer to SUBSCRIBE. Zero
	// means 10 s.
	Connect time.Duration
	// MaxRendezvous caps RENDEZVOUS_TIMEOUT (section 10.2.4). Zero means 10 s.
	MaxRendezvous time.Duration
	// MaxHeld is how many subscriptions may wait for a publisher at a time.
	// Zero means 128.
	MaxHeld int
	// InputTrack names a track that a part of this process reads from sessions,
	// with SubscribeSession, as an input: it may be offered with PUBLISH under a
	// namespace that has a publisher in this process, which refuses all others.
	// Empty: there is none.
	InputTrack string
	// Log takes what happens to sessions, tracks and namespaces. Nil: nothing.
	Log *slog.Logger
	// Registerer takes the relay's metrics. Nil: none.
	Registerer prometheus.Registerer
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	c.Grace = max(0, cmp.Or(c.Grace, 5*time.Second))
	c.Linger = cmp.Or(c.Linger, 30*time.Second)
	c.Connect = cmp.Or(c.Connect, 10*time.Second)
	c.MaxRendezvous = cmp.Or(c.MaxRendezvous, 10*time.Second)
	c.MaxHeld = cmp.Or(c.MaxHeld, 128)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var faults []error
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"Linger", c.Linger}, {"Connect", c.Connect}, {"MaxRendezvous", c.MaxRendezvous}} {
		if f.d < 0 {
			faults = append(faults, fmt.Errorf("relay: %s is %v, want more than 0", f.name, f.d))
		}
	}
	if c.MaxHeld < 0 {
		faults = append(faults, fmt.Errorf("relay: MaxHeld is %d, want 1 or more", c.MaxHeld))
	}
	return c, errors.Join(faults...)
}

// An Action is what a peer asks for.
type Action int

// The actions that an Authorizer decides on.
const (
	PublishNamespace Action = iota + 1
	PublishTrack
	SubscribeNamespace
	SubscribeTrack
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
	Namespace wire.Namespace // for SubscribeNamespace: the prefix
	Track     string         // for PublishTrack and SubscribeTrack
	Tokens    []wire.Token   // of the request
}

// An Authorizer decides about sessions. A *moqt.RequestError says how to refuse;
// with any other error it is UNAUTHORIZED and the text is not shown to the peer.
type Authorizer interface {
	// Admit decides about a session when its SETUP has come. It must not block.
	// A session that is refused gets the error as the answer to its first
	// request and is then closed with UNAUTHORIZED.
	Admit(Credentials) (Permit, error)
}

// A Permit is what one session may do. Its methods must not block.
type Permit interface {
	// Authorize allows a request or returns why not. The peer's name for the
	// namespace may be another than ours: ns is ours.
	Authorize(AuthRequest) (ns wire.Namespace, err error)
	// Visible says whether the session may hear that a namespace is published.
	Visible(ns wire.Namespace) bool
	// Context ends when the permit does, such as at the expiry of its token. The
	// session is then closed with UNAUTHORIZED and the text of the cause.
	Context() context.Context
	// Close lets go of it, when the session has ended.
	Close()
}

// openDoor is the Permit of those whom no Authorizer looks at.
type openDoor struct{}

func (openDoor) Authorize(r AuthRequest) (wire.Namespace, error) { return r.Namespace, nil }
func (openDoor) Visible(wire.Namespace) bool                     { return true }
func (openDoor) Context() context.Context                        { return context.Background() }
func (openDoor) Close()                                          {}
