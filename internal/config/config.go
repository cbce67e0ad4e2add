// Package config holds the daemon's settings: one table of keys, read from a
// YAML file, from BROADCASTD_… variables and from flags, each stronger than the
// one before it.
//
// A key that nobody knows is an error with its line and the nearest name.
// Every value remembers where it came from.
package config

import (
	"net/netip"
	"time"
)

// A Config is the daemon's settings, with the defaults filled in. Load makes it.
type Config struct {
	StateDir      string // where certificate and admin key are kept
	AdminKey      string // empty: one is generated
	Demo          bool   // feed the built-in clip
	GroupDuration time.Duration
	PublicURL     string // the site as players reach it, without a path's end; empty: unknown
	Pulls         []Pull
	PullAllow     []netip.Prefix // what pulls may reach besides the public Internet
	// TrustedProxies may speak for others in Forwarded headers.
	TrustedProxies []netip.Prefix

	HTTP   Listener
	RTMP   Listener
	RTMPS  Listener
	SRT    SRT
	WebRTC Listener
	Admin  Listener
	MoQ    MoQ
	TLS    TLS
	Auth   Auth
	Ingest Ingest
	Log    Log

	Metrics Metrics
}

// A Listener is an address to listen at, host:port; empty means off.
type Listener struct{ Listen string }

// SRT configures SRT, which holds packets back for a latency that is its port's.
type SRT struct {
	Listen  string
	Latency time.Duration
	More    []SRTListener
}

// An SRTListener is one more port for SRT.
type SRTListener struct {
	Listen  string        `yaml:"listen"`
	Latency time.Duration `yaml:"latency"` // zero: SRT.Latency
}

// A Pull is a remote presentation to fetch.
type Pull struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
	// Headers go to the URL's own host with every request; HLS only.
	Headers map[string]string `yaml:"headers,omitempty"`
}

// MoQ configures MoQT, over UDP, and the same site over HTTPS on the same TCP port.
type MoQ struct {
	Listen string
	Public string // the URL that players are told; empty: the host they asked for and this port
	Join   string // group or strict
	// DrainURI is where sessions are sent before the process ends; empty: nowhere,
	// it ends at once. DrainTimeout is how long they have.
	DrainURI     string
	DrainTimeout time.Duration
	CacheBytes   int64 // what tracks may cache in all; 0: by the machine's memory
}

// TLS names a certificate and its key; both empty means self-signed.
type TLS struct{ Cert, Key string }

// Auth says who may come in.
type Auth struct {
	JWKS string // a file or an https URL
	// Callback is asked about whom no key here decides; CallbackSecret goes along.
	Callback, CallbackSecret string
	Loopback                 bool // loopback peers may use ad-hoc names without a key
}

// Ingest configures inputs.
type Ingest struct {
	Grace time.Duration // how long a lost input may take to return
	Stall time.Duration // how long an input may bring nothing before its backup goes out
}

// Metrics configures /metrics.
type Metrics struct {
	StreamLabel int // how many inputs get metrics of their own; 0: none
}

// Log configures logging.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // auto, text or json
}
