package auth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A book is a Directory that tests write. Its pepper is its own.
type book struct {
	mu      sync.Mutex
	signing map[string]SigningKeyInfo
	private map[string]crypto.Signer
	stream  map[string]StreamKeyInfo
	inputs  map[string]Input
	revoked map[string]bool
	told    map[int]func(Change)
	next    int
}

func newBook() *book {
	return &book{
		signing: map[string]SigningKeyInfo{}, private: map[string]crypto.Signer{}, stream: map[string]StreamKeyInfo{},
		inputs: map[string]Input{}, revoked: map[string]bool{}, told: map[int]func(Change){},
	}
}

var pepper = []byte("pepper of the tests")

func (b *book) SigningKey(kid string) (SigningKeyInfo, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.signing[kid]
	return k, ok
}

func (b *book) StreamKey(id string) (StreamKeyInfo, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.stream[id]
	return k, ok
}

func (b *book) VerifyStreamKey(id, secret string) bool {
	k, _ := b.StreamKey(id)
	return VerifySecret(pepper, secret, k.Hash)
}

func (b *book) Input(external string) (Input, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	in, ok := b.inputs[external]
	return in, ok
}

func (b *book) TokenRevoked(org, jti string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.revoked[org+"/"+jti]
}

func (b *book) OnChange(f func(Change)) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	n := b.next
	b.told[n] = f
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.told, n)
	}
}

// change changes the book and tells of it.
func (b *book) change(c Change, f func()) {
	b.mu.Lock()
	f()
	tell := slices.Collect(maps.Values(b.told))
	b.mu.Unlock()
	for _, f := range tell {
		f(c)
	}
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// sign adds a signing key of an organisation.
func (b *book) sign(kid, org string, alg Algorithm) SigningKeyInfo {
	private := crypto.Signer(rsaKey())
	if alg == Ed25519 {
		_, private, _ = ed25519.GenerateKey(rand.Reader)
	}
	k := SigningKeyInfo{ID: kid, Org: org, Alg: alg, Public: private.Public(), Active: true}
	b.change(Change{Kind: ChangedSigningKey, ID: kid}, func() { b.signing[kid], b.private[kid] = k, private })
	return k
}

func (b *book) deactivate(kid string) {
	b.change(Change{Kind: ChangedSigningKey, ID: kid}, func() {
		k := b.signing[kid]
		k.Active = false
		b.signing[kid] = k
	})
}

// key adds a stream key, of a live input unless input is empty.
func (b *book) key(input string, namespace ...string) (cleartext, id string) {
	cleartext, id, secret := NewStreamKey()
	b.change(Change{Kind: ChangedStreamKey, ID: id}, func() {
		b.stream[id] = StreamKeyInfo{ID: id, Hash: HashSecret(pepper, secret), Namespace: namespace, Input: input, Active: true}
	})
	return cleartext, id
}

// input adds a live input.
func (b *book) input(external, org string, ingest Ingest, p Policy) {
	b.change(Change{Kind: ChangedInput, ID: external, Org: org}, func() {
		b.inputs[external] = Input{ID: "li_" + external, External: external, Org: org, Ingest: ingest, Namespace: []string{"stream", org, external}, Policy: p}
	})
}

// token signs what a viewer of stream/<org>/cam holds, with changes.
func (b *book) token(t testing.TB, kid string, change func(*Claims)) string {
	t.Helper()
	k := b.signing[kid]
	c := Claims{Subject: "local", NS: []string{"stream/local/cam"}, Expires: time.Now().Add(time.Hour).Unix()}
	if change != nil {
		change(&c)
	}
	token, _, err := SignToken(b.private[kid], kid, k.Alg, time.Now(), c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// raw signs a token whose header and claims are any.
func (b *book) raw(t testing.TB, kid string, header, claims map[string]any) string {
	t.Helper()
	k := b.signing[kid]
	all := map[string]any{"alg": k.Alg.header(), "kid": kid, "typ": "JWT"}
	maps.Copy(all, header)
	h, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return b.signed(t, kid, string(h), string(c))
}

// signed signs a token whose header and claims are any text.
func (b *book) signed(t testing.TB, kid, header, claims string) string {
	t.Helper()
	text := b64(header) + "." + b64(claims)
	method := jwt.SigningMethod(jwt.SigningMethodEdDSA)
	if b.signing[kid].Alg == RS256 {
		method = jwt.SigningMethodRS256
	}
	sig, err := method.Sign(text, b.private[kid])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(string(sig))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// good are claims that count.
func good(change map[string]any) map[string]any {
	c := map[string]any{"sub": "local", "ns": []string{"stream/local/cam"}, "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(c, change)
	return c
}

// openGate makes a gate that runs until the test ends, and holds nothing then.
func openGate(t testing.TB, cfg Config) *Gate {
	t.Helper()
	g, err := NewGate(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(done); g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if n := g.ledger.size(); n != 0 {
			t.Errorf("%d grants left, want none", n)
		}
	})
	return g
}

var tries atomic.Uint32

// try says how a gate takes a credential: 0 if it counts.
func try(t testing.TB, g *Gate, text string, a attempt) Code {
	t.Helper()
	if !a.remote.IsValid() { // each from somewhere else
		n := tries.Add(1)
		a.remote = netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	}
	grant, err := g.check(text, a)
	if err == nil {
		grant.Close()
		return 0
	}
	if CodeOf(err) == 0 || !strings.HasPrefix(err.Error(), "auth") {
		t.Errorf("error %v, want a refusal that begins with auth", err)
	}
	if len(text) > 8 && strings.Contains(err.Error(), text) {
		t.Errorf("the error %q quotes what was shown", err)
	}
	return CodeOf(err)
}

// A remote answers what the gate asks of others.
type remote func(*http.Request) (status int, header http.Header, body string)

func (f remote) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, body := f(r)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func jwksOf(keys ...SigningKeyInfo) string {
	var list []map[string]string
	for _, k := range keys {
		list = append(list, jwk(k.ID, k.Public))
	}
	text, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// jwk writes a public key as RFC 7517 has it, with the fields that we read.
func jwk(kid string, pub any) map[string]string {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		return map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(string(pub))}
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "kid": kid, "n": b64(string(pub.N.Bytes())), "e": "AQAB"}
	}
	panic("no JWK for that")
}
