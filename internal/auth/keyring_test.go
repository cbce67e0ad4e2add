package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openKeyring(t testing.TB, cfg KeyringConfig) *Keyring {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	k, err := OpenKeyring(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t testing.TB, k *Keyring, alg Algorithm) Key {
	t.Helper()
	key, err := k.Create(alg)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func wantCode(t *testing.T, err error, want Code) {
	t.Helper()
	refusal, ok := errors.AsType[*CredentialError](err)
	if !ok || refusal.Code != want {
		t.Errorf("error %v, want code %d", err, want)
	}
	if err != nil && !strings.HasPrefix(err.Error(), "auth") {
		t.Errorf("%q does not begin with auth", err)
	}
}

func TestSignedTokenIsGranted(t *testing.T) {
	for _, alg := range []Algorithm{Ed25519, RS256} {
		t.Run(string(alg), func(t *testing.T) {
			k := openKeyring(t, KeyringConfig{})
			key := create(t, k, alg)
			token, signer, err := k.Sign("stream/local/cam", "", time.Hour)
			if err != nil || signer.ID != key.ID {
				t.Fatalf("Sign: key %s, %v, want %s", signer.ID, err, key.ID)
			}
			g, err := openGate(t, Config{Directory: k}).check(token, attempt{})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			if !g.Allows([]string{"stream", "local", "cam"}) || g.Allows([]string{"stream", "local", "camera"}) || g.Publish {
				t.Errorf("grant %+v, want stream/local/cam for playing alone", g)
			}
			g.Close()
			if g.Context().Err() == nil {
				t.Error("a closed grant goes on")
			}
		})
	}
}

// forge signs claims with the key of a file, under a header of our choice.
func forge(t testing.TB, k *Keyring, kid string, method jwt.SigningMethod, header map[string]any, claims jwt.Claims, secret any) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, claims)
	tok.Header["kid"] = kid
	for name, v := range header {
		tok.Header[name] = v
	}
	if secret == nil {
		secret = k.keys[kid].private
	}
	s, err := tok.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokenRefusals(t *testing.T) {
	k := openKeyring(t, KeyringConfig{})
	key, rsaKey := create(t, k, Ed25519), create(t, k, RS256)
	now := time.Now()
	claims := func(change func(*Claims)) Claims {
		c := Claims{NS: []string{"stream/local/cam"}, Subject: "local", Expires: now.Add(time.Hour).Unix()}
		change(&c)
		return c
	}
	nothing := func(*Claims) {}
	good := forge(t, k, key.ID, jwt.SigningMethodEdDSA, nil, claims(nothing), nil)
	gate := openGate(t, Config{Directory: k})
	if g, err := gate.check(good, attempt{}); err != nil {
		t.Fatal(err)
	} else {
		g.Close()
	}
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	parts := strings.Split(good, ".")
	for _, tt := range []struct {
		name  string
		token string
		want  Code
	}{
		{"empty", "", CodeMalformed},
		{"no token", "abc", CodeMalformed},
		{"too long", strings.Repeat("a", maxToken+1), CodeMalformed},
		{"expired", forge(t, k, key.ID, jwt.SigningMethodEdDSA, nil, claims(func(c *Claims) { c.Expires = now.Add(-time.Minute).Unix() }), nil), CodeExpired},
		{"no expiry", forge(t, k, key.ID, jwt.SigningMethodEdDSA, nil, claims(func(c *Claims) { c.Expires = 0 }), nil), CodeMalformed},
		{"from the future", forge(t, k, key.ID, jwt.SigningMethodEdDSA, nil, claims(func(c *Claims) { c.NotBefore = now.Add(time.Minute).Unix() }), nil), CodeNotYet},
		{"no namespaces", forge(t, k, key.ID, jwt.SigningMethodEdDSA, nil, claims(func(c *Claims) { c.NS = nil }), nil), CodeMalformed},
		{"unknown kid", forge(t, k, "k_other", jwt.SigningMethodEdDSA, nil, claims(nothing), other), CodeUnknown},
		{"signed by another", forge(t, k, key.ID, jwt.SigningMethodEdDSA, nil, claims(nothing), other), CodeUnknown},
		{"tampered", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"ns":["stream/*"],"exp":9999999999}`)) + "." + parts[2], CodeUnknown},
		{"algorithm none", forge(t, k, key.ID, jwt.SigningMethodNone, nil, claims(nothing), jwt.UnsafeAllowNoneSignatureType), CodeUnknown},
		{"HMAC with the public key", forge(t, k, rsaKey.ID, jwt.SigningMethodHS256, nil, claims(nothing), []byte(rsaKey.Public)), CodeUnknown},
		{"an algorithm that the key is not pinned to", forge(t, k, rsaKey.ID, jwt.SigningMethodRS512, nil, claims(nothing), nil), CodeUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := gate.check(tt.token, attempt{})
			if err == nil {
				g.Close()
			}
			wantCode(t, err, tt.want)
			if tt.token != "" && err != nil && strings.Contains(err.Error(), tt.token) {
				t.Errorf("the error %q quotes the token", err)
			}
		})
	}
}

func TestStreamKeys(t *testing.T) {
	k := openKeyring(t, KeyringConfig{})
	cleartext, key, err := k.CreateStream("stream/local/cam")
	if err != nil {
		t.Fatal(err)
	}
	gate := openGate(t, Config{Directory: k})
	g, err := gate.check(cleartext, attempt{})
	if err != nil {
		t.Fatal(err)
	}
	if !g.Publish || !g.Allows([]string{"stream", "local", "cam"}) || g.Allows([]string{"stream", "local", "other"}) {
		t.Errorf("grant %+v, want publishing stream/local/cam alone", g)
	}
	file, err := os.ReadFile(k.path(key.ID))
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(cleartext, streamKeyPrefix), "_")
	if strings.Contains(string(file), secret) {
		t.Error("the file holds the cleartext")
	}
	if info, err := os.Stat(k.path(key.ID)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	for _, tt := range []struct {
		name, key string
		want      Code
	}{
		{"not one", "hello", CodeMalformed},
		{"no secret", streamKeyPrefix + key.ID + "_", CodeMalformed},
		{"wrong secret", streamKeyPrefix + key.ID + "_" + strings.Repeat("a", 40), CodeUnknown},
		{"unknown id", streamKeyPrefix + "other_" + secret, CodeUnknown},
	} {
		_, err := gate.check(tt.key, attempt{})
		t.Run(tt.name, func(t *testing.T) { wantCode(t, err, tt.want) })
	}
	if err := k.Revoke(key.ID); err != nil {
		t.Fatal(err)
	}
	<-g.Context().Done()
	wantCode(t, context.Cause(g.Context()), CodeRevoked)
	_, err = gate.check(cleartext, attempt{})
	wantCode(t, err, CodeRevoked)
}

// A key that another process makes or revokes acts here without a restart.
func TestKeyringFollowsItsDirectory(t *testing.T) {
	dir := t.TempDir()
	serving := openKeyring(t, KeyringConfig{Dir: dir})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- serving.Run(ctx) }()
	defer func() { cancel(); <-done }()

	cli := openKeyring(t, KeyringConfig{Dir: dir})
	key := create(t, cli, Ed25519)
	token, _, err := cli.Sign("stream/local/cam", key.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	g, err := openGate(t, Config{Directory: serving}).check(token, attempt{}) // at once
	if err != nil {
		t.Fatalf("the new key does not count: %v", err)
	}
	start := time.Now()
	if err := cli.Revoke(key.ID); err != nil {
		t.Fatal(err)
	}
	<-g.Context().Done()
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("revoked after %v, want 2 s at most", d)
	}
	wantCode(t, context.Cause(g.Context()), CodeRevoked)
	if file, err := os.ReadFile(cli.path(key.ID)); err != nil || strings.Contains(string(file), "PRIVATE") {
		t.Errorf("a revoked key keeps its private half, or cannot be read: %v", err)
	}
}

func TestGrantEndsAtExpiry(t *testing.T) {
	now := time.Now()
	k := openKeyring(t, KeyringConfig{Now: func() time.Time { return now }})
	create(t, k, Ed25519)
	token, _, err := k.Sign("stream/local/cam", "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Truncate(time.Second).Add(time.Hour + leeway - 50*time.Millisecond)
	g, err := openGate(t, Config{Directory: k, Now: func() time.Time { return now }}).check(token, attempt{})
	if err != nil {
		t.Fatal(err) // within the leeway
	}
	<-g.Context().Done()
	wantCode(t, context.Cause(g.Context()), CodeExpired)
}

func TestJWKSFile(t *testing.T) {
	signer := openKeyring(t, KeyringConfig{})
	ed, rs := create(t, signer, Ed25519), create(t, signer, RS256)
	var keys []map[string]string
	for _, key := range []Key{ed, rs} {
		block, _ := pem.Decode([]byte(key.Public))
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, jwk(key.ID, pub))
	}
	text, _ := json.Marshal(map[string]any{"keys": keys})
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	node := openGate(t, Config{JWKS: path})
	for _, key := range []Key{ed, rs} {
		token, _, err := signer.Sign("stream/local/cam", key.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		g, err := node.check(token, attempt{})
		if err != nil {
			t.Errorf("%s: %v", key.Algorithm, err)
			continue
		}
		g.Close()
	}
	if _, err := NewGate(Config{JWKS: path + ".not"}); err == nil || !strings.Contains(err.Error(), "auth.jwks") {
		t.Errorf("missing JWKS: %v, want an error that names auth.jwks", err)
	}
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, namespace string
		want               bool
	}{
		{"stream/org/cam", "stream/org/cam", true},
		{"stream/org/cam", "stream/org/cam/x", false},
		{"stream/org/cam", "stream/org", false},
		{"stream/org/*", "stream/org/cam", true},
		{"stream/org/*", "stream/org/cam/x", true},
		{"stream/org/*", "stream/org", false},
		{"stream/org/*", "stream/other/cam", false},
		{"*", "stream/org/cam", true},
		{"playback/cam", "stream/org/cam", true},
		{"playback/cam", "stream/other/cam", false},
		{"playback/*", "stream/org/cam", true},
		{"stream/*/cam", "stream/org/cam", false}, // only a last field is a wildcard
		{"", "stream/org/cam", false},
	} {
		p, ok := parsePattern(tt.pattern, "org")
		if got := ok && p.covers(strings.Split(tt.namespace, "/")); got != tt.want {
			t.Errorf("%q covers %q: %t, want %t", tt.pattern, tt.namespace, got, tt.want)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, tt := range []struct{ in, want []string }{
		{[]string{"stream", "org", "cam"}, []string{"stream", "org", "cam"}},
		{[]string{"stream/org/cam"}, []string{"stream", "org", "cam"}},
		{[]string{"playback", "cam"}, []string{"stream", "org", "cam"}},
		{[]string{"publish/cam"}, []string{"stream", "org", "cam"}},
	} {
		if got := Resolve(tt.in, "org"); strings.Join(got, "|") != strings.Join(tt.want, "|") {
			t.Errorf("Resolve(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzToken(f *testing.F) {
	k, err := OpenKeyring(KeyringConfig{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := k.Create(Ed25519); err != nil {
		f.Fatal(err)
	}
	gate := openGate(f, Config{Directory: k})
	token, _, err := k.Sign("stream/local/cam", "", time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("e30.e30.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		g, err := gate.check(s, attempt{})
		if err == nil {
			defer g.Close()
			if head, _, _ := strings.Cut(token, "."); !strings.HasPrefix(s, head) {
				t.Fatalf("granted %q", s)
			}
			return
		}
		if _, ok := errors.AsType[*CredentialError](err); !ok {
			t.Fatalf("error %v is no refusal", err)
		}
	})
}

// jwk writes a public key as RFC 7517 has it, with the fields that we read.
func jwk(kid string, pub any) map[string]string {
	b64 := base64.RawURLEncoding.EncodeToString
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		return map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pub)}
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "kid": kid, "n": b64(pub.N.Bytes()), "e": "AQAB"}
	}
	panic("no JWK for that")
}
