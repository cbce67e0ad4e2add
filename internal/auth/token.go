package auth

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Bounds of what a token may be and say.
const (
	maxToken    = 4 << 10 // bytes
	maxPatterns = 64
	// leeway is by how much the clocks of signer and verifier may differ.
	leeway = 5 * time.Second
)

// issuer is the iss claim of our own tokens.
const issuer = "broadcastd"

// Claims are a playback token's (contracts: streams, "Playback token").
type Claims struct {
	jwt.RegisteredClaims
	// NS are the namespaces that the token may use, as patterns: playback/lv_x,
	// stream/org_abc/*.
	NS []string `json:"ns"`
}

// Sign makes a token that may play a namespace, such as stream/local/cam, until
// ttl from now. The newest signing key that counts signs, or the one that kid
// names.
func (k *Keyring) Sign(namespace, kid string, ttl time.Duration) (token string, key Key, err error) {
	signer := k.signer(kid)
	if signer == nil && kid != "" {
		return "", Key{}, fmt.Errorf("%w: %.40q, or it was revoked or cannot sign", ErrNoKey, kid)
	}
	if signer == nil {
		return "", Key{}, fmt.Errorf("%w that signs: make one with 'broadcastd key create'", ErrNoKey)
	}
	fields := strings.Split(namespace, "/")
	org := adHocOrg
	if len(fields) == 3 {
		org = fields[1]
	}
	now := k.cfg.Now()
	t := jwt.NewWithClaims(jwt.GetSigningMethod(signer.Algorithm.header()), Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    issuer,
			Subject:   org,
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
			ID:        randomText(10),
		},
		NS: []string{namespace},
	})
	t.Header["kid"] = signer.ID
	token, err = t.SignedString(signer.private)
	if err != nil {
		return "", Key{}, fmt.Errorf("auth: sign a token: %w", err)
	}
	return token, *signer, nil
}

func (k *Keyring) signer(kid string) *Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	var best *Key
	for _, key := range k.keys {
		if key.Kind != SigningKey || !key.Active() || key.private == nil || kid != "" && key.ID != kid {
			continue
		}
		if best == nil || key.Created.After(best.Created) || key.Created.Equal(best.Created) && key.ID > best.ID {
			best = key
		}
	}
	return best
}

// Token checks a playback token. The kid in its header chooses the key, and the
// key its algorithm; the token chooses neither (RFC 8725 section 3.1).
func (k *Keyring) Token(token string) (*Grant, error) {
	if len(token) > maxToken {
		return nil, refused(CodeMalformed, fmt.Sprintf("a token of %d bytes, at most %d are read", len(token), maxToken))
	}
	var key *Key
	var claims Claims
	parser := jwt.NewParser(jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(k.cfg.Now), jwt.WithIssuedAt())
	_, err := parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		key = k.lookup(kid)
		switch {
		case key == nil || key.Kind != SigningKey:
			return nil, refused(CodeUnknown, "the key of the token is not known")
		case t.Method.Alg() != key.Algorithm.header():
			return nil, refused(CodeUnknown, "the token is not of its key's algorithm")
		case !key.Active():
			return nil, refused(CodeRevoked, "the key of the token was revoked")
		}
		return key.public, nil
	})
	if err != nil {
		return nil, tokenError(err)
	}
	switch {
	case len(claims.NS) == 0:
		return nil, refused(CodeMalformed, "the token names no namespace (claim ns)")
	case len(claims.NS) > maxPatterns:
		return nil, refused(CodeMalformed, fmt.Sprintf("the token names %d namespaces, at most %d are read", len(claims.NS), maxPatterns))
	}
	return k.grant(key, claims.ExpiresAt.Add(leeway), &Grant{Org: claims.Subject, patterns: claims.NS})
}

// tokenError turns what the JWT library found into a refusal of ours. Its own
// texts may quote the token.
func tokenError(err error) error {
	if own, ok := errors.AsType[*CredentialError](err); ok {
		return own
	}
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return refused(CodeExpired, "the token has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return refused(CodeNotYet, "the token is not valid yet")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return refused(CodeUnknown, "the signature of the token is wrong")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return refused(CodeMalformed, "the token has no expiry (claim exp)")
	}
	return refused(CodeMalformed, "that is no token")
}
