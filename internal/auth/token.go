package auth

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Bounds of what a token may be and say.
const (
	maxToken = 4 << 10 // bytes
	maxKID   = 128     // bytes
	maxClaim = 256     // bytes, of a claim that is a text
	// leeway is by how much the clocks of signer and verifier may differ.
	leeway = 5 * time.Second
	// MaxTokenLife is how far ahead the expiry of a token may lie.
	MaxTokenLife = 30 * 24 * time.Hour
)

// issuer is the iss claim of our own tokens.
const issuer = "broadcastd"

// Claims are a playback token's (contracts: streams, "Playback token"). Times
// are whole seconds since 1970.
type Claims struct {
	Issuer  string `json:"iss,omitempty"`
	Subject string `json:"sub"` // the organisation
	// NS are the namespaces that the token may use, as patterns: playback/lv_x,
	// stream/org_abc/*.
	NS        []string `json:"ns"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	ID        string   `json:"jti,omitempty"`
	Viewer    string   `json:"viewer,omitempty"`    // for the watermark
	MaxHeight int      `json:"maxHeight,omitempty"` // of pictures, in pixels
	IP        string   `json:"ip,omitempty"`        // address or prefix that the viewer must have

	// What other kinds of token say of themselves, and ours do not.
	Audience any    `json:"aud,omitempty"`
	Use      string `json:"use,omitempty"`
}

// The methods of jwt.Claims. They are not asked: check looks at the claims.

func (Claims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (Claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (Claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (Claims) GetIssuer() (string, error)                   { return "", nil }
func (Claims) GetSubject() (string, error)                  { return "", nil }
func (Claims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// SignToken signs claims with the private half of the signing key kid. It fills
// in iss, iat, nbf and jti where they are not given.
func SignToken(signer crypto.Signer, kid string, alg Algorithm, now time.Time, c Claims) (string, Claims, error) {
	if c.Issuer == "" {
		c.Issuer = issuer
	}
	if c.IssuedAt == 0 {
		c.IssuedAt = now.Unix()
	}
	if c.NotBefore == 0 {
		c.NotBefore = c.IssuedAt
	}
	if c.ID == "" {
		c.ID = randomText(10)
	}
	method := jwt.GetSigningMethod(alg.header())
	if method == nil {
		return "", Claims{}, fmt.Errorf("auth: algorithm %.20q, want %s or %s", alg, Ed25519, RS256)
	}
	t := jwt.NewWithClaims(method, c)
	t.Header["kid"] = kid
	token, err := t.SignedString(signer)
	if err != nil {
		return "", Claims{}, fmt.Errorf("auth: sign a token: %w", err)
	}
	return token, c, nil
}

// A verified is a token whose signature is right.
type verified struct {
	Claims
	key      SigningKeyInfo
	patterns []pattern
	from     netip.Prefix // of the ip claim
}

// errNotNow is what a lookup fails with that would have to wait.
var errNotNow = errors.New("auth: the key is not at hand")

var jwtParser = jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding(),
	jwt.WithValidMethods([]string{"EdDSA", "RS256"}))

// verify checks the form and the signature of a token. The kid in its header
// chooses the key, and the key its algorithm; the token chooses neither, nor
// where a key comes from (RFC 8725 sections 3.1 and 3.10).
func verify(token string, lookup func(kid string) (SigningKeyInfo, error)) (*verified, error) {
	if len(token) > maxToken {
		return nil, refused(CodeMalformed, fmt.Sprintf("a token of %d bytes, at most %d are read", len(token), maxToken))
	}
	var v verified
	_, err := jwtParser.ParseWithClaims(token, &v.Claims, func(t *jwt.Token) (any, error) {
		kid, err := readHeader(t.Header)
		if err != nil {
			return nil, err
		}
		if v.key, err = lookup(kid); err != nil {
			return nil, err
		}
		if t.Method.Alg() != v.key.Alg.header() || pin(v.key.Alg, v.key.Public) != nil {
			return nil, refused(CodeUnknown, "the token is not of its key's algorithm")
		}
		return v.key.Public, nil
	})
	if err != nil {
		return nil, tokenError(err)
	}
	return &v, v.read()
}

// ReadClaims returns what a token says of itself, without a look at its
// signature: enough to take it back, and for nothing else.
func ReadClaims(token string) (Claims, error) {
	if len(token) > maxToken {
		return Claims{}, refused(CodeMalformed, fmt.Sprintf("a token of %d bytes, at most %d are read", len(token), maxToken))
	}
	var c Claims
	if _, _, err := jwtParser.ParseUnverified(token, &c); err != nil {
		return Claims{}, tokenError(err)
	}
	return c, nil
}

// readHeader returns the kid of a token's header. Where the header names a key
// by other means (jku, jwk, x5u, x5c), that is passed over.
func readHeader(header map[string]any) (kid string, err error) {
	kid, _ = header["kid"].(string)
	typ, isText := header["typ"].(string)
	_, critical := header["crit"]
	switch {
	case !validKID(kid):
		return "", refused(CodeUnknown, "the key of the token is not known")
	case critical:
		return "", refused(CodeMalformed, "the token needs an extension that is not known here (crit)")
	case header["typ"] != nil && (!isText || !strings.EqualFold(typ, "JWT")):
		return "", refused(CodeMalformed, "the token is of another type (typ)")
	}
	return kid, nil
}

// validKID says whether a text can name a key: letters, digits and what base64
// and names use besides.
func validKID(kid string) bool {
	for _, c := range []byte(kid) {
		if !alphanumeric(string(rune(c))) && strings.IndexByte("._~=+/:-", c) < 0 {
			return false
		}
	}
	return kid != "" && len(kid) <= maxKID
}

// tokenError turns what the JWT library found into a refusal of ours. Its own
// texts may quote the token.
func tokenError(err error) error {
	if own, ok := errors.AsType[*CredentialError](err); ok {
		return own
	}
	switch {
	case errors.Is(err, errNotNow):
		return errNotNow
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return refused(CodeUnknown, "the signature of the token is wrong")
	}
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return refused(CodeMalformed, "a claim of the token is not of its type")
	}
	return refused(CodeMalformed, "that is no token")
}

// read checks what a signed token says that does not change with time.
func (v *verified) read() error {
	switch {
	case v.Expires == 0:
		return refused(CodeMalformed, "the token has no expiry (claim exp)")
	case len(v.NS) == 0:
		return refused(CodeMalformed, "the token names no namespace (claim ns)")
	case len(v.NS) > maxLengths:
		return refused(CodeMalformed, fmt.Sprintf("the token names %d namespaces, at most %d are read", len(v.NS), maxLengths))
	case CheckName(v.Subject) != nil:
		return refused(CodeMalformed, "the token names no organisation (claim sub)")
	case v.Use != "" && v.Use != "playback", v.Audience != nil:
		return refused(CodeMalformed, "the token is for another use")
	case v.key.Org != "" && v.key.Org != v.Subject:
		return refused(CodeUnknown, "the key of the token is not of its organisation")
	case len(v.ID) > maxClaim, len(v.Viewer) > maxClaim, v.MaxHeight < 0:
		return refused(CodeMalformed, "a claim of the token is not of its type")
	}
	for _, text := range v.NS {
		p, ok := parsePattern(text, v.Subject)
		if !ok {
			return refused(CodeMalformed, "the token names a namespace that cannot be one (claim ns)")
		}
		v.patterns = append(v.patterns, p)
	}
	if v.IP == "" {
		return nil
	}
	var ok bool
	if v.from, ok = parsePrefix(v.IP); !ok {
		return refused(CodeMalformed, "the token names no address (claim ip)")
	}
	return nil
}

// parsePrefix reads an address or a prefix of addresses.
func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), true
}

// current checks what a token says of time and place. No clock is turned back:
// the second at which it ends counts to it, and so does the leeway.
func (v *verified) current(now time.Time, from netip.Addr) error {
	most := now.Add(leeway).Unix()
	switch {
	case v.Expires <= now.Add(-leeway).Unix():
		return refused(CodeExpired, "the token has expired")
	case v.NotBefore > most, v.IssuedAt > most:
		return refused(CodeNotYet, "the token is not valid yet")
	case v.Expires > now.Add(MaxTokenLife+leeway).Unix():
		return refused(CodeMalformed, "the token expires too far ahead: at most 30 days are taken")
	case v.from.IsValid() && !v.from.Contains(from.Unmap()):
		return refused(CodeWrongInput, "the token is for another address")
	}
	return nil
}
