package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The tests named TestB… are the rows of a list of attacks; docs/keys.md has it.

// keyed returns a gate with an Ed25519 and an RS256 key of any organisation.
func keyed(t testing.TB) (*Gate, *book) {
	b := newBook()
	b.sign("ed", "", Ed25519)
	b.sign("rs", "", RS256)
	return openGate(t, Config{Directory: b}), b
}

func TestB01_AlgorithmNone(t *testing.T) {
	g, b := keyed(t)
	claims := fmt.Sprintf(`{"sub":"local","ns":["stream/local/cam"],"exp":%d}`, time.Now().Add(time.Hour).Unix())
	for _, alg := range []string{`"alg":"none",`, `"alg":"None",`, `"alg":"NONE",`, `"alg":"nOnE",`, `"alg":"",`, `"alg":null,`, `"alg":["EdDSA"],`, ``} {
		for _, kid := range []string{"ed", "rs"} {
			header := `{` + alg + `"kid":"` + kid + `","typ":"JWT"}`
			signed := b.signed(t, kid, header, claims)
			unsigned := signed[:strings.LastIndexByte(signed, '.')+1]
			for _, token := range []string{signed, unsigned, unsigned + "AA"} {
				if got := try(t, g, token, attempt{}); got != CodeMalformed && got != CodeUnknown {
					t.Errorf("%s: code %d, want it refused as no token", header, got)
				}
			}
		}
	}
}

func TestB02_AlgorithmConfusion(t *testing.T) {
	g, b := keyed(t)
	der := func(k crypto.PublicKey) []byte {
		text, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	rs, ed := b.signing["rs"].Public, b.signing["ed"].Public
	for _, tt := range []struct {
		name   string
		kid    string
		method jwt.SigningMethod
		key    any
	}{
		{"HS256 with the PEM of the public key", "rs", jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der(rs)})},
		{"HS256 with its DER", "rs", jwt.SigningMethodHS256, der(rs)},
		{"HS256 with its modulus", "rs", jwt.SigningMethodHS256, rs.(*rsa.PublicKey).N.Bytes()},
		{"HS512 with the bytes of an Ed25519 key", "ed", jwt.SigningMethodHS512, []byte(ed.(ed25519.PublicKey))},
		{"HS256 with nothing", "ed", jwt.SigningMethodHS256, []byte{}},
		{"RS512 with an RS256 key", "rs", jwt.SigningMethodRS512, b.private["rs"]},
		{"PS256 with an RS256 key", "rs", jwt.SigningMethodPS256, b.private["rs"]},
		{"RS256 under the kid of an Ed25519 key", "ed", jwt.SigningMethodRS256, b.private["rs"]},
		{"EdDSA under the kid of an RSA key", "rs", jwt.SigningMethodEdDSA, b.private["ed"]},
	} {
		tok := jwt.NewWithClaims(tt.method, Claims{Subject: "local", NS: []string{"stream/local/cam"}, Expires: time.Now().Add(time.Hour).Unix()})
		tok.Header["kid"] = tt.kid
		token, err := tok.SignedString(tt.key)
		if err != nil {
			t.Fatal(err)
		}
		if got := try(t, g, token, attempt{}); got != CodeUnknown {
			t.Errorf("%s: code %d, want %d", tt.name, got, CodeUnknown)
		}
	}
}

func TestB03_KeyIDs(t *testing.T) {
	g, b := keyed(t)
	for _, kid := range []any{
		"", "Ed", "ed ", "еd", "ed\x00", "../keys/ed", "/etc/passwd", "file:///etc/passwd", "https://keys.example/ed",
		"' OR 1=1 --", "ed\r\nx", strings.Repeat("e", 1<<10), 7, true, nil,
		[]string{"ed"},
		map[string]string{"kid": "ed"},
	} {
		token := b.raw(t, "ed", map[string]any{"kid": kid}, good(nil))
		if got := try(t, g, token, attempt{}); got != CodeUnknown && got != CodeMalformed {
			t.Errorf("kid %.20v: code %d, want it refused", kid, got)
		}
	}
	// What names a key by other means is passed over; an extension is not.
	stranger := b.sign("stranger", "", Ed25519)
	delete(b.signing, "stranger")
	own := map[string]any{"jku": "https://evil.example/jwks", "x5u": "https://evil.example/crt", "jwk": jwk("ed", stranger.Public), "x5c": []string{"AA"}}
	if got := try(t, g, b.raw(t, "ed", own, good(nil)), attempt{}); got != 0 {
		t.Errorf("a header with jku, x5u, jwk and x5c: code %d, want it taken by its kid", got)
	}
	b.signing["stranger"] = stranger
	forged := b.raw(t, "stranger", map[string]any{"kid": "ed", "jwk": jwk("ed", stranger.Public)}, good(nil))
	if got := try(t, g, forged, attempt{}); got != CodeUnknown {
		t.Errorf("signed by the key in its own header: code %d, want %d", got, CodeUnknown)
	}
	if got := try(t, g, b.raw(t, "ed", map[string]any{"crit": []string{"b64"}, "b64": false}, good(nil)), attempt{}); got != CodeMalformed {
		t.Errorf("crit: code %d, want %d", got, CodeMalformed)
	}
}

// A key counts for one organisation and one issuer: neither another
// organisation's key nor one that a JWKS gives the same kid opens its streams.
func TestB04_KeysOfOthers(t *testing.T) {
	b := newBook()
	b.sign("acme", "acme", Ed25519)
	other := newBook()
	shadow := other.sign("acme", "", Ed25519)
	foreign := other.sign("foreign", "", Ed25519)
	g := openGate(t, Config{
		Directory: b, JWKS: "https://keys.example/jwks",
		Transport: remote(func(*http.Request) (int, http.Header, string) { return 200, nil, jwksOf(shadow, foreign) }),
	})
	for _, tt := range []struct {
		name  string
		token string
		want  Code
	}{
		{"its own organisation", b.token(t, "acme", func(c *Claims) { c.Subject, c.NS = "acme", []string{"stream/acme/cam"} }), 0},
		{"another organisation", b.token(t, "acme", func(c *Claims) { c.Subject = "local" }), CodeUnknown},
		{"a kid that a JWKS has too", other.token(t, "acme", func(c *Claims) { c.Subject = "acme" }), CodeUnknown},
		{"a kid of the JWKS alone", other.token(t, "foreign", nil), 0},
	} {
		if got := try(t, g, tt.token, attempt{}); got != tt.want {
			t.Errorf("%s: code %d, want %d", tt.name, got, tt.want)
		}
	}
	for _, ns := range []string{"stream/local/cam", "stream/*", "*"} {
		grant, err := g.check(b.token(t, "acme", func(c *Claims) { c.Subject, c.NS = "acme", []string{ns} }), attempt{})
		if err != nil {
			t.Errorf("%s: %v", ns, err)
			continue
		}
		if grant.Allows([]string{"stream", "local", "cam"}) || grant.Allows([]string{"vod", "x"}) {
			t.Errorf("a key of acme opens what is local's, with %s", ns)
		}
		grant.Close()
	}
}

// Nothing that a token says has anything fetched from elsewhere.
func TestB05_NothingIsFetchedThatATokenNames(t *testing.T) {
	var asked atomic.Value
	b := newBook()
	b.sign("ed", "", Ed25519)
	g := openGate(t, Config{
		Directory: b, JWKS: "https://keys.example/jwks",
		Transport: remote(func(r *http.Request) (int, http.Header, string) {
			if r.URL.String() != "https://keys.example/jwks" {
				asked.Store(r.URL.String())
			}
			return 302, http.Header{"Location": {"https://evil.example/"}}, ""
		}),
	})
	for _, name := range []string{"jku", "x5u", "iss", "kid"} {
		header := map[string]any{name: "https://evil.example/{{iss}}"}
		try(t, g, b.raw(t, "ed", header, good(map[string]any{"iss": "https://evil.example"})), attempt{})
	}
	if url := asked.Load(); url != nil {
		t.Errorf("%v was fetched", url)
	}
}

func TestB06_Clock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.sign("ed", "", Ed25519)
		g := openGate(t, Config{Directory: b})
		now := time.Now()
		at := func(d time.Duration) int64 { return now.Add(d).Unix() }
		for _, tt := range []struct {
			name   string
			claims map[string]any
			want   Code
		}{
			{"exp in an hour", nil, 0},
			{"exp now", map[string]any{"exp": at(0)}, 0},
			{"exp within the leeway", map[string]any{"exp": at(-4 * time.Second)}, 0},
			{"exp at the end of the leeway", map[string]any{"exp": at(-leeway)}, CodeExpired},
			{"exp a minute ago", map[string]any{"exp": at(-time.Minute)}, CodeExpired},
			{"exp 1", map[string]any{"exp": 1}, CodeExpired},
			{"exp negative", map[string]any{"exp": -1}, CodeExpired},
			{"exp least", map[string]any{"exp": int64(-1 << 63)}, CodeExpired},
			{"exp 0", map[string]any{"exp": 0}, CodeMalformed},
			{"exp missing", map[string]any{"exp": nil}, CodeMalformed},
			{"exp as far as may be", map[string]any{"exp": at(MaxTokenLife)}, 0},
			{"exp too far", map[string]any{"exp": at(MaxTokenLife + time.Minute)}, CodeMalformed},
			{"exp 2^63-1", map[string]any{"exp": int64(1<<63 - 1)}, CodeMalformed},
			{"exp 2^63", map[string]any{"exp": uint64(1 << 63)}, CodeMalformed},
			{"exp 1e300", map[string]any{"exp": 1e300}, CodeMalformed},
			{"exp a fraction", map[string]any{"exp": float64(at(time.Hour)) + 0.5}, CodeMalformed},
			{"exp text", map[string]any{"exp": fmt.Sprint(at(time.Hour))}, CodeMalformed},
			{"exp NaN", map[string]any{"exp": "NaN"}, CodeMalformed},
			{"exp list", map[string]any{"exp": []int64{at(time.Hour)}}, CodeMalformed},
			{"nbf now", map[string]any{"nbf": at(0)}, 0},
			{"nbf within the leeway", map[string]any{"nbf": at(leeway)}, 0},
			{"nbf beyond it", map[string]any{"nbf": at(leeway + time.Second)}, CodeNotYet},
			{"nbf far", map[string]any{"nbf": int64(1<<63 - 1)}, CodeNotYet},
			{"nbf text", map[string]any{"nbf": "soon"}, CodeMalformed},
			{"iat in the future", map[string]any{"iat": at(time.Hour)}, CodeNotYet},
			{"iat long ago", map[string]any{"iat": 1}, 0},
			{"expired and not yet", map[string]any{"exp": at(-time.Hour), "nbf": at(time.Hour)}, CodeExpired},
		} {
			token := b.raw(t, "ed", nil, good(tt.claims))
			for _, again := range []bool{false, true} { // and from the cache
				if got := try(t, g, token, attempt{}); got != tt.want {
					t.Errorf("%s: code %d, want %d (seen before: %t)", tt.name, got, tt.want, again)
				}
			}
		}
		// What counted counts no longer when its time is over, also if it is remembered.
		token := b.raw(t, "ed", nil, good(nil))
		grant, err := g.check(token, attempt{})
		if err != nil {
			t.Fatal(err)
		}
		<-grant.Context().Done()
		if d := time.Since(now); d != time.Hour+leeway {
			t.Errorf("it ended after %v, want %v", d, time.Hour+leeway)
		}
		if got := try(t, g, token, attempt{}); got != CodeExpired {
			t.Errorf("afterwards: code %d, want %d", got, CodeExpired)
		}
	})
}

// Every form of a claim against every form of a name: one decoding, then equal
// bytes.
func TestB07_Names(t *testing.T) {
	g, b := keyed(t)
	refusedClaims := []map[string]any{
		{"ns": nil},
		{"ns": []string{}},
		{"ns": "stream/local/cam"},
		{"ns": []any{1}},
		{"ns": map[string]any{"0": "*"}},
		{"ns": []string{""}},
		{"ns": []string{"stream//cam"}},
		{"ns": []string{"stream/local/cam/"}},
		{"ns": []string{"/stream/local/cam"}},
		{"ns": []string{"stream/*/cam"}},
		{"ns": []string{"**", "*/*"}},
		{"ns": []string{strings.Repeat("a/", 40) + "a"}},
		{"ns": []string{strings.Repeat("a", 2000)}},
		{"ns": make([]string, 100)},
		{"sub": nil},
		{"sub": ""},
		{"sub": []string{"local"}},
		{"sub": "../local"},
		{"sub": "a/b"},
		{"sub": 1},
		{"aud": ""},
		{"aud": []string{}},
		{"aud": "broadcastd"},
		{"aud": []string{"other"}},
	}
	for _, claims := range refusedClaims {
		if got := try(t, g, b.raw(t, "ed", nil, good(claims)), attempt{}); got != CodeMalformed {
			if _, empty := claims["aud"]; empty && got == 0 {
				continue
			}
			t.Errorf("%.60v: code %d, want %d", claims, got, CodeMalformed)
		}
	}
	names := []string{
		"stream/local/cam1", "stream/local/cam10", "stream/local/Cam1", "stream/local/cam1/", "stream/local/cam1/x", "stream/local",
		"stream/local/cam1%2f", "stream/local/cam%31", "stream/local/./cam1", "stream/local/x/../cam1", "stream/LOCAL/cam1",
		"stream/local/caf\u00e9", "stream/local/cafe\u0301", "stream/acme/cam1", "playback/cam1", "playback/cam10", "vod/cam1", "",
	}
	for _, tt := range []struct {
		pattern string
		want    []string // of names
	}{
		{"stream/local/cam1", []string{"stream/local/cam1", "playback/cam1"}},
		{"playback/cam1", []string{"stream/local/cam1", "playback/cam1"}},
		{"stream/local/cam10", []string{"stream/local/cam10", "playback/cam10"}},
		{"stream/local/caf\u00e9", []string{"stream/local/caf\u00e9"}},
		{"stream/acme/*", []string{"stream/acme/cam1"}},
		{"stream/local/x/*", []string{"stream/local/x/../cam1"}},
		{"stream/local/%63am1", nil},
	} {
		grant, err := g.check(b.raw(t, "ed", nil, good(map[string]any{"ns": []string{tt.pattern}})), attempt{})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			want := false
			for _, w := range tt.want {
				want = want || w == name
			}
			for _, form := range [][]string{strings.Split(name, "/"), {name}} {
				if got := grant.Allows(grant.Resolve(form)); got != want {
					t.Errorf("%q allows %q: %t, want %t", tt.pattern, form, got, want)
				}
			}
		}
		grant.Close()
	}
}

// Each kind of credential where another one is asked for.
func TestB08_Kinds(t *testing.T) {
	b := newBook()
	b.sign("ed", "", Ed25519)
	g := openGate(t, Config{Directory: b})
	sk, _ := b.key("", "stream", "local", "cam")
	tok := b.token(t, "ed", nil)
	from := netip.MustParseAddrPort("192.0.2.7:5000")
	others := map[string]string{
		"API key":         "tqs_live_" + strings.TrimPrefix(sk, streamKeyPrefix),
		"admin key":       "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		"ID token":        b.raw(t, "ed", nil, map[string]any{"iss": "https://id.example", "sub": "local", "aud": "app", "exp": time.Now().Add(time.Hour).Unix()}),
		"access token":    b.raw(t, "ed", map[string]any{"typ": "at+jwt"}, good(nil)),
		"watermark token": b.raw(t, "ed", nil, good(map[string]any{"use": "watermark"})),
		"event":           b.raw(t, "ed", map[string]any{"typ": "secevent+jwt"}, good(nil)),
		"text type":       b.raw(t, "ed", map[string]any{"typ": 1}, good(nil)),
	}
	publish := func(text string) error {
		a, err := g.Publish(t.Context(), PublishRequest{Protocol: RTMP, Remote: from, Name: "cam", StreamKey: text})
		if err == nil {
			a.Close()
		}
		return err
	}
	push := func(text string) error {
		a, err := g.Ingest(request1(from, "/ingest/cam", text), "cam")
		if err == nil {
			a.Close()
		}
		return err
	}
	play := func(text string) error {
		a, err := g.Play(request1(from, "/hls/cam/index.m3u8", text), []string{"playback", "cam"})
		if err == nil {
			a.Close()
		}
		return err
	}
	page := func(text string) error { _, err := g.Page(request1(from, "/", text)); return err }
	session := func(verb string) func(string) error {
		return func(text string) error {
			p, err := g.Session(from.String(), "/", []string{text})
			if err != nil {
				return err
			}
			defer p.Close()
			do := p.Play
			if verb == "publish" {
				do = p.Publish
			}
			_, err = do([]string{"stream", "local", "cam"}, nil)
			return err
		}
	}
	for name, do := range map[string]func(string) error{
		"publish": publish, "push": push, "play": play, "page": page, "session publish": session("publish"), "session play": session("play"),
	} {
		publishes := name == "publish" || name == "push" || name == "session publish"
		if err := do(sk); err != nil {
			t.Errorf("%s with a stream key: %v", name, err)
		}
		if err := do(tok); (err == nil) == publishes {
			t.Errorf("%s with a playback token: %v", name, err)
		}
		for kind, text := range others {
			if err := do(text); CodeOf(err) != CodeMalformed {
				t.Errorf("%s with an %s: %v, want code %d", name, kind, err, CodeMalformed)
			}
		}
	}
}

func TestB09_Oversized(t *testing.T) {
	g, b := keyed(t)
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	for name, token := range map[string]string{
		"a million dots":  strings.Repeat(".", 1_000_000),
		"4096 dots":       strings.Repeat(".", maxToken),
		"a long header":   b.raw(t, "ed", map[string]any{"x": strings.Repeat("x", maxToken)}, good(nil)),
		"a long claim":    b.raw(t, "ed", nil, good(map[string]any{"x": strings.Repeat("x", maxToken)})),
		"deep JSON":       "e30." + b64(deep) + ".AA",
		"a long jti":      b.raw(t, "ed", nil, good(map[string]any{"jti": strings.Repeat("x", maxClaim+1)})),
		"a long viewer":   b.raw(t, "ed", nil, good(map[string]any{"viewer": strings.Repeat("x", maxClaim+1)})),
		"negative height": b.raw(t, "ed", nil, good(map[string]any{"maxHeight": -1})),
		"65 namespaces":   b.raw(t, "ed", nil, good(map[string]any{"ns": strings.Split(strings.Repeat("a,", 64)+"a", ",")})),
	} {
		if got := try(t, g, token, attempt{}); got != CodeMalformed {
			t.Errorf("%s: code %d, want %d", name, got, CodeMalformed)
		}
	}
	wide := func(bits, e int) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: e}
	}
	for name, tt := range map[string]struct {
		alg Algorithm
		key crypto.PublicKey
		ok  bool
	}{
		"RSA 2048":      {RS256, wide(2048, 65537), true},
		"RSA 1024":      {RS256, wide(1024, 65537), false},
		"RSA 16384":     {RS256, wide(16384, 65537), false},
		"RSA e=1":       {RS256, wide(2048, 1), false},
		"RSA e=3":       {RS256, wide(2048, 3), false},
		"Ed25519 short": {Ed25519, ed25519.PublicKey{1}, false},
		"Ed25519 as RS": {RS256, b.signing["ed"].Public, false},
		"RSA as Ed":     {Ed25519, b.signing["rs"].Public, false},
	} {
		if err := pin(tt.alg, tt.key); (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok %t", name, err, tt.ok)
		}
	}
}

// With a key of low order a signature can be made for any token, which the
// standard library takes for right.
func TestB09_LowOrderKeys(t *testing.T) {
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1 // R is the neutral element, S is 0
	if !ed25519.Verify(ed25519.PublicKey(append([]byte{1}, make([]byte, 31)...)), []byte("anything"), forged) {
		t.Error("the standard library refuses what this test is about")
	}
	for _, text := range lowOrderPoints {
		key, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if pin(Ed25519, ed25519.PublicKey(key)) == nil {
				t.Errorf("%x is taken as a key", key)
			}
			key[31] ^= 0x80
		}
	}
}

func TestB10_Encrypted(t *testing.T) {
	g, _ := keyed(t)
	for _, token := range []string{
		b64(`{"alg":"RSA-OAEP","enc":"A256GCM","zip":"DEF","kid":"rs"}`) + ".AA.AA.AA.AA",
		b64(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AA","kid":"ed"}`) + ".AA.AA.AA.AA",
		b64(`{"alg":"dir","enc":"A128GCM","kid":"ed"}`) + "..AA.AA.AA",
	} {
		if got := try(t, g, token, attempt{}); got != CodeMalformed {
			t.Errorf("%.20s…: code %d, want %d", token, got, CodeMalformed)
		}
	}
}

// A token may be bound to an address; whoever else has it gets nothing.
func TestB11_AddressOfAViewer(t *testing.T) {
	g, b := keyed(t)
	for _, tt := range []struct {
		ip, from string
		want     Code
	}{
		{"", "192.0.2.7", 0},
		{"192.0.2.7", "192.0.2.7", 0},
		{"192.0.2.7", "::ffff:192.0.2.7", 0},
		{"::ffff:192.0.2.7", "192.0.2.7", 0},
		{"192.0.2.7", "192.0.2.8", CodeWrongInput},
		{"192.0.2.0/24", "192.0.2.200", 0},
		{"192.0.2.9/24", "192.0.2.200", 0},
		{"192.0.2.0/24", "192.0.3.1", CodeWrongInput},
		{"2001:db8::/64", "2001:db8::1", 0},
		{"2001:db8::/64", "2001:db8:1::1", CodeWrongInput},
		{"2001:db8::1", "192.0.2.7", CodeWrongInput},
		{"0.0.0.0/0", "192.0.2.7", 0},
		{"any", "192.0.2.7", CodeMalformed},
		{"192.0.2.7:80", "192.0.2.7", CodeMalformed},
	} {
		token := b.token(t, "ed", func(c *Claims) { c.IP = tt.ip })
		for range 2 { // and from the cache
			if got := try(t, g, token, attempt{remote: netip.MustParseAddr(tt.from)}); got != tt.want {
				t.Errorf("ip %q from %s: code %d, want %d", tt.ip, tt.from, got, tt.want)
			}
		}
	}
}
