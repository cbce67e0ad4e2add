package auth

import (
	"crypto"
	"net/netip"
	"slices"
	"time"
)

// A Directory knows the keys and the live inputs. It answers from memory and
// never blocks; its methods may be called from any goroutine.
type Directory interface {
	// SigningKey returns the key that a token's kid names.
	SigningKey(kid string) (SigningKeyInfo, bool)
	// StreamKey returns the stream key sk_live_<id>_….
	StreamKey(id string) (StreamKeyInfo, bool)
	// VerifyStreamKey says whether secret is that of the stream key id. It
	// takes the same time for an id that is not known: see VerifySecret.
	VerifyStreamKey(id, secret string) bool
	// Input returns a live input by its external id. Those are unique over all
	// organisations.
	Input(external string) (Input, bool)
	// TokenRevoked says whether an organisation has taken back its token of that
	// jti, which others may use for theirs.
	TokenRevoked(org, jti string) bool
	// OnChange has f called after a change holds, until stop is called. f does
	// not block.
	OnChange(f func(Change)) (stop func())
}

// A Change tells that one thing of a Directory was made, changed or deleted.
type Change struct {
	Kind    string // one of the Changed… constants, or another kind of thing
	ID      string
	Org     string
	Deleted bool
}

// The kinds of Change that a Gate looks at.
const (
	ChangedInput      = "input"
	ChangedSigningKey = "signing-key"
	ChangedStreamKey  = "stream-key"
	ChangedToken      = "token" // its ID has a hash of the jti
)

// A SigningKeyInfo is the public half of a key that signs playback tokens.
type SigningKeyInfo struct {
	ID  string // kid
	Org string // whose streams its tokens may open; empty: of any organisation
	Alg Algorithm
	// Public is an ed25519.PublicKey or a *rsa.PublicKey, as Alg says.
	Public crypto.PublicKey
	Active bool
}

// A StreamKeyInfo is what is kept of a stream key.
type StreamKeyInfo struct {
	ID   string
	Hash string // keyed hash of its secret: HashSecret
	// Namespace is what it may publish.
	Namespace []string
	Input     string // external id of its live input; empty: an ad-hoc name
	Active    bool
}

// An Ingest names the protocol that a live input is published with.
type Ingest string

// The protocols of inputs. The first four are those of the streams contract.
const (
	FMP4 Ingest = "fmp4" // CMAF push over HTTP, and MoQT
	WHIP Ingest = "whip"
	RTMP Ingest = "rtmp"
	SRT  Ingest = "srt"
	HLS  Ingest = "hls"  // pulled
	MoQT Ingest = "moqt" // as a protocol: an input that takes it is of FMP4
)

// Takes says whether an input of protocol i takes what comes over p.
func (i Ingest) Takes(p Ingest) bool {
	return i == "" || i == p || i == FMP4 && p == MoQT || i == MoQT && p == FMP4
}

// An Input is a live input: a configured place to publish.
type Input struct {
	ID        string // li_…
	External  string // lv_…
	Org       string
	Ingest    Ingest
	Namespace []string
	Policy    Policy
}

// A Policy is what an input asks of its publisher. The zero value asks for
// nothing but the stream key.
type Policy struct {
	AnyIngest bool // every protocol may feed it
	// AllowFrom is where its publisher may come from; empty: from anywhere.
	AllowFrom []netip.Prefix
	Takeover  string // "replace", the default, or "refuse"
	// MaxBitrate is in bit/s; zero: no limit of its own. So is MaxTracks.
	MaxBitrate    int64
	MaxTracks     int
	GroupDuration time.Duration // zero: the daemon's
	// RequireEncryption refuses publishers over connections that are not encrypted.
	RequireEncryption bool
	Passphrases       []string // of SRT: the present one and the one before
}

// Allows says whether a publisher may come from addr.
func (p Policy) Allows(addr netip.Addr) bool {
	return len(p.AllowFrom) == 0 || slices.ContainsFunc(p.AllowFrom, func(n netip.Prefix) bool { return n.Contains(addr.Unmap()) })
}
