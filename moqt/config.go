package moqt

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// Config configures a Session. The zero value is ready to use.
type Config struct {
	// Handler answers the peer's requests. With nil they are refused with
	// NOT_SUPPORTED, but for those that Announce covers; SUBSCRIBE_NAMESPACE is
	// then answered with what Announce has announced.
	Handler Handler
	// Log takes the session's records. Nil discards them.
	Log *slog.Logger
	// Registerer takes the metrics, which all sessions share. Nil registers none.
	Registerer prometheus.Registerer
	// Metrics are those that sessions share, of NewMetrics: to make them costs more
	// than a session does. Nil looks them up at Registerer.
	Metrics *Metrics
	Limits  Limits
	// Implementation goes into SETUP (section 10.3.1.5). Empty means "broadcastd".
	Implementation string
	// Authority and Path (with its query) go into a client's SETUP on raw QUIC.
	// Empty: the option is left out.
	Authority, Path string
	// Tokens go into SETUP, each by value (section 10.3.1.4). All of them have to
	// fit a message of 65535 bytes.
	Tokens []track.Token
	// JoinStrict answers a Largest Object subscription exactly as the draft says,
	// from the next object on. Otherwise it starts with the current group.
	JoinStrict bool
	// TrackConfig bounds the tracks that the session receives.
	TrackConfig track.Config
	Egress      egress.Config
	// SetupTimeout is how long the peer may take for its SETUP. Zero means 5 s.
	SetupTimeout time.Duration
	// ResponseTimeout is how long the peer may take to answer a request. Zero
	// means 10 s.
	ResponseTimeout time.Duration
}

// Limits bound what one peer can make a session hold. A zero field means its
// default, which its comment gives.
type Limits struct {
	Requests      int // request streams of the peer that are not answered yet; 128
	Namespaces    int // namespaces the peer has announced, and prefixes it watches; 256
	Subscriptions int // tracks the peer is subscribed to; 64
	Tracks        int // tracks received from the peer; 64
	Fetches       int // FETCHes of the peer that are not answered in full; 64
	DataStreams   int // open inbound data streams; 256
	// EarlyStreams bounds the data streams that wait for the message that tells
	// their track alias. Each holds one read, at most 2 KiB; flow control keeps
	// the rest at the sender or in the transport. 64
	EarlyStreams int
	// EarlyDatagrams bounds the datagrams that wait for it. They have 256 KiB at
	// most. 64
	EarlyDatagrams int
	// EarlyWait is how long both wait, and how long a joining FETCH waits for what
	// it may have overtaken. 2 s
	EarlyWait time.Duration
	// ControlBytes bounds what is held of unfinished messages and of requests
	// that came before SETUP, over all streams. 1 MiB
	ControlBytes int
	// DoneWait is how long data streams may come after PUBLISH_DONE. 2 s
	DoneWait time.Duration
	// FillTimeout is how long a FETCH of the peer may wait in all for objects that
	// have to be fetched first; the peer may state less (section 10.2.5). 10 s
	FillTimeout time.Duration
	// FetchIdle is how long the answer to a FETCH of ours may bring nothing. 30 s
	FetchIdle time.Duration
	// TokenCache bounds what the peer registers by alias, in bytes, 16 and its
	// value for each token (MAX_AUTH_TOKEN_CACHE_SIZE, section 10.3.1.3). Below 0
	// aliases are not allowed. 16 KiB
	TokenCache int
	// Token bounds the value of one token, in bytes. 4096
	Token int
	// StreamStall is how long a data stream may stand still inside an object
	// before it is stopped with DELIVERY_TIMEOUT. 30 s
	StreamStall time.Duration
	// Matches bounds the namespaces, and the tracks that cannot be offered, that
	// the peer is told of for one prefix. 1024
	Matches int
	// PublishWait is how long the PUBLISH for a SUBSCRIBE_TRACKS may wait for
	// stream credit before PUBLISH_BLOCKED takes its place. 500 ms
	PublishWait time.Duration
	// WriteTimeout is how long a control message may wait for flow control. 2 s
	WriteTimeout time.Duration
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Implementation = cmp.Or(c.Implementation, "broadcastd")
	c.SetupTimeout = cmp.Or(c.SetupTimeout, 5*time.Second)
	c.ResponseTimeout = cmp.Or(c.ResponseTimeout, 10*time.Second)
	l := &c.Limits
	l.Requests = cmp.Or(l.Requests, 128)
	l.Namespaces = cmp.Or(l.Namespaces, 256)
	l.Subscriptions = cmp.Or(l.Subscriptions, 64)
	l.Tracks = cmp.Or(l.Tracks, 64)
	l.Fetches = cmp.Or(l.Fetches, 64)
	l.DataStreams = cmp.Or(l.DataStreams, 256)
	l.EarlyStreams = cmp.Or(l.EarlyStreams, 64)
	l.FillTimeout = cmp.Or(l.FillTimeout, 10*time.Second)
	l.FetchIdle = cmp.Or(l.FetchIdle, 30*time.Second)
	l.EarlyDatagrams = cmp.Or(l.EarlyDatagrams, 64)
	l.EarlyWait = cmp.Or(l.EarlyWait, 2*time.Second)
	l.ControlBytes = cmp.Or(l.ControlBytes, 1<<20)
	l.StreamStall = cmp.Or(l.StreamStall, 30*time.Second)
	l.TokenCache = cmp.Or(l.TokenCache, 16<<10)
	l.Token = cmp.Or(l.Token, 4096)
	l.Matches = cmp.Or(l.Matches, 1024)
	l.PublishWait = cmp.Or(l.PublishWait, 500*time.Millisecond)
	l.DoneWait = cmp.Or(l.DoneWait, 2*time.Second)
	l.WriteTimeout = cmp.Or(l.WriteTimeout, 2*time.Second)

	var faults []error
	for _, n := range []struct {
		name  string
		value int
	}{
		{"Requests", l.Requests},
		{"Namespaces", l.Namespaces},
		{"Subscriptions", l.Subscriptions},
		{"Tracks", l.Tracks},
		{"Fetches", l.Fetches},
		{"DataStreams", l.DataStreams},
		{"EarlyStreams", l.EarlyStreams},
		{"EarlyDatagrams", l.EarlyDatagrams},
		{"Matches", l.Matches},
		{"Token", l.Token},
	} {
		if n.value < 1 {
			faults = append(faults, fmt.Errorf("moqt: Limits.%s is %d, want 1 or more", n.name, n.value))
		}
	}
	if !fits(wire.Setup{Implementation: c.Implementation, Tokens: byValue(c.Tokens), Authority: &c.Authority, Path: &c.Path}) {
		faults = append(faults, errors.New("moqt: Tokens and the rest of SETUP do not fit a message"))
	}
	if l.ControlBytes < wire.MaxFrame {
		faults = append(faults, fmt.Errorf("moqt: Limits.ControlBytes is %d, want %d or more", l.ControlBytes, wire.MaxFrame))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"SetupTimeout", c.SetupTimeout},
		{"ResponseTimeout", c.ResponseTimeout},
		{"Limits.EarlyWait", l.EarlyWait},
		{"Limits.FillTimeout", l.FillTimeout},
		{"Limits.FetchIdle", l.FetchIdle},
		{"Limits.DoneWait", l.DoneWait},
		{"Limits.PublishWait", l.PublishWait},
		{"Limits.StreamStall", l.StreamStall},
		{"Limits.WriteTimeout", l.WriteTimeout},
	} {
		if d.value < 0 {
			faults = append(faults, fmt.Errorf("moqt: %s is %v, want more than 0", d.name, d.value))
		}
	}
	return c, errors.Join(faults...)
}

// maxObject returns the largest payload of an object that is taken, in bytes.
func (c Config) maxObject() uint64 {
	if n := c.TrackConfig.MaxObject; n > 0 {
		return uint64(n)
	}
	return 16 << 20
}
