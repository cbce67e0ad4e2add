package control

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
)

// TokenOptions say what a playback token is to be.
type TokenOptions struct {
	TTL       time.Duration // 0: one hour; at most MaxTTL
	KeyID     string        // of the signing key; empty: the newest of the organisation
	Viewer    string        // who watches, for the watermark
	MaxHeight int           // of pictures, in pixels; 0: any
	IP        string        // address or prefix that the viewer must have; empty: any
}

// Bounds of TokenOptions.
const (
	defaultTTL = time.Hour
	// MaxTTL is how long a playback token may be good for.
	MaxTTL       = auth.MaxTokenLife
	maxViewer    = 128 // bytes
	maxPixelRows = 1 << 16
)

// A PlaybackToken opens one stream until it expires.
type PlaybackToken struct {
	Token     string
	ID        string // its jti
	KeyID     string
	Alg       auth.Algorithm
	Expires   time.Time
	Org       string
	External  string // of the live input, or the ad-hoc name
	Namespace string // stream/<org>/<external>
	// URL plays the stream with the token. It is empty without Config.PublicRelay.
	URL string
}

// Target returns organisation and name of what a playback token, or a session,
// is for: a live input by its id or external id, or a namespace
// stream/<org>/<name>.
func (s *Service) Target(ctx context.Context, target string) (org, name string, err error) {
	if strings.Contains(target, "/") {
		if org, name, err = parseNamespace(target); err != nil {
			return "", "", err
		}
		return org, name, s.needOrg(ctx, org)
	}
	in, err := s.Input(ctx, target)
	return in.Org, in.External, err
}

// MintPlaybackToken signs a token for a live input, by its id or external id, or
// for a namespace stream/<org>/<name>.
func (s *Service) MintPlaybackToken(ctx context.Context, target string, opt TokenOptions) (PlaybackToken, error) {
	org, name, err := s.Target(ctx, target)
	if err != nil {
		return PlaybackToken{}, err
	}
	ttl := cmp.Or(opt.TTL, defaultTTL)
	switch {
	case ttl < 0 || ttl > MaxTTL:
		return PlaybackToken{}, invalid("ttl", "%v, want more than 0 and at most %v", ttl, MaxTTL)
	case opt.MaxHeight < 0 || opt.MaxHeight > maxPixelRows:
		return PlaybackToken{}, invalid("maxHeight", "%d, want 0 to %d", opt.MaxHeight, maxPixelRows)
	case opt.Viewer != "" && checkText("viewer", opt.Viewer, maxViewer) != nil:
		return PlaybackToken{}, checkText("viewer", opt.Viewer, maxViewer)
	case opt.IP != "" && !isPrefix(opt.IP):
		return PlaybackToken{}, invalid("ip", "%.50q is no address and no prefix", opt.IP)
	}
	key, err := s.signer(org, opt.KeyID)
	if err != nil {
		return PlaybackToken{}, err
	}
	private, err := key.private()
	if err != nil {
		return PlaybackToken{}, err
	}
	now := s.cfg.Now()
	namespace := "stream/" + org + "/" + name
	// The contract counts the expiry in whole seconds.
	expires := now.Add(ttl).Truncate(time.Second).UTC()
	token, claims, err := auth.SignToken(private, key.ID, key.Alg, now, auth.Claims{
		Subject: org, NS: []string{namespace}, Expires: expires.Unix(),
		Viewer: opt.Viewer, MaxHeight: opt.MaxHeight, IP: opt.IP,
	})
	if err != nil {
		return PlaybackToken{}, err
	}
	out := PlaybackToken{
		Token: token, ID: claims.ID, KeyID: key.ID, Alg: key.Alg, Expires: expires,
		Org: org, External: name, Namespace: namespace,
	}
	if s.cfg.PublicRelay != "" {
		out.URL = strings.TrimSuffix(s.cfg.PublicRelay, "/") + "/playback/" + url.PathEscape(name) + "?tok=" + token
	}
	return out, nil
}

// signer returns the signing key of an organisation that has an id, or else its
// newest that signs.
func (s *Service) signer(org, id string) (signingKeyRecord, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if id != "" {
		r, ok := s.signing.rows[id]
		switch {
		case !ok || r.rec.Org != org:
			return signingKeyRecord{}, s.signing.missing(id)
		case !r.rec.Deactivated.IsZero():
			return r.rec, fail(Conflict, "the signing key %s is inactive", id)
		}
		return r.rec, nil
	}
	var best *signingKeyRecord
	for _, r := range s.signing.rows {
		if r.rec.Org != org || !r.rec.Deactivated.IsZero() || r.rec.Private == nil {
			continue
		}
		if best == nil || cmp.Or(r.rec.Created.Compare(best.Created), strings.Compare(r.rec.ID, best.ID)) > 0 {
			best = &r.rec
		}
	}
	if best == nil {
		return signingKeyRecord{}, fail(Conflict, "the organisation %s has no active signing key: make one", org)
	}
	return *best, nil
}

// jwk is a public key as RFC 7517 writes it, with the members of RFC 8037 or RFC
// 7518 section 6.3.1.
type jwk struct {
	KeyType string `json:"kty"`
	Curve   string `json:"crv,omitempty"`
	X       string `json:"x,omitempty"`
	N       string `json:"n,omitempty"`
	E       string `json:"e,omitempty"`
	ID      string `json:"kid"`
	Alg     string `json:"alg"`
	Use     string `json:"use"`
}

// JWKS returns the public halves of the active signing keys as a JWK set
// (RFC 7517).
func (s *Service) JWKS() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jwks == nil {
		keys := make([]jwk, 0, len(s.signing.rows))
		for _, r := range s.signing.rows {
			if r.rec.Deactivated.IsZero() {
				keys = append(keys, publicJWK(&r.rec))
			}
		}
		slices.SortFunc(keys, func(a, b jwk) int { return strings.Compare(a.ID, b.ID) })
		text, err := json.Marshal(map[string][]jwk{"keys": keys})
		if err != nil {
			panic(fmt.Sprintf("control: texts that are no JSON: %v", err)) // cannot be
		}
		s.jwks = text
	}
	return bytes.Clone(s.jwks)
}

func publicJWK(k *signingKeyRecord) jwk {
	text := base64.RawURLEncoding.EncodeToString
	out := jwk{ID: k.ID, Use: "sig"}
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		out.KeyType, out.Curve, out.Alg, out.X = "OKP", "Ed25519", "EdDSA", text(public)
	case *rsa.PublicKey:
		out.KeyType, out.Alg = "RSA", "RS256"
		out.N, out.E = text(public.N.Bytes()), text(big.NewInt(int64(public.E)).Bytes())
	}
	return out
}

// A revokedToken is a playback token that was taken back before it expired.
type revokedToken struct {
	ID      string    `json:"id"` // its jti
	Org     string    `json:"org"`
	Expires time.Time `json:"expires"` // when it would have; it is forgotten then
}

// maxRevokedTokens bounds how many tokens of an organisation are taken back at a
// time.
const maxRevokedTokens = 10_000

// maxJTI bounds the jti of a token that is taken back, in bytes.
const maxJTI = 256

// key returns the id of the record: tokens of different organisations may have
// the same jti, and one signed elsewhere may have any text for its.
func (t *revokedToken) key() string {
	sum := sha256.Sum256([]byte(t.ID))
	return t.Org + "/" + hex.EncodeToString(sum[:16])
}

// RevokeToken takes a playback token back, by its jti, before it expires. Who
// watches with it is cut off. A zero time, or one too far ahead, stands for the
// latest that a token may expire; it returns until when that is remembered.
func (s *Service) RevokeToken(ctx context.Context, org, jti string, expires time.Time) (until time.Time, err error) {
	if err := s.needOrg(ctx, org); err != nil {
		return time.Time{}, err
	}
	if err := checkText("id", jti, maxJTI); err != nil {
		return time.Time{}, err
	}
	if latest := s.now().Add(MaxTTL); expires.IsZero() || expires.After(latest) {
		expires = latest
	}
	t := revokedToken{ID: jti, Org: org, Expires: expires.UTC()}
	if r, ok := get(s, s.tokens, t.key()); ok {
		return r.rec.Expires, nil
	}
	release, err := s.reserve(KindToken, org, maxRevokedTokens, func() int { return s.tokens.ofOrg[org] })
	if err != nil {
		return time.Time{}, err
	}
	defer release()
	if _, err = create(ctx, s, s.tokens, t); CodeOf(err) == Conflict {
		return t.Expires, nil // somebody else has, just now
	} else if err != nil {
		return time.Time{}, err
	}
	return t.Expires, s.emitKey(ctx, "token.revoked", org, jti)
}
