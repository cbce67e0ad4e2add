package relay

import (
	"cmp"
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

// An AuthRequest is one thing that a peer wants to do.
type AuthRequest struct {
	Conn      moqt.ConnInfo
	Action    Action
	Namespace wire.Namespace // for SubscribeNamespace: the prefix
	Track     string         // for PublishTrack and SubscribeTrack
	Tokens    []wire.Token   // of the request and of the SETUP
}

// An Authorizer decides whether a peer may do what it asks for. It must not
// block. A *moqt.RequestError says how to refuse; any other error refuses with
// UNAUTHORIZED and is not shown to the peer.
type Authorizer interface {
	Authorize(AuthRequest) error
}
