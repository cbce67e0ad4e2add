package relay

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
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
	// Zero means 128. One session may have half of that.
	MaxHeld int
	// MaxPublishers is how many publishers of one track are subscribed to at a
	// time. Zero means 4.
	MaxPublishers int
	// MaxFills is how many holes in tracks are asked for upstream at a time, for
	// FETCHes. Zero means 64.
	MaxFills int
	// History, unless nil, is asked for what is older than the cache of a track,
	// before its publishers are.
	History History
	// InputTrack names a track that a part of this process reads from sessions,
	// with SubscribeSession, as an input: it may be offered with PUBLISH under a
	// namespace that has a publisher in this process, which refuses all others.
	// Empty: there is none.
	InputTrack string
	// Listings name tracks that describe others, such as a catalog: a session
	// that reads nothing else is none of Relay.Readers.
	Listings []string
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
	c.MaxPublishers = cmp.Or(c.MaxPublishers, 4)
	c.MaxFills = cmp.Or(c.MaxFills, 64)
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
	for _, f := range []struct {
		name string
		n    int
	}{{"MaxHeld", c.MaxHeld}, {"MaxPublishers", c.MaxPublishers}, {"MaxFills", c.MaxFills}} {
		if f.n < 0 {
			faults = append(faults, fmt.Errorf("relay: %s is %d, want 1 or more", f.name, f.n))
		}
	}
	return c, errors.Join(faults...)
}
